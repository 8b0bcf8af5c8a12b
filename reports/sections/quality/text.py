"""What a held-out text says of the configurations: perplexity against cost, and next tokens against the baseline's."""

from __future__ import annotations

from base.figures import percent
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Entry, Heading, Plots, Prose, Row, Section, Table, columns, note_letter
from reports.document.wording import ABSENT, TO, mean_with_interval, name, sentence
from reports.sections.plots.pareto import perplexity_plot

_NEXT_TOKENS = (
    "Of the checkpoints, in transformers: KL(baseline || own) of the next token's probabilities, the mean over every token of the text, "
    "and how often both prefer the same token. With 95 % intervals over windows of text."
)


def perplexity_section(analysis: Analysis) -> Section:
    """Perplexity against cost."""
    qualities = [c.info.quality for c in analysis.configurations if c.info.quality and c.info.quality.perplexity]
    blocks: list[Block] = []
    if qualities:
        text = f"Perplexity over {qualities[0].tokens:,} tokens of held-out text: {qualities[0].text}."
        blocks.append(Prose(text, "lede"))
    plots = [perplexity_plot(analysis, workload) for workload in analysis.info.workloads]
    blocks.append(Plots(plots))
    if any(c.info.next_tokens for c in analysis.configurations):
        blocks += [Heading("Next tokens against the baseline's"), Prose(_NEXT_TOKENS), _next_tokens(analysis)]
    return Section("quality", "Perplexity against cost", blocks)


def _next_tokens(analysis: Analysis) -> Table:
    others = [c for c in analysis.configurations if not c.info.is_baseline]
    notes: dict[str, str] = {}
    rows = []
    for c in others:
        note = note_letter(c.next_tokens_reason, notes)
        kl = mean_with_interval(c.kl_nats, "nats") if c.kl_nats else ABSENT
        agreed = c.top1_agreement
        ends = f" ({percent(agreed.low)}{TO}{percent(agreed.high)})" if agreed and agreed.low and agreed.high else ""
        share = f"{percent(agreed.mean)}{ends}" if agreed else ABSENT
        rows.append(Row([Entry(name(c.info)), Entry(kl, note=note), Entry(share, note=note)]))
    texts = {f"{t.tokens:,} tokens of {t.text}" for c in others if (t := c.info.next_tokens) and t.tokens}
    headings = columns("Configuration", "KL divergence", "Top-1 agreement")
    return Table("Means over windows of text.", headings, rows, notes, [f"{sentence(text)}" for text in sorted(texts)])
