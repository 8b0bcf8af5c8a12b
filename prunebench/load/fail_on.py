"""`prunebench load --fail-on`: which checks end the command with status 1."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from loadgen.endpoint import LoadError
from loadgen.records.schema import Flag
from reports.checks.rules import ordered_rules

DEFAULT = "failed-requests"
_NONE, _WARN = "none", ":warn"


def chosen_checks(given: Sequence[str]) -> frozenset[str]:
    """What `--fail-on` names, commas or not: CHECK, or CHECK:warn. Raises LoadError for what is no check of a load."""
    names = {name.strip() for words in given for name in words.split(",")}
    known = [rule.name for rule in ordered_rules() if rule.of_trial]
    unknown = sorted(name for name in names if name.removesuffix(_WARN) not in {*known, _NONE})
    if unknown:
        raise LoadError(f"--fail-on {unknown[0]}: no check of a load; there are {', '.join(known)}, and {_NONE}")
    if _NONE in names and len(names) > 1:
        raise LoadError(f"--fail-on: {_NONE} does not go with other checks")
    return frozenset(names - {_NONE})


def failed_checks(flags: Sequence[Flag], chosen: Collection[str]) -> list[str]:
    """The chosen checks that failed; those with `:warn` also where they warned."""
    return [
        flag.check
        for flag in flags
        if flag.check + _WARN in chosen or (flag.outcome == "fail" and flag.check in chosen)
    ]
