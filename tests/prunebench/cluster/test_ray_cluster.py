"""A run on a Ray cluster: real nodes as processes, one lost in mid-run, the engine whose times and joules are known."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from prunebench.cluster.ray_cluster import RayCluster, gpus_of_session
from prunebench.cluster.session import Job, run_job
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from reports.analysis.analyse import analyse_folder
from reports.runs.run_folder import RunFolder
from tests.prunebench.conftest import SYNTHETIC
from tests.prunebench.run.test_survival import digests, skeleton
from tests.support.captured import captured

BLOCKS, WIDTHS = 3, 2
EXPERIMENT = SYNTHETIC[: SYNTHETIC.rindex("[[workloads]]")].replace("blocks = 2", f"blocks = {BLOCKS}")
EXPERIMENT = EXPERIMENT.replace('token_ms = "1"', 'token_ms = "5"')  # or a busy machine may read all tokens together
RESTING = EXPERIMENT.replace(
    "[energy]", "cooldown_s = 2\n[energy]"
)  # so that a block lasts longer than a node takes to start
PERPLEXITY = '[quality]\nperplexity_files = ["stdlib:this.py"]\n'
TASKS = 'tasks = ["tinyglu_form"]\nlimit = 2\n'


class Nodes:
    """The cluster of `ray_nodes.py`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.address = self._said()
        self.left = 2

    def _said(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the cluster did not start"
        return line

    def lose_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.left -= 1


@pytest.fixture(scope="module")
def nodes():
    """Two nodes, of which the tests lose one each; nothing listens beyond loopback, and nothing is left of them."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:  # a short path
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray then takes 127.0.0.1 for what it is
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.prunebench.cluster.ray_nodes"],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "TMPDIR": folder},  # a session on a lost node cannot remove its run folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Nodes(process)
            process.communicate(timeout=60)
        finally:
            for child in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()


def until(met: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def blocks_in(run: RunFolder) -> set[int]:
    return {int(trial.parent.name[:3]) for trial in run.path.glob("trials/*/cell.json")}


def servers_of(folder: Path) -> list[psutil.Process]:
    words = [(p, " ".join(p.info["cmdline"] or ())) for p in psutil.process_iter(["cmdline"])]
    return [process for process, line in words if f"serve {folder}" in line]


def listening_beyond_loopback(processes: Iterable[psutil.Process]) -> set[str]:
    """Of these and all that they started: other tests' servers are none of ours."""
    own = {each.pid for one in processes for each in (one, *one.children(recursive=True))}
    rows = [row for row in psutil.net_connections("tcp") if row.pid in own]
    return {r.laddr.ip for r in rows if r.status == psutil.CONN_LISTEN and "127.0.0.1" not in r.laddr.ip}


@pytest.fixture
def on_ray(nodes, tmp_path, started):
    """Starts a run on the cluster, in tmp_path/out."""
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    return lambda *words: started(
        "run", "tiny.toml", "--output", "out", "--executor", "ray", "--address", nodes.address, *words
    )


@pytest.mark.slow
def test_a_node_lost_in_mid_run_costs_no_finished_trial_and_the_report_is_that_of_a_run_on_one_machine(
    nodes, on_ray, tmp_path, prunebench
):
    (tmp_path / "tiny.toml").write_text(RESTING + PERPLEXITY + TASKS)
    cluster = psutil.Process(nodes.process.pid)
    before = listening_beyond_loopback([cluster])
    run = RunFolder(tmp_path / "out")
    runner = on_ray()
    until(lambda: len(blocks_in(run)) == 2)
    servers = servers_of(run.path / "checkpoints")
    assert servers
    assert listening_beyond_loopback([cluster, psutil.Process(runner.pid), *servers]) <= before
    finished = digests(run.path)
    nodes.lose_one()
    said, complained = runner.communicate(timeout=600)
    assert runner.returncode == 0, said + complained
    assert "queued again with the" in said
    assert finished.items() <= digests(run.path).items()
    assert not servers_of(run.path / "checkpoints")
    assert not list(run.path.rglob("*.partial"))

    (tmp_path / "tiny.toml").write_text(EXPERIMENT + PERPLEXITY)
    alone = prunebench("run", "tiny.toml", "--output", "alone")
    assert alone.returncode == 0, alone.stderr
    ended, wanted = analyse_folder(run.path), analyse_folder(tmp_path / "alone")
    same, as_wanted = skeleton(ended), skeleton(wanted)
    for facts in (same, as_wanted):  # whether idle power was taken again: a node may be lost before that
        facts["configurations"] = [facts_of_one[:-1] for facts_of_one in facts["configurations"]]
    for part, expected in as_wanted.items():
        assert same[part] == expected, part
    assert [c.info.quality for c in ended.configurations] == [c.info.quality for c in wanted.configurations]
    assert {c: [t.task for t in run.task_results(c)] for c in wanted.info.labels} == {
        "width-1024": ["tinyglu_form"],
        "width-512": ["tinyglu_form"],
    }

    places = {(t.cell.block, t.cell.order): t.cell.placement for t in run.trials()}
    shared = [key for key, place in places.items() if place.beside]
    assert 0 < len(shared) < len(places), "two sessions at first, one in the end, all on this machine"
    assert all(f"block {block + 1}" not in places[block, order].beside for block, order in shared)
    checks = {check.check: check for check in ended.checks}
    assert checks["host-shared"].outcome == "warn"
    assert sum(o.trials for o in checks["host-shared"].observations if o.outcome == "warn") == len(shared)
    assert checks["hosts-differ"].outcome == "pass"
    assert "host-shared" in (run.path / "report.md").read_text()
    assert set(run.environment()["hosts"]) == {os.uname().nodename}


@pytest.mark.slow
def test_a_run_whose_last_node_is_lost_says_so_and_goes_on_elsewhere(nodes, on_ray, tmp_path, prunebench):
    run = RunFolder(tmp_path / "out")
    runner = on_ray()
    until(lambda: blocks_in(run))
    while nodes.left:
        nodes.lose_one()
    said, _ = runner.communicate(timeout=300)
    assert runner.returncode == 1
    assert "no node that is left in the cluster has room for it" in said
    assert run.info().status == "failed"
    assert (run.path / "report.html").exists()
    finished = digests(run.path)
    done = prunebench("run", "tiny.toml", "--output", "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout, "this machine is what it was"
    assert finished.items() <= digests(run.path).items()
    assert len(list(run.trials())) == BLOCKS * WIDTHS

    refused = on_ray("--resume")
    assert "no node of the cluster has 1 GPU" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 2


@pytest.mark.parametrize(("threads", "kept"), [("2", False), ("7", True)])
def test_a_session_undoes_the_limit_of_threads_that_ray_sets_and_numbers_gpus_as_the_meters_do(
    experiment, monkeypatch, threads, kept
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    arrival = next(run_job(Job("block 1", load_experiment(experiment()), {}), own_threads="2"))
    assert arrival.placement.host == os.uname().nodename
    assert ("OMP_NUM_THREADS" in os.environ) is kept
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, 1),
        ({"tensor_parallel_size": "4"}, 4),
        ({"tensor_parallel_size": "4", "pipeline_parallel_size": "2", "distributed_executor_backend": "mp"}, 8),
    ],
)
def test_a_session_takes_the_gpus_of_one_server(options, gpus):
    assert gpus_of_session(options) == gpus


