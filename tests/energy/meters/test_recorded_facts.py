"""Meters recorded before they stated their facts keep the facts of their source."""

from __future__ import annotations

import json

import pytest

from energy.records import MeterInfo, MissingMeter


@pytest.mark.parametrize(
    ("source", "domain", "facts"),
    [
        ("nvml-counter", "gpu", ("counter", 0.0, False)),
        ("nvml-samples", "gpu", ("samples", 0.05, False)),
        ("nvml-instant", "gpu", ("power", 0.2, False)),
        ("nvml-average", "gpu", ("power", 1.0, False)),
        ("nvml-module", "gpu", ("power", 0.2, False)),
        ("rapl", "dram", ("counter", 0.0, False)),
        ("modelled-cpu", "cpu-modelled", ("counter", 0.0, False)),
        ("synthetic", "synthetic", ("counter", 0.0, True)),
    ],
)
def test_a_recorded_meter_has_the_facts_of_its_source(source, domain, facts):
    recorded = MeterInfo.model_validate_json(json.dumps({"source": source, "domain": domain, "device": "d"}))
    assert (recorded.kind, recorded.lag_s, recorded.simulated) == facts
    assert MeterInfo.model_validate_json(recorded.model_dump_json()) == recorded


def test_stated_facts_stand():
    stated = MeterInfo(source="nvml-instant", domain="gpu", device="d", kind="counter", lag_s=0.0)
    assert (stated.kind, stated.lag_s) == ("counter", 0.0)


@pytest.mark.parametrize(("source", "domain"), [("nvml-counter", "gpu"), ("rapl", "cpu-package"), ("other", None)])
def test_a_recorded_missing_meter_has_the_domain_of_its_source(source, domain):
    assert MissingMeter.model_validate({"source": source, "reason": "none"}).domain == domain
