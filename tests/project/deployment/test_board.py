"""The board and the alarms ask for metrics that the server has, and add only what may be added."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from energy.records import Counter, EnergyCounters, EnergyTrace, MeterInfo
from energy.window import HEADLINE_DOMAINS
from server.engines.base import EngineLoad
from server.monitoring.metrics import Metrics
from tests.project.deployment.conftest import ROOT
from tests.project.deployment.test_dashboard import panels
from tests.support.captured import captured

RULES = ROOT / "deployment" / "alerts.yml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
EXPRESSIONS = [expression for _, expression in panels()] + [rule["expr"] for g in GROUPS for rule in g["rules"]]
OF_A_METER = re.compile(r"prunebench_(?:modelled_)?(?:energy_joules_total|power_watts)(?:\{(.*?)\})?")
ADDED = re.compile(r"\b(?:sum|avg|count)\b|\+(?!Inf)")
ADDITIVE = [*HEADLINE_DOMAINS, frozenset({"wall"}), frozenset({"synthetic"})]


@pytest.fixture(scope="module")
def served() -> set[str]:
    """The names of a server's samples, with a meter of each kind."""
    metrics = Metrics("m", lambda: EngineLoad(0, 0, 0.0))
    infos = [MeterInfo(source="s", domain="gpu", device="d", measured=measured) for measured in (True, False)]
    meters = [Counter(info=info, joules=1.0, sampled_ns=1, watts=1.0) for info in infos]
    metrics.metered(
        lambda: EnergyCounters(now_ns=1, meters=meters, missing=[]),
        lambda _: EnergyTrace(now_ns=1, meters=[], conditions=[], missing=[]),
    )
    families = text_string_to_metric_families(metrics.text().decode())
    return {sample.name for family in families for sample in family.samples}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_is_asked_for_is_one_that_a_server_has(served, expression):
    asked = set(re.findall(r"\b(?:vllm:|prunebench[_:])\w+", expression))
    assert asked - RECORDED <= served
    assert asked or expression == "vector(+Inf)"


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_meters_are_added_only_within_one_part_of_the_machine(expression):
    if not ADDED.search(expression):
        return
    for selector in OF_A_METER.findall(expression):
        found = re.search(r"domain=~?\"([^\"]+)\"", selector)
        assert found, f"{expression}: adds meters that overlap"
        assert any(set(found[1].split("|")) <= domains for domains in ADDITIVE)


def test_such_a_sum_would_be_found():
    for expression in ("sum(prunebench_power_watts)", 'sum(prunebench_power_watts{domain=~"gpu|wall"})'):
        with pytest.raises(AssertionError):
            test_meters_are_added_only_within_one_part_of_the_machine(expression)


def test_panels_stand_beside_each_other_and_the_compose_file_mounts_the_rules():
    board = json.loads((ROOT / "deployment/grafana/dashboards/prunebench.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["volumes"]
    read = yaml.safe_load((ROOT / "deployment/prometheus.yml").read_text())["rule_files"]
    assert {f"./deployment/alerts.yml:{file}:ro" for file in read} <= set(mounts)


@pytest.mark.docker  # needs Debian's prometheus, which `make test-containers` installs
@pytest.mark.parametrize(("limit", "alarmed"), [("+Inf", []), ("500", []), ("300", ["big"])])
def test_power_above_the_limit_is_an_alarm_and_without_a_limit_none_is(tmp_path, limit, alarmed):
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool (apt-get install prometheus)")
    (tmp_path / "alerts.yml").write_text(RULES.read_text().replace("vector(+Inf)", f"vector({limit})"))
    labels = [{"severity": "warning", "model_name": name, "source": "nvml-counter"} for name in alarmed]
    expected = [
        {
            "exp_labels": own,
            "exp_annotations": {"summary": f"{own['model_name']} draws 400 W (nvml-counter), above the limit"},
        }
        for own in labels
    ]
    series = [
        (f'prunebench_{prefix}energy_joules_total{{model_name="{name}", source="nvml-counter"}}', watts)
        for name, watts in (("big", 400), ("small", 200))
        for prefix in ("headline_", "")
    ]
    series.append(('prunebench_energy_joules_total{model_name="blind", source="nvml-counter"}', 100))
    cases = {
        "rule_files": ["alerts.yml"],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": name, "values": f"0+{5 * watts}x60"} for name, watts in series],
                "alert_rule_test": [
                    {"eval_time": "4m", "alertname": "PowerAboveLimit", "exp_alerts": expected},
                    {
                        "eval_time": "4m",
                        "alertname": "PowerNotMeasured",
                        "exp_alerts": [{"exp_labels": {"severity": "warning", "model_name": "blind"}}],
                    },
                ],
            }
        ],
    }
    blind = cases["tests"][0]["alert_rule_test"][1]["exp_alerts"][0]
    blind["exp_annotations"] = {
        "summary": "a meter of blind is missing, so that its power is not known and no limit is watched"
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases))
    done = captured(["promtool", "test", "rules", "cases.yml"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
