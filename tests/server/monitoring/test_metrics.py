from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from energy.records import Counter, EnergyCounters, EnergyTrace, MeterInfo, MeterTrace, MissingMeter
from server.engines.base import EngineLoad
from server.machine.memory import Footprint
from server.monitoring.metrics import Metrics
from tests.server.conftest import running_server, wait_until


def samples(text):
    return {
        (sample.name, sample.labels.get("finished_reason")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_requests_show_under_vllms_names(checkpoint):
    with (
        running_server(checkpoint, engine_options={"natural_length": "3"}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        client.post("/v1/completions", json={"prompt": [5, 6], "max_tokens": 10, "ignore_eos": True})
        client.post("/v1/completions", json={"prompt": [5, 6, 7], "max_tokens": 10})
        found = samples(client.get("/metrics").text)
    assert found["vllm:prompt_tokens_total", None] == 5
    assert found["vllm:generation_tokens_total", None] == 13
    assert found["vllm:request_success_total", "length"] == 1
    assert found["vllm:request_success_total", "stop"] == 1
    assert found["vllm:num_requests_running", None] == found["vllm:num_requests_waiting", None] == 0
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_time_per_output_token_seconds"):
        assert found[f"vllm:{name}_count", None] == 2
    assert found["vllm:e2e_request_latency_seconds_sum", None] > found["vllm:time_to_first_token_seconds_sum", None] > 0


def test_the_engines_own_times_are_reported_phase_by_phase(checkpoint):
    options = {"prefill_ms": "40", "token_ms": "10"}
    with running_server(checkpoint, engine_options=options) as server, httpx.Client(base_url=server.url) as client:
        client.post("/v1/completions", json={"prompt": [5, 6], "max_tokens": 5}).raise_for_status()
        client.post("/v1/completions", json={"prompt": [5, 6], "max_tokens": 1, "stream": True}).raise_for_status()
        found = samples(client.get("/metrics").text)
    assert [found[f"vllm:request_{phase}_time_seconds_count", None] for phase in ("queue", "prefill", "decode")] == [
        2
    ] * 3
    assert found["vllm:request_queue_time_seconds_sum", None] == 0
    assert found["vllm:request_prefill_time_seconds_sum", None] >= 2 * 0.03
    assert found["vllm:request_decode_time_seconds_sum", None] >= 4 * 0.005
    whole = found["vllm:e2e_request_latency_seconds_sum", None]
    phases = sum(found[f"vllm:request_{phase}_time_seconds_sum", None] for phase in ("queue", "prefill", "decode"))
    assert phases <= whole


def test_a_request_the_engine_did_not_end_has_no_times(checkpoint):
    with running_server(checkpoint) as server, httpx.Client(base_url=server.url) as client:
        text = client.post("/v1/completions", json={"prompt": [20], "max_tokens": 9}).json()["choices"][0]["text"]
        client.post("/v1/completions", json={"prompt": [20], "max_tokens": 9, "stop": text[2:4]}).raise_for_status()
        found = samples(client.get("/metrics").text)
    assert found["vllm:request_success_total", "stop"] == 1
    assert found["vllm:request_prefill_time_seconds_count", None] == 1


def test_what_loading_cost_is_reported_and_what_is_not_known_is_left_out():
    metrics = Metrics("m", lambda: EngineLoad(0, 0, 0.0))
    assert "prunebench_load" not in metrics.text().decode()
    metrics.loaded(Footprint(seconds=2.5, resident_bytes=10**9, gpu_bytes=None))
    found = samples(metrics.text().decode())
    assert (found["prunebench_load_seconds", None], found["prunebench_load_resident_bytes", None]) == (2.5, 1e9)
    assert ("prunebench_load_gpu_bytes", None) not in found


def test_occupancy_is_the_engines_own_at_the_moment_of_asking():
    loads = iter([EngineLoad(1, 2, 0.5), EngineLoad(3, 0, 0.25, prefix_hit_tokens=64, preemptions=3)])
    metrics = Metrics("m", lambda: next(loads))
    first, second = samples(metrics.text().decode()), samples(metrics.text().decode())
    assert (first["vllm:num_requests_running", None], first["vllm:num_requests_waiting", None]) == (1, 2)
    assert (second["vllm:num_requests_running", None], second["vllm:kv_cache_usage_perc", None]) == (3, 0.25)
    assert second["vllm:prefix_cache_hits_total", None] == 64
    assert second["vllm:num_preemptions_total", None] == 3


def test_an_engine_that_does_not_say_what_its_cache_did_shows_no_zero():
    metrics = Metrics("m", lambda: EngineLoad(0, 0, 0.0))
    assert "prefix_cache" not in metrics.text().decode()
    assert "preemptions" not in metrics.text().decode()


def test_two_servers_in_one_process_do_not_share_figures():
    one, other = (Metrics("m", lambda: EngineLoad(0, 0, 0.0)) for _ in range(2))
    one.begin(7)
    assert samples(one.text().decode())["vllm:prompt_tokens_total", None] == 7
    assert samples(other.text().decode())["vllm:prompt_tokens_total", None] == 0


def test_joules_are_those_of_the_energy_endpoint_and_only_ever_grow(checkpoint):
    name = "prunebench_energy_joules_total"
    with running_server(checkpoint) as server, httpx.Client(base_url=server.url) as client:
        wait_until(lambda: client.get("/energy").json()["meters"][0]["joules"] > 0)  # the meter's second reading
        before = client.get("/energy").json()["meters"][0]["joules"]
        found = samples(client.get("/metrics").text)[name, None]
        after = client.get("/energy").json()["meters"][0]["joules"]
    assert 0 < before <= found <= after


def counter(source, joules, *, domain="cpu-package", device="d", measured=True):
    info = MeterInfo(source=source, domain=domain, device=device, measured=measured)
    return Counter(info=info, joules=joules, sampled_ns=None, reason=None if joules else "lost")


def shown(*meters, missing=(), traces=()):
    """The samples of energy."""
    metrics = Metrics("m", lambda: EngineLoad(0, 0, 0.0))
    metrics.metered(
        lambda: EnergyCounters(now_ns=1, meters=list(meters), missing=list(missing)),
        lambda _: EnergyTrace(now_ns=1, meters=list(traces), conditions=[], missing=[]),
    )
    return {name: value for (name, _), value in samples(metrics.text().decode()).items() if "joules" in name}


HEADLINE = "prunebench_headline_energy_joules_total"


def test_modelled_energy_has_a_name_of_its_own_and_a_failed_meter_no_sample():
    found = shown(counter("rapl", None), counter("modelled-cpu", 5.0, measured=False))
    assert found == {"prunebench_modelled_energy_joules_total": 5.0}


def test_the_headline_adds_gpus_alone_and_never_a_package_or_the_wall():
    gpus = [counter("nvml-counter", 100.0 * n, domain="gpu", device=f"GPU-{n}") for n in (1, 2)]
    others = [counter("rapl", 30.0), counter("rapl", 5.0, domain="dram"), counter("wall-http", 500.0, domain="wall")]
    assert shown(*gpus, *others)[HEADLINE] == 300.0
    assert shown(*others)[HEADLINE] == 35.0
    assert HEADLINE not in shown(others[-1])


def test_a_headline_that_lacks_a_part_is_not_shown():
    gpus = [counter("nvml-counter", 100.0, domain="gpu"), counter("nvml-counter", None, domain="gpu", device="GPU-2")]
    assert HEADLINE not in shown(*gpus)
    lost = MissingMeter(source="nvml-counter", domain="gpu", device="GPU-2", reason="MIG is on")
    assert HEADLINE not in shown(gpus[0], missing=[lost])


def test_a_copy_of_a_counter_is_not_added_again():
    gpus = [counter("nvml-counter", 100.0, domain="gpu", device=f"GPU-{n}") for n in (1, 2)]
    times, joules = list(range(30)), [7.5 * n for n in range(30)]
    columns = {"before_ns": times, "after_ns": times, "joules": joules, "watts": [None] * 30}
    traces = [MeterTrace(info=gpu.info, **columns) for gpu in gpus]
    assert shown(*gpus, traces=traces)[HEADLINE] == 100.0
