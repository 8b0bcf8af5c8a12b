"""From the options of `prunebench load` to a workload, with errors in terms of the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from base.quantities import MILLISECONDS
from loadgen.endpoint import LoadError, ServedModel
from loadgen.prompts.files import with_identity
from loadgen.workloads.base import COMMAND_LENGTHS, Workload
from loadgen.workloads.fields.lengths import most_tokens
from loadgen.workloads.fields.objectives import OBJECTIVES
from prunebench.load.kind_options import flag_of, in_flags

_IMPLIED = ("batch", "concurrency", "trace", "mix", "burst", "on-off", "poisson")  # the more particular of two first


def implied_kind(options: Mapping[str, object]) -> str:
    """The kind of workload that options mean which name none: that whose own they are, such as `concurrency`; else single requests."""
    given = {name for name, value in options.items() if value is not None}
    for kind in _IMPLIED:
        fields = Workload.kinds[kind].model_fields
        if {name for name, field in fields.items() if field.is_required()} - {"name"} <= given:
            return kind
    return "single"


def describe_workload(kind: str, options: Mapping[str, object], slo: str | None) -> Workload:
    """The workload of a kind; an option that is None was not given. Raises LoadError naming the option that does not fit."""
    given = {name: value for name, value in options.items() if value is not None}
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
    own = workload.prompts is not None
    asked, answered, longest = max(
        (
            (prompt, output, (0 if own else most_tokens(prompt) or 0) + (most_tokens(output) or 0))
            for prompt, output in workload.shapes()
        ),
        key=lambda shape: shape[2],
    )
    longest *= workload.most_turns
    if "trace" not in workload.files and served.max_model_len is not None and longest > served.max_model_len:
        given = f"--prompt-tokens {asked} and --output-tokens {answered}"
        if workload.lengths is not None:
            given = f"--lengths {workload.lengths}: {asked} prompt and {answered} output tokens"
        turns = f" in {workload.most_turns} turns" if workload.most_turns > 1 else ""
        raise LoadError(f"{given}{turns}: the model holds {served.max_model_len:,} tokens")


def _complaint(kind: str, error: ValidationError) -> str:
    """Pydantic's first complaint, in the words of the command line."""
    first = error.errors()[0]
    what = flag_of(str(first["loc"][0])) if first["loc"] else f"--workload {kind}"
    return f"{what}: {in_flags(first['msg'].removeprefix('Value error, '))}"
