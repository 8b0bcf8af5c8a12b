"""The shipped checkpoint is what its card says, and its script runs."""

import bisect
import graphlib
import hashlib
import json
import keyword
import math
import platform
import runpy
import shelve
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pruner.inspection import inspect_checkpoint
from server.text.template import find_template
from tests.support.captured import captured
from tests.support.long import LONG

EXAMPLES = Path(__file__).parents[3] / "examples"
TINYGLU = EXAMPLES / "tinyglu"


def test_it_is_a_small_bf16_llama_of_expansion_ratio_four():
    config = json.loads((TINYGLU / "config.json").read_text())
    assert (config["model_type"], config["dtype"]) == ("llama", "bfloat16")
    assert config["intermediate_size"] == 4 * config["hidden_size"]
    assert sum(file.stat().st_size for file in TINYGLU.glob("*.safetensors")) <= 15_000_000
    found = inspect_checkpoint(TINYGLU, [])
    assert found.parameters == json.loads((TINYGLU / "training.json").read_text())["parameters"]


def test_it_brings_a_tokenizer_a_chat_template_and_a_generation_config():
    tokenizer = Tokenizer.from_file(str(TINYGLU / "tokenizer.json"))
    text = "def naïve(x: int) -> None:\n\treturn '☃'\n"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    template = find_template(TINYGLU)
    assert template is not None
    assert json.loads((TINYGLU / "generation_config.json").read_text())["eos_token_id"] == tokenizer.token_to_id(
        "<|end|>"
    )


def test_its_card_agrees_with_what_the_training_recorded():
    facts = json.loads((TINYGLU / "training.json").read_text())
    card = (TINYGLU / "README.md").read_text()
    assert f"{facts['perplexity']:.2f}" in card
    assert f"{facts['perplexity_untrained']:.0f}" in card
    assert facts["data_sha256"] in card
    assert facts["perplexity"] < facts["perplexity_untrained"] / 20
    losses = [loss for _, loss in facts["loss_curve"]]
    assert losses[0] > losses[-1]
    assert math.exp(losses[-1]) < facts["perplexity_untrained"] / 20


def test_held_out_modules_were_not_trained_on():
    rows = json.loads((TINYGLU / "data.json").read_text())
    held_out = {row["file"] for row in rows if row["split"] == "held-out"}
    assert "argparse.py" in held_out
    assert not held_out & {row["file"] for row in rows if row["split"] == "train"}
    demo = (EXAMPLES.parent / "experiments" / "demo.toml").read_text()
    asked = {line.strip().strip('",').removeprefix("stdlib:") for line in demo.splitlines() if "stdlib:" in line}
    assert asked <= held_out


def test_its_data_are_the_standard_library_of_the_python_it_names():
    shipped = json.loads((TINYGLU / "training.json").read_text())
    rows = json.loads((TINYGLU / "data.json").read_text())
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == shipped["data_sha256"]
    if platform.python_version() == shipped["python"]:
        stdlib = Path(sysconfig.get_paths()["stdlib"])
        assert {row["file"]: row["sha256"] for row in rows} == {
            row["file"]: hashlib.sha256((stdlib / row["file"]).read_bytes()).hexdigest() for row in rows
        }


@pytest.mark.slow
def test_the_script_trains_and_says_so_if_the_library_is_another(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.json").write_text("[]")
    train = [sys.executable, str(EXAMPLES / "train_tinyglu.py"), "--output", str(tmp_path / "out"), "--steps", "1"]
    if not LONG:  # the library takes minutes
        modules = tmp_path / "modules"
        modules.mkdir()
        for module in (keyword, bisect, graphlib, shelve):  # the last is held out
            shutil.copy(str(module.__file__), modules)
        train += ["--library", str(modules), "--batch", "1"]
    monkeypatch.setattr(sys, "argv", train[1:])
    with pytest.raises(SystemExit) as refused:
        runpy.run_path(train[1], run_name="__main__")
    assert refused.value.code == 2
    assert "--allow-other-text" in capsys.readouterr().err

    done = captured([*train, "--allow-other-text"], timeout=800)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    shipped = json.loads((TINYGLU / "training.json").read_text())
    assert inspect_checkpoint(tmp_path / "out", []).parameters == shipped["parameters"]
    if platform.python_version() == shipped["python"] and LONG:
        assert facts["data_sha256"] == shipped["data_sha256"]
        assert facts["perplexity_untrained"] == pytest.approx(shipped["perplexity_untrained"], rel=1e-3)
