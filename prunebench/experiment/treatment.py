"""The treatment of a configuration: what was asked to differ from the baseline, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prunebench.experiment.plan import Planned


def treatment(own: Planned, baseline: Planned) -> dict[str, str]:
    """Every difference in words, by its key: `server`, `checkpoint`, `width`, `layers`, `engine`, `options.KEY`,
    `speculative`, `power_limit_w`, `clock_mhz`, `environment.KEY`.

    Empty for the baseline. What a server turns out to do is no part of it.
    """
    if own.is_baseline:
        return {}
    return dict([*_of_server(own, baseline), *_of_checkpoint(own, baseline), *_of_settings(own, baseline)])


def _of_server(own: Planned, baseline: Planned) -> Iterator[tuple[str, str]]:
    mine, other = own.asked, baseline.asked
    if (mine.url, mine.command, mine.model) == (other.url, other.command, other.model):
        return
    if mine.url is not None:
        yield "server", f"the server at {mine.url}{f', model {mine.model}' if mine.model else ''}"
    else:
        yield "server", "served by this run" if mine.command is None else f"started by {mine.command}"


def _of_checkpoint(own: Planned, baseline: Planned) -> Iterator[tuple[str, str]]:
    is_other = own.source != baseline.source
    if is_other and own.source is not None:
        yield "checkpoint", f"the checkpoint {own.source.name}"
    made, before = own.pruning, baseline.pruning
    if own.found is None or (not is_other and (made and made.makes) == (before and before.makes)):
        return
    if made is None and before is not None and not is_other:
        yield "width", f"not pruned: width {own.found.width}"
    if made is not None and made.row.width != own.found.width:
        how = f"{made.criterion}{f', refit {made.refit}' if made.refit else ''}"
        yield "width", f"pruned to width {made.row.width}, {made.row.pruning_percentage:.3g} % removed by {how}"
    if made is not None and made.row.layers != own.found.layers:
        yield "layers", f"{made.row.layers} of {own.found.layers} layers"


def _of_settings(own: Planned, baseline: Planned) -> Iterator[tuple[str, str]]:
    mine, other = own.asked, baseline.asked
    if None not in (mine.engine, other.engine) and mine.engine != other.engine:
        yield "engine", f"engine {mine.engine} instead of {other.engine}"
    elif mine.engine is not None and other.engine is not None:
        yield from _of_table("options", mine.options, other.options)
    if mine.speculative != other.speculative:
        yield "speculative", mine.speculative.words() if mine.speculative else "without speculative decoding"
    for key, words, unit in (("power_limit_w", "power limit", "W"), ("clock_mhz", "clock locked to", "MHz")):
        own_limit, its_limit = getattr(mine, key), getattr(other, key)
        if own_limit != its_limit:
            before = "" if its_limit is None else f" instead of {its_limit:g} {unit}"
            yield (
                key,
                f"{words} {own_limit:g} {unit}{before}"
                if own_limit is not None
                else f"no {words} {its_limit:g} {unit}",
            )
    if mine.url is None and other.url is None:
        yield from _of_table("environment", mine.environment, other.environment)


def _of_table(table: str, mine: Mapping[str, str], other: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in {**other, **mine}:
        if mine.get(key) == other.get(key):
            continue
        if key not in mine:
            yield f"{table}.{key}", f"without {key} = {other[key]}"
        else:
            instead = f" instead of {other[key]}" if key in other else ""
            yield f"{table}.{key}", f"{key} = {mine[key]}{instead}"
