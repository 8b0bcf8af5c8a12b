"""What docker-compose.yml promises whoever reads it, without an engine."""

from __future__ import annotations

import pytest
import yaml

from tests.project.deployment.conftest import ROOT

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_nothing_listens_beyond_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not [name for name, service in SERVICES.items() if "network_mode" in service or service.get("privileged")]


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_but_the_setup_is_root_or_has_a_capability(name):
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    if name.startswith("setup"):
        assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
    else:
        assert "cap_add" not in service
        assert service["user"] == "${PRUNEBENCH_USER:-1000:1000}"


def test_secrets_are_files_and_go_to_the_services_that_need_them_alone():
    given = {name: service["secrets"] for name, service in SERVICES.items() if "secrets" in service}
    assert given == {
        "setup": ["api_key"],
        "setup-gpu": ["api_key"],
        "pruner": ["hf_token"],
        "pruner-gpu": ["hf_token"],
    }
    words = [word for service in SERVICES.values() for word in service.get("environment", ())]
    assert not [word for word in words if word.endswith(("KEY", "TOKEN"))]


def test_the_gpus_and_their_meters_are_seen_by_the_server_alone():
    with_gpus = [name for name, service in SERVICES.items() if "deploy" in service]
    assert with_gpus == ["server-gpu"]
    server = SERVICES["server-gpu"]
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert "utility" in server["environment"]["NVIDIA_DRIVER_CAPABILITIES"]  # NVML
    assert server["environment"]["CUDA_VISIBLE_DEVICES"] is None  # handed on if it is set, else all of them
