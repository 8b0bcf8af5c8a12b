"""docs/reference/checks.md, written from the registered checks: `python -P -m tests.docs` writes it anew."""

from __future__ import annotations

import textwrap

from reports.checks.rules import Spoils, ordered_rules

_COLUMNS = 100
_WITHHELD: dict[Spoils, str] = {
    "all": "the configuration from the advice; all of them where the baseline fails.",
    "latency": "the configuration from advice that is judged by latency.",
    "joules": "the configuration's joules from the advice.",
    "tokens": "the configuration's figures per token from the advice.",
}


def render_page() -> str:
    """The page, which a test keeps equal to the file."""
    paragraphs = [
        "# Validity checks",
        (
            "Every report lists each check with what it found. **fail**: do not use the figures that it concerns. **warn**: how to "
            "read them. **no data**: what the check needs was not recorded, which is never a pass. No check removes a figure; "
            "advice that rests on a failed check is withheld. The checks are in `reports/checks/`; each is tested on data that "
            "trips it and on data that does not."
        ),
        "This page is generated: `python -P -m tests.docs`.",
    ]
    for rule in ordered_rules():
        paragraphs += [f"## {rule.name}", rule.meaning, f"*Limits:* {rule.limits}"]
        paragraphs += [f"*A failure withholds:* {_WITHHELD[rule.spoils]}"] if rule.spoils else []
        paragraphs.append(f"*What to do:* {rule.remedy}")
    return "\n\n".join(_filled(text) for text in paragraphs) + "\n"


def _filled(text: str) -> str:
    """Wrapped, with every percent sign on the line of its number."""
    kept = text.replace(" %", "\u00a0%")
    return textwrap.fill(kept, _COLUMNS, break_long_words=False, break_on_hyphens=False).replace("\u00a0", " ")
