"""The window of a trial in words, and whether a verdict may use the trial."""

from __future__ import annotations

from loadgen.records.schema import Trial

_RULES = {
    "generations": "whole generations of the closed loop",
    "steady": "from the first sending + p99 of E2E to the last sending",
    "half": "the last half of the sending",
    "whole": "the whole load",
}
_OF_SESSIONS = {
    "steady": "from the first session's beginning + p99 of how long one lasts to the last one's beginning",
    "half": "the last half of the time in which sessions began",
}
_EARLIER = {"steady": "the load less its ramps", "whole": "the whole load"}


def window_words(trial: Trial) -> str:
    """The rule that cut the window, with the version of the rules if it is not the current one."""
    if trial.window_rules == 1:
        return f"{_EARLIER.get(trial.window_rule, trial.window_rule)}, by window rules 1 of earlier versions"
    words = _RULES | _OF_SESSIONS if trial.workload.holds_sessions else _RULES
    return words[trial.window_rule]


def unfit(trial: Trial) -> str | None:
    """Why no verdict may use a trial; None: it may."""
    return "its closed loop was full for less than a generation (few-generations)" if trial.generations == 0 else None
