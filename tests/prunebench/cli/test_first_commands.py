"""The first commands of a newcomer: each with its exit status and what it prints, one line where it is a mistake."""

from pathlib import Path

import pytest

from prunebench.cli import COMMANDS
from tests.prunebench.conftest import TINYGLU

TYPO = 'name = "mine"\n[model\nsource = "x"\n'
WRONG_KEY = f"""name = "mine"
[model]
source = "{TINYGLU}"
[prune]
pruning_percentage = [20]
[[workloads]]
name = "one"
kind = "single"
requests = 1
"""

# What they type, and what they must read; `DIR` is an empty folder.
ANSWERS = {
    "prunebench": ["Three things to do first", "prunebench doctor", "prunebench load ", "prunebench init "],
    "prunebench --help": ["Examples:", "--install-completion", *COMMANDS],
    "prunebench --version": ["0."],
    "prunebench doctor": ["engines", "energy", "usable cores"],
    "prunebench energy": ["watch", "idle", "predict"],
    "prunebench prune --help": ["Examples:", "prunebench prune ./model --output pruned", "Neurons:"],
    f"prunebench inspect {TINYGLU}": ["6,950,144 parameters", "width 1024", "20 %"],
    f"prunebench init {TINYGLU}": ["experiment.toml: llama, widths 1024, ", "prunebench run experiment.toml --dry-run"],
    "prunebench init http://127.0.0.1:8000": [
        "experiment.toml: 127.0.0.1-8000",
        "prunebench run experiment.toml --dry-run",
    ],
    "prunebench schema": ['"$schema"', "pruning_percentages"],
}
MISTAKES = {
    "prunebench rnu": "No such command 'rnu'. Did you mean 'run'?; see `prunebench --help`",
    "prunebench --verison": "No such option: --verison (Possible options: --version); see `prunebench --help`",
    "prunebench energy wach": "Did you mean 'watch'?; see `prunebench energy --help`",
    "prunebench run": "Missing argument 'EXPERIMENT|TARGETS'; see `prunebench run --help`",
    "prunebench run nothing.toml": "experiment file nothing.toml: No such file or directory",
    "prunebench run typo.toml": "typo.toml:2: is not TOML: Expected ']' at the end of a table declaration (column 7)",
    "prunebench run wrong-key.toml": (
        "wrong-key.toml:5: [prune] pruning_percentage: unknown key; did you mean pruning_percentages?"
    ),
    "prunebench run wrong-key.toml --resume --block 3": "No such option: --block",
    "prunebench prune DIR --output out --pruning-percentage 20": "DIR/config.json: missing",
    f"prunebench prune {TINYGLU}": "Missing option '--output'; see `prunebench prune --help`",
    f"prunebench prune {TINYGLU} --output out": "give at least one of --expansion-ratio, --pruning-percentage",
    "prunebench serve DIR": "DIR: there is no config.json; give the folder of a checkpoint",
    "prunebench serve nowhere": "nowhere: no such folder",
    "prunebench load": "missing URL",
    "prunebench load http://127.0.0.1:9": "http://127.0.0.1:9 does not answer",
    "prunebench load localhost:8000": "URL localhost:8000: must be like http://127.0.0.1:8000",
    "prunebench report DIR": "DIR is not a run folder: it has no run.json",
    "prunebench compare DIR": "Missing argument 'AFTER'; see `prunebench compare --help`",
    "prunebench compare DIR DIR": "DIR is not a run folder",
    "prunebench plan DIR": "Missing option '--requests-per-day', '--prompt-tokens', '--output-tokens'; see `prunebench plan --help`",
    "prunebench plan mine.toml": "RUN mine.toml: takes the folder of a run; what this experiment would take: `prunebench run mine.toml --dry-run`",
    "prunebench evaluate DIR": "DIR: no checkpoint there (it has no config.json), and not a URL",
    "prunebench init": "SOURCE: name a checkpoint",
    "prunebench host": "Missing option '--root'",
}


@pytest.fixture
def typed(prunebench, tmp_path: Path):
    """Runs a line as it was typed, in a folder with two experiments that are wrong and an empty folder."""
    (tmp_path / "typo.toml").write_text(TYPO)
    (tmp_path / "wrong-key.toml").write_text(WRONG_KEY)
    (tmp_path / "DIR").mkdir()
    before = sorted(tmp_path.iterdir())

    def run(line: str):
        done = prunebench(*line.split()[1:])
        assert "Traceback" not in done.stdout + done.stderr
        return done, [path.name for path in sorted(tmp_path.iterdir()) if path not in before]

    return run


@pytest.mark.parametrize("line", ANSWERS)
def test_what_is_asked_is_answered(typed, line: str):
    done, written = typed(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert [words for words in ANSWERS[line] if words not in done.stdout] == []
    assert written == (["experiment.toml"] if " init " in line else [])


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(typed, line: str):
    done, written = typed(line)
    assert (done.returncode, done.stdout, written) == (2, "", [])
    (complaint,) = done.stderr.splitlines()
    assert complaint.startswith("prunebench: ")
    assert MISTAKES[line] in complaint
