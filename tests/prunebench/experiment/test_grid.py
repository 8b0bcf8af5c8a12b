"""`[grid]`: every combination of factors' levels is a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.plan import plan_configurations
from prunebench.experiment.resolve import load_experiment
from tests.prunebench.experiment.test_configurations import HEAD

GRID = """
[grid.width]
values = ["none", 512]
[grid.token_ms]
values = [2, 2.5]
"""


def experiment(folder: Path, text: str, top: str = "") -> Experiment:
    file = folder / "experiment.toml"
    file.write_text(top + HEAD + text)
    return load_experiment(file)


def refusal(folder: Path, text: str, top: str = "") -> str:
    with pytest.raises(ExperimentError) as caught:
        experiment(folder, text, top)
    assert "\n" not in f"{caught.value}"
    return f"{caught.value}"


def test_every_combination_is_a_configuration_and_the_first_is_the_baseline(tmp_path: Path) -> None:
    found = experiment(tmp_path, GRID)
    assert [one.label for one in found.configurations] == [
        "width-none--token_ms-2",
        "width-none--token_ms-2.5",
        "width-512--token_ms-2",
        "width-512--token_ms-2.5",
    ]
    last = found.configurations[-1]
    assert (last.width, last.options) == (512, {"token_ms": "2.5"})
    assert last.levels == {"width": "512", "token_ms": "2.5"}
    assert found.configurations[0].width is None
    plan = plan_configurations(found)
    assert [one.is_baseline for one in plan] == [True, False, False, False]


def test_only_the_combinations_that_are_listed_are_measured(tmp_path: Path) -> None:
    only = 'grid_only = [{ width = "none", token_ms = 2 }, { width = 512, token_ms = 2.5 }]\n'
    found = experiment(tmp_path, GRID, only)
    assert [one.label for one in found.configurations] == ["width-none--token_ms-2", "width-512--token_ms-2.5"]


def test_a_resolved_experiment_is_read_back_as_it_is(tmp_path: Path) -> None:
    found = experiment(tmp_path, GRID)
    again = Experiment.model_validate_json(found.model_dump_json())
    assert again.configurations == found.configurations


NO_GRIDS = {
    '[grid.width]\nvalues = ["none"]\n': "[grid.width] values",
    '[grid.width]\nvalues = ["none", 512, 512]\n': "512 is named twice",
    '[grid.width]\nvalue = ["none", 512]\n': "[grid.width] values: missing key",
    '[grid.width]\nvalues = ["none", "wide"]\n': "width wide: width: Input should be a valid integer",
    '[grid.criterion]\nvalues = ["none", "act"]\n': "criterion act: criterion needs a width",
}
NO_COMBINATIONS = {
    "{ width = 512 }": "width 512 has no token_ms",
    "{ width = 512, token_ms = 9 }": "width 512, token_ms 9 is no combination",
}


@pytest.mark.parametrize(("grid", "said"), NO_GRIDS.items())
def test_a_grid_that_is_none_is_refused_in_one_line(grid: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, grid)


@pytest.mark.parametrize(("only", "said"), NO_COMBINATIONS.items())
def test_a_listed_combination_that_is_none_is_refused_in_one_line(only: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, GRID, f"grid_only = [{only}]\n")
