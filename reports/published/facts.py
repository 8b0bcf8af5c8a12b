"""All figures of the study, from which claims and checks are judged."""

from __future__ import annotations

from base.records import Record
from reports.published.efficiency import Cell, Lengthening, cells_of, lengthening
from reports.published.energy import LeftOut, Metering, Power, Unit, left_out, metering, powers, unit
from reports.published.odd_widths import Alignment, OddPair, alignment, odd_pairs
from reports.published.quality import Association, Change, Perplexities, associations, at_chance, changes, perplexities
from reports.published.study import Study
from reports.statistics.ratios import MARGIN

METRICS = ("ifeval", "mmlu", "gsm8k", "musr")


class Facts(Record):
    """`raw`: from single runs, with intervals; otherwise from published means, without intervals."""

    raw: bool
    margin: float
    baselines: dict[str, int]  # model -> its unpruned width
    associations: list[Association]
    changes: dict[str, list[Change]]
    at_chance: dict[str, dict[str, list[int]]]
    perplexities: list[Perplexities]
    cells: list[Cell]
    lengthening: Lengthening
    odd_pairs: list[OddPair]
    alignment: list[Alignment]
    unit: Unit | None
    powers: list[Power]
    metering: Metering
    left_out: list[LeftOut]


def find_facts(study: Study, *, margin: float = MARGIN) -> Facts:
    """Compute all facts from the table, and from the raw runs if there are any."""
    cells = cells_of(study, margin=margin)
    return Facts(
        raw=study.raw,
        margin=margin,
        baselines={m.model: m.configurations[0].intermediate_size for m in study.models},
        associations=associations(study),
        changes={metric: changes(study, metric, margin=margin) for metric in METRICS},
        at_chance={metric: at_chance(study, metric) for metric in METRICS},
        perplexities=perplexities(study),
        cells=cells,
        lengthening=lengthening(cells, margin),
        odd_pairs=odd_pairs(study),
        alignment=alignment(study),
        unit=unit(study),
        powers=powers(study),
        metering=metering(study),
        left_out=left_out(study),
    )
