"""The examples for Kubernetes and Slurm, held against Kubernetes' own schemas, sbatch's options and our command line."""

import re
import shlex
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

from prunebench.cli import app

ROOT = Path(__file__).parents[3]
JOB = ROOT / "deployment" / "kubernetes" / "job.yaml"
SCRIPTS = sorted((ROOT / "deployment" / "slurm").glob("*.sbatch"))
# What `sbatch --help` of Slurm 22.05 lists and these scripts may use; --open-mode is in its manual page only.
SBATCH = {
    *("account", "array", "constraint", "cpus-per-gpu", "cpus-per-task", "dependency", "error", "exclude", "exclusive"),
    *("export", "gpus", "gpus-per-node", "gpus-per-task", "gres", "job-name", "licenses", "mail-type", "mail-user"),
    *("mem", "mem-per-cpu", "mem-per-gpu", "no-kill", "no-requeue", "nodelist", "nodes", "ntasks", "ntasks-per-node"),
    *(
        "open-mode",
        "output",
        "partition",
        "qos",
        "requeue",
        "reservation",
        "signal",
        "time",
        "time-min",
        "tmp",
        "wckey",
    ),
}


def command_lines(text: str) -> list[list[str]]:
    """The words of each prunebench command in a shell script, without the program's name."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if "prunebench run " in line and not line.startswith("#")]
    return [shlex.split(line.partition("prunebench ")[2]) for line in lines]


def parsed(words: list[str]) -> dict[str, object]:
    """The parameters of a command as the command line reads them. Raises what it would complain of."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("prunebench", [], resilient_parsing=True), words)
    return command.make_context(name, rest).params


@pytest.fixture
def job() -> dict:
    return next(one for one in yaml.safe_load_all(JOB.read_text()) if one["kind"] == "Job")


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_every_object_of_the_manifest_is_one_of_kubernetes(version):
    objects = list(yaml.safe_load_all(JOB.read_text()))
    assert [one["kind"] for one in objects] == ["PersistentVolumeClaim", "PersistentVolumeClaim", "Job"]
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_misspelt_key_of_the_manifest_would_be_found(job):
    job["spec"]["template"]["spec"]["containers"][0]["resurces"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resurces"):
        kubernetes_validate.validate(job, "1.37", strict=True)


def test_the_job_has_a_gpu_a_token_from_a_secret_and_volumes_for_checkpoints_and_runs(job):
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    variables = {one["name"]: one["value"] for one in container["env"]}
    token = Path(variables["HF_TOKEN_PATH"])
    assert volumes[places[str(token.parent)]]["secret"]["secretName"] == "hugging-face"
    options = parsed(container["args"])
    claims = {volumes[places[p]]["persistentVolumeClaim"]["claimName"] for p in ("/app/runs", "/storage")}
    claimed = {one["metadata"]["name"] for one in yaml.safe_load_all(JOB.read_text()) if "accessModes" in one["spec"]}
    assert claims == claimed
    assert options["checkpoints"].is_relative_to("/storage")
    assert Path(variables["HF_HOME"]).is_relative_to("/storage")
    (experiment,) = options["targets"]
    assert (ROOT / experiment).is_file()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_slurm_script_is_bash_with_options_that_sbatch_has_and_commands_that_we_have(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    options = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    assert len(options) == text.count("#SBATCH")
    assert set(options) <= SBATCH
    assert {"gres", "time", "output"} <= set(options)
    (words,) = command_lines(text)
    options = parsed(words)
    assert options["checkpoints"] == Path("checkpoints")
    assert options["resume_or_start"]


def test_there_are_a_script_for_one_node_and_one_for_several():
    executors = [parsed(command_lines(script.read_text())[0])["executor"] for script in SCRIPTS]
    assert [script.name for script in SCRIPTS] == ["one-node.sbatch", "ray.sbatch"]
    assert executors == ["local", "ray"]
