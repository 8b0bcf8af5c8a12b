"""The synthetic engine as the product knows it before it runs."""

from __future__ import annotations

from collections.abc import Mapping

from server.engines.entry import EngineEntry


def _known_times(options: Mapping[str, str]) -> tuple[float, float]:
    from server.engines.synthetic.options import SyntheticOptions

    given = SyntheticOptions.parse(options)
    return given.prefill_ms / 1e3, given.token_ms / 1e3


SYNTHETIC = EngineEntry(
    name="synthetic",
    summary="no model: known times, for checking the harness",
    factory="server.engines.synthetic.engine:SyntheticEngine",
    options="server.engines.synthetic.options:SyntheticOptions",
    needs_config=False,
    start_s=2.0,
    starts_together=True,
    known_times=_known_times,
)
