"""From the options of `prunebench load` to a workload, with errors in terms of the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from base.choices import nearest
from base.quantities import MILLISECONDS
from loadgen.endpoint import LoadError, ServedModel
from loadgen.prompts.files import with_identity
from loadgen.workloads.base import COMMAND_LENGTHS, Workload
from loadgen.workloads.fields.lengths import most_tokens
from loadgen.workloads.fields.objectives import OBJECTIVES
from loadgen.workloads.mix_part import MixPart
from prunebench.load.kind_options import flag_of, in_flags

_IMPLIED = ("batch", "concurrency", "trace", "mix", "burst", "on-off", "poisson")  # the more particular of two first


def implied_kind(options: Mapping[str, object]) -> str:
    """The kind of workload that options mean which name none: that whose own they are, such as `concurrency`; else single requests."""
    given = {name for name, value in options.items() if value is not None}
    return next((kind for kind in _IMPLIED if _needed(kind) <= given), "single")


def describe_workload(kind: str | None, options: Mapping[str, object], slo: str | None) -> Workload:
    """The workload of a kind, or of the one that the options imply; an option that is None was not given.

    Raises LoadError naming the option that does not fit.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if kind is None:
        kind = implied_kind(given)
        _check_implied(kind, list(given))
    if "lengths" in given and (own := given.keys() & COMMAND_LENGTHS):
        raise LoadError(f"{flag_of(min(own))}: cannot be combined with --lengths, which has both")
    given = Workload.kinds[kind].completed(given)
    try:
        return with_identity(Workload.model_validate({"name": kind, "kind": kind, **given, **objectives(slo)}))
    except ValidationError as error:
        raise LoadError(_complaint(kind, error)) from None


def objectives(text: str | None, names: Sequence[str] = OBJECTIVES) -> dict[str, float]:
    """ttft=200ms,tpot=50ms as {"slo_ttft_ms": 200.0, "slo_tpot_ms": 50.0}. Raises LoadError for a time not among `names`."""
    found: dict[str, float] = {}
    for part in text.split(",") if text else []:
        name, _, value = part.strip().partition("=")
        try:
            if name in names:
                found[f"slo_{name}_ms"] = float(MILLISECONDS.read(value))
                continue
        except ValueError:
            pass
        raise LoadError(f"--slo {text}: must read like ttft=200ms,tpot=50ms, with {', '.join(names)}")
    return found


def check_fits(served: ServedModel, workload: Workload) -> None:
    """Raise LoadError if a request can be longer than what the model holds, before the first is sent."""
    asked, answered, longest = max(
        (
            (prompt, output, (0 if one.prompts else most_tokens(prompt) or 0) + (most_tokens(output) or 0))
            for one in workload.alone
            if "trace" not in one.files
            for prompt, output in one.shapes()
        ),
        key=lambda shape: shape[2],
        default=(0, 0, 0),
    )
    longest *= workload.most_turns
    if served.max_model_len is not None and longest > served.max_model_len:
        given = f"--prompt-tokens {asked} and --output-tokens {answered}"
        if workload.lengths is not None:
            given = f"--lengths {workload.lengths}: {asked} prompt and {answered} output tokens"
        turns = f" in {workload.most_turns} turns" if workload.most_turns > 1 else ""
        raise LoadError(f"{given}{turns}: the model holds {served.max_model_len:,} tokens")


def _needed(kind: str) -> set[str]:
    return {name for name, field in Workload.kinds[kind].model_fields.items() if field.is_required()} - {"name"}


def _check_implied(kind: str, given: Sequence[str]) -> None:
    """Raise LoadError in terms of the options, for the user has named no kind, if one of them is not the implied kind's."""
    others = [name for name in given if name not in Workload.kinds[kind].model_fields]
    if not others:
        return
    own = sorted(_needed(kind))[:1]
    rivals = [name for name in others if own and any(name in _needed(each) for each in _IMPLIED)]
    named = " and ".join(map(flag_of, [*own, *rivals, *others][:2]))
    fitting = [name for name, each in Workload.kinds.items() if each.model_fields.keys() >= set(given)]
    if fitting and not rivals:
        raise LoadError(f"{named}: name the kind of workload, --workload {' or '.join(fitting)}")
    raise LoadError(f"{named}: belong to different kinds of workload; leave one out")


def _complaint(kind: str, error: ValidationError) -> str:
    """Pydantic's first complaint, in the words of the command line."""
    first = error.errors()[0]
    what = flag_of(str(first["loc"][0])) if first["loc"] else f"--workload {kind}"
    within = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"][1:])
    what += f" {within}" if within else ""
    if first["type"] == "extra_forbidden" and within:  # a key of a part; an option that is not there comes no further
        return f"{what}: unknown key; {nearest(str(first['loc'][-1]), MixPart.model_fields)}"
    return f"{what}: {in_flags(first['msg'].removeprefix('Value error, '))}"
