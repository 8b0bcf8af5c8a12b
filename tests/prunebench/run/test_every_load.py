"""Every kind of load through `run`, on servers of which no more than a URL is known, with files named relative to the experiment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.document.wording import TIMES
from reports.runs.reading import read_run
from tests.loadgen.made import EVERY_KIND, one_of_every_kind
from tests.loadgen.scripted import END, ScriptedServer, Step, chunked, event
from tests.loadgen.scripted import HEAD as STREAM
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU, TWO_BLOCKS
from tests.server.conftest import running_server

pytestmark = pytest.mark.slow

HEAD = f"""
name = "loads"
{TWO_BLOCKS}[[configurations]]
label = "a"
url = "{{url}}"
[[configurations]]
label = "b"
url = "{{url}}/v1"
headers = ["X-Team: search"]
"""
PARTS = [{**EVERY_KIND["mix"]["parts"][0], "slo_e2e_ms": 60_000}, EVERY_KIND["mix"]["parts"][1]]
LINE = {"body": {"model": "x", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "top_p": 0.5}}
FILES = {
    "body.json": {"top_k": 3},
    "parts.json": [*PARTS, {"name": "lines", "prompts": "batch.jsonl"}],
    "batch.jsonl": LINE,
}
APART = """
[[workloads]]
name = "apart"
kind = "mix"
duration_s = 0.5
warmup_requests = 2
[[workloads.parts]]
name = "even"
kind = "constant"
rate = 10
prompt_tokens = 8
output_tokens = 8
[[workloads.parts]]
name = "loop"
kind = "concurrency"
concurrency = 2
prompts = "batch.jsonl"
"""
OTHERS = {
    "batch": {"batch_size": 2, "body": "body.json"},
    "concurrency": {"concurrency": 2, "endpoint": "chat", "slo_ttft_ms": 60_000},
    "mix": {"parts": "parts.json"},
    "trace": {"trace": "trace.jsonl"},
}


def workload_table(kind: str) -> str:
    keys = {"name": kind, "kind": kind, "warmup_requests": 1, "requests": 4, "prompt_tokens": 12, "output_tokens": 8}
    keys |= {key: value for key, value in EVERY_KIND[kind].items() if key != "prompt_as"} | OTHERS.get(kind, {})
    if "duration_s" in keys:
        keys["requests"] = None
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(["[[workloads]]", *lines, ""])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("loads")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    one_of_every_kind("trace", folder)
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content))
    with running_server(TINYGLU, engine="synthetic", engine_options={"token_ms": "1"}) as server:
        (folder / "loads.toml").write_text(
            HEAD.format(url=server.url) + "".join(map(workload_table, EVERY_KIND)) + APART
        )
        words = ["run", str(folder / "loads.toml"), "--output", str(folder / "out")]
        return folder / "out", run_command(words, elsewhere, 240)


def test_each_is_measured_in_every_block(finished):
    folder, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    measured = {(one.cell.workload, one.cell.label, one.cell.block) for one in read_run(folder).trials}
    assert measured == {(kind, label, block) for kind in [*EVERY_KIND, "apart"] for label in "ab" for block in range(2)}


def test_headers_are_sent_to_the_server_that_has_them(finished):
    folder, _ = finished
    assert {(one.cell.label, *one.trial.headers) for one in read_run(folder).trials} == {("a",), ("b", "X-Team")}


def rows_of(folder, title):
    """The rows of a section of the report, each as its entries."""
    section = (folder / "report.md").read_text().partition(f"## {title}")[2].partition("\n## ")[0]
    rows = [[entry.strip() for entry in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[0] != "Configuration" and not row[0].startswith("---")]


def groups_of(folder, workload):
    """The turns or parts of report.json with what is compared."""
    (report,) = json.loads((folder / "report.json").read_text())["runs"]
    return {(one["label"], one["group"]): one["values"] for one in report["groups"] if one["workload"] == workload}


def test_turns_and_parts_have_their_sections(finished):
    folder, _ = finished
    assert [row[0] for row in rows_of(folder, "Sessions by turn")] == [
        f"{label} turn {n}" for label in "ab" for n in "12"
    ]
    apart, mix = (
        [f"{label} part {name}" for label in "ab" for name in names]
        for names in (("even", "loop"), ("short", "long", "lines"))
    )
    # Latency and throughput, and of the one with objectives those.
    assert [row[0] for row in rows_of(folder, "Mixes by part")] == [*apart, *apart, *mix, *mix, *mix]


@pytest.mark.parametrize(("workload", "group"), [("sessions", "2"), ("mix", "short")])
def test_turns_and_parts_are_compared_in_pairs(finished, workload, group):
    folder, _ = finished
    baseline, other = (groups_of(folder, workload)[label, group] for label in "ab")
    for key in ("mean_ttft_ms", "mean_tpot_ms", "p99_itl_ms", "mean_e2e_ms"):
        assert baseline[key]["comparison"] is None
        assert set(other[key]["comparison"]["ratios"]) <= {"0", "1"}
        assert other[key]["median"] > 0
        assert other[key]["comparison"]["ratio"] > 0
    assert other["output_tokens_per_s"]["median"] > 0


def test_a_workload_with_objectives_has_its_goodput(finished):
    folder, _ = finished
    rows = rows_of(folder, "Goodput")
    assert [row[0] for row in rows] == list("abab")  # of the concurrency and of the mix
    assert {row[2].split(" %")[0] for row in rows} == {"100"}
    assert all(float(row[3].split()[0]) > 0 for row in rows)  # joules of the synthetic engine


def thought(tokens: int, reasoning: int) -> Iterator[Step]:
    """An answer whose first tokens are reasoning, on times of its own."""
    for n in range(tokens):
        delta = {"reasoning_content" if n < reasoning else "content": "hm "}
        choice = {"index": 0, "delta": delta, "finish_reason": "length" if n == tokens - 1 else None}
        chunk = chunked(event(choices=[choice], usage={"prompt_tokens": 12, "completion_tokens": n + 1}))
        yield 0.005
        yield STREAM + chunk if n == 0 else chunk
    yield chunked(b"data: [DONE]\n\n") + END


def test_reasoning_has_its_section_with_the_tokens_and_joules_of_each_in_pairs(tmp_path):
    models = json.dumps({"data": [{"id": "thinker"}]}).encode()

    def thinker(reasoning: int) -> ScriptedServer:
        return ScriptedServer(
            lambda _, asked: thought(asked.body["max_tokens"], reasoning), {"/v1/models": lambda: models}
        )

    load = workload_table("single") + 'endpoint = "chat"\nprompt_as = "words"\n'
    with running_server(TINYGLU, engine="synthetic") as meter, thinker(6) as a, thinker(4) as b:
        first, second = (f"http://127.0.0.1:{server.port}" for server in (a, b))
        head = HEAD.format(url=first).replace(f"{first}/v1", second)
        metered = head.replace("idle_s = 0", f'idle_s = 0\nsource = "{meter.url}"')
        (tmp_path / "think.toml").write_text(metered + load)
        done = run_command(["run", str(tmp_path / "think.toml"), "--output", str(tmp_path / "out")], tmp_path, 120)
    assert done.returncode == 0, done.stdout + done.stderr
    whole, other = rows_of(tmp_path / "out", "Reasoning and answers")
    assert [whole[3], whole[4]] == ["6.00", "2.00"]
    assert [other[3].split()[:2], other[4].split()[:2]] == [["4.00", f"0.67{TIMES}"], ["4.00", f"2.00{TIMES}"]]
    assert float(whole[1]) < float(whole[2])  # the reasoning begins before the answer
    assert float(whole[5]) == pytest.approx(3 * float(whole[6]), rel=0.02)
    assert all(TIMES in entry for entry in other[1:])


def test_a_part_with_a_file_has_the_lengths_of_its_lines_and_the_record_what_it_sent(finished):
    folder, _ = finished
    trials = [one for one in read_run(folder).trials if one.cell.workload in {"mix", "apart"}]
    assert {tuple("chat" in form.path for form in one.trial.part_forms) for one in trials} == {
        (False, False, True),
        (False, True),
    }
    for one in trials:
        assert "top_p" in one.trial.part_forms[-1].keys
        assert one.trial.workload.parts[-1].file_sha256
        last = one.metrics.part == len(one.trial.workload.parts) - 1
        # "apart" leaves lengths to the lines, "mix" has one of its own.
        assert set(one.metrics.asked_tokens[last]) <= {5 if one.cell.workload == "apart" else 8}
        assert set(one.metrics.asked_tokens[~last]) == {8}
