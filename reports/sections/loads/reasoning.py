"""Reasoning apart from its answer: when each begins, how long each is, and what share of the joules falls to it."""

from __future__ import annotations

from reports.analysis.quantities import (
    ANSWER_JOULES,
    ANSWER_TOKENS,
    FIRST_ANSWER,
    FIRST_REASONING,
    REASONING_JOULES,
    REASONING_TOKENS,
)
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Prose, Section
from reports.document.wording import PER_CELL
from reports.sections.loads.quantity_table import quantity_table

_LEDE = (
    "Of requests whose server sends the reasoning apart (reasoning_content), or counts it in its usage and does not stream it: then "
    "it has no first token. Tokens are means over those that completed. Joules are "
    "J/request, split by the share of the output tokens that are reasoning: they are not metered apart. Figures are medians over "
    "trials; beneath, the ratio to the baseline in pairs within blocks."
)
_COLUMNS = (
    (FIRST_REASONING, Column("First reasoning token", "ms")),
    (FIRST_ANSWER, Column("First answer token", "ms")),
    (REASONING_TOKENS, Column("Reasoning", "tokens/request")),
    (ANSWER_TOKENS, Column("Answer", "tokens/request")),
    (REASONING_JOULES, Column("Reasoning", "J/request, split")),
    (ANSWER_JOULES, Column("Answer", "J/request, split")),
)


def reasoning_section(analysis: Analysis) -> Section | None:
    """A table for each workload with reasoning; None without one."""
    reasoned = [name for name in analysis.info.workloads if analysis.has_values(name, REASONING_TOKENS)]
    tables = [quantity_table(analysis, name, f"{name}. {PER_CELL}", _COLUMNS) for name in reasoned]
    return Section("reasoning", "Reasoning and answers", [Prose(_LEDE, "lede"), *tables]) if tables else None
