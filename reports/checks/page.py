"""docs/reference/checks.md, written from the registered checks: `python -m reports.checks.page > docs/checks.md`."""

from __future__ import annotations

import sys

from reports.checks.rules import Spoils, ordered_rules

_WITHHELD: dict[Spoils, str] = {
    "all": "the configuration from the advice; all of them where the baseline fails.",
    "latency": "the configuration from advice that is judged by latency.",
    "joules": "the configuration's joules from the advice.",
}


def render_page() -> str:
    """The page, which a test keeps equal to the file."""
    lines = [
        "# Validity checks",
        "",
        "Every report says of each what it found. **fail**: figures it touches must not be used as they stand. **warn**: how to",
        "read them. **no data**: what it needs was not recorded, which is never a pass. No figure is removed on account of a check;",
        "advice that rests on a failed one is withheld. The rules are in `reports/checks/`; each is tested on data that",
        "trips it and on data that does not. This page is written by `python -m reports.checks.page`.",
    ]
    for rule in ordered_rules():
        lines += [
            "",
            f"## {rule.name}",
            "",
            rule.meaning,
            "",
            f"*Limits:* {rule.limits}",
            "",
            *([f"*A failure withholds:* {_WITHHELD[rule.spoils]}", ""] if rule.spoils else []),
            f"*What to do:* {rule.remedy}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_page())
