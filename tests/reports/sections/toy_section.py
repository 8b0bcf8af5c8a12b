"""A section that the product does not have: one function, and one call to put it into the report."""

from __future__ import annotations

from reports.analysis.records import Analysis
from reports.document.blocks import Prose, Section, Table, columns, text_row
from reports.sections.contents import SECTIONS


def blocks_section(analysis: Analysis) -> Section | None:
    if analysis.info.blocks < 2:
        return None
    rows = [text_row(label, str(analysis.info.blocks)) for label in analysis.info.labels]
    table = Table("Blocks of each configuration", columns("Configuration", "Blocks"), rows)
    return Section("blocks", "Blocks, counted", [Prose("More blocks <narrow> the intervals.", "lede"), table])


SECTIONS.append(blocks_section)