@pytest.mark.parametrize(("takes", "places"), [({"CPU": 1, "GPU": 2}, 3), ({"CPU": 4, "GPU": 0}, 4)])
def test_places_are_counted_node_by_node(monkeypatch, takes, places):
    cluster = RayCluster(None, takes)
    nodes = [{"CPU": 8.0, "GPU": 5.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 4.0}, {"memory": 1.0}]
    monkeypatch.setattr(cluster, "_nodes", lambda: nodes)
    assert (cluster.places(), cluster.has_room()) == (places, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tensor_parallel_size": "two"}, "serve.options.tensor_parallel_size"),
        ({"pipeline_parallel_size": "0"}, "serve.options.pipeline_parallel_size"),
        ({"distributed_executor_backend": "ray"}, "serve.options.distributed_executor_backend"),
    ],
)
def test_options_that_cannot_be_placed_are_named(options, says):
    with pytest.raises(ExperimentError, match=says):
        gpus_of_session(options)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--address", "127.0.0.1:6379"], "--address belongs to --executor ray"),
        (["--executor", "ray", "--serve-on", "http://127.0.0.1:7000"], "--serve-on does not go with --executor ray"),
        (["--executor", "ray", "--prune-only"], "--prune-only does not go with --executor ray"),
        (["--executor", "ray", "--dry-run"], "--dry-run plans for one machine"),
        (["--executor", "ray", "--address", "ray://127.0.0.1:10001"], "must be HOST:PORT"),
        (["--executor", "ray", "--address", "127.0.0.1:9"], "no Ray cluster answers there"),
    ],
)
def test_what_cannot_go_together_or_be_reached_is_reported_before_there_is_a_run_folder(
    prunebench, experiment, tmp_path, words, says
):
    refused = prunebench("run", experiment(), *words)
    assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_without_ray_the_extra_is_named(experiment, tmp_path):
    hidden = "import sys; sys.modules['ray'] = None; from prunebench.cli import main; main()"
    words = ["run", str(experiment()), "--executor", "ray"]
    refused = captured([sys.executable, "-c", hidden, *words], cwd=tmp_path, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr.strip() == 'prunebench: --executor ray needs Ray: pip install "prunebench[ray]"'
