"""The transformers engine as the product knows it before it runs."""

from __future__ import annotations

from server.engines.entry import EngineEntry

TRANSFORMERS = EngineEntry(
    name="transformers",
    summary="the embedded default, on any CPU or GPU",
    factory="server.engines.transformers.engine:TransformersEngine",
    options="server.engines.transformers.options:TransformersOptions",
    packages=("torch", "transformers"),
    distributions=("transformers",),
    remedy="pip install 'prunebench[transformers]'",
    suits_machine=lambda: True,
    start_s=15.0,
    starts_together=True,
)
