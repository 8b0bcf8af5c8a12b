import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from prunebench.commands.schema import experiment_schema
from prunebench.experiment.changes import recorded_as
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.texts import read_text
from prunebench.quality.suites import choose_suite
from pruner.scoring.targets import Target

SHIPPED = sorted(Path("experiments").glob("*.toml"))

KEY = re.compile(r"[\w.]+ *= ")

MINIMAL = """
name = "tiny"
[model]
source = "checkpoint"
[prune]
expansion_ratios = [2.0]
[[workloads]]
name = "one"
kind = "single"
requests = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(written(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_paths_are_relative_to_the_experiment_file(folder: Path):
    experiment = load_experiment(written(folder, MINIMAL))
    assert experiment.model.source == folder / "checkpoint"


def test_a_resolved_experiment_reads_back_equal(folder: Path):
    experiment = load_experiment(written(folder, MINIMAL))
    assert type(experiment).model_validate_json(experiment.model_dump_json()) == experiment


def test_files_that_a_workload_names_are_beside_the_experiment(folder: Path):
    (folder / "body.json").write_text('{"top_k": 3}')
    (folder / "parts.json").write_text('[{"name": "a"}, {"name": "b", "weight": 2}]')
    (folder / "rows").mkdir()
    (folder / "rows" / "train.jsonl").write_text('{"prompt": "hello"}\n')
    named = MINIMAL + 'body = "body.json"\nprompts = "rows"\n'
    named += '[[workloads]]\nname = "two"\nkind = "mix"\nrate = 1\nrequests = 1\nparts = "parts.json"\n'
    one, two = load_experiment(written(folder, named)).workloads
    assert (one.body, one.prompts) == ({"top_k": 3}, str(folder / "rows"))
    assert two.part_names == ("a", "b")


def test_an_unknown_key_is_refused_with_the_nearest_known_one(folder: Path):
    assert ":1: protocl: unknown key; did you mean protocol?" in complaint(folder, "protocl = 1\n" + MINIMAL)
    assert ":6: [prune] expansion_ratio: unknown key; did you mean expansion_ratios?" in complaint(
        folder, MINIMAL.replace("expansion_ratios", "expansion_ratio")
    )


def test_an_unknown_key_like_no_other_lists_what_there_is(folder: Path):
    assert ":5: [model] zzz: unknown key; known are source" in complaint(
        folder, MINIMAL.replace('source = "checkpoint"', 'source = "checkpoint"\nzzz = 1')
    )


def test_an_unknown_key_of_a_workload_is_named_with_its_place(folder: Path):
    assert ":10: [workloads.0] request: unknown key; did you mean requests?" in complaint(
        folder, MINIMAL.replace("requests = 1", "request = 1")
    )


def test_an_unknown_key_of_a_part_is_named_with_the_nearest_that_a_part_has(folder: Path):
    parts = 'kind = "mix"\nrate = 1.0\nparts = [{ name = "a" }, { name = "b", burstines = 0.5 }]\nrequests = 1'
    assert "burstines: unknown key; did you mean burstiness?" in complaint(
        folder, MINIMAL.replace('kind = "single"\nrequests = 1', parts)
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "tiny"\n', "", "name: missing key"),
        ('name = "tiny"', 'name = "../elsewhere"', "name: "),
        ("expansion_ratios = [2.0]", "", "prune: give expansion_ratios"),
        (
            "expansion_ratios = [2.0]",
            "pruning_percentages = [30, 100]",
            ":6: [prune] pruning_percentages.1: Input should be less than 100",
        ),
        ("requests = 1", "", "requests and duration_s"),
        ('kind = "single"', 'kind = "batch"', "needs batch_size"),
        ('source = "checkpoint"', 'source = "nowhere"', ":4: [model] source: no checkpoint at "),
        ("[prune]", "[prune", ":5: is not TOML: "),
    ],
)
def test_what_is_wrong_is_named(folder: Path, before: str, after: str, said: str):
    assert said in complaint(folder, MINIMAL.replace(before, after))


def test_a_key_of_another_kind_is_named_by_its_line(folder: Path):
    assert ":10: [workloads.0] rate: rate does not apply" in complaint(
        folder, MINIMAL.replace("requests = 1", "rate = 2")
    )


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c"])
def test_a_character_that_ends_a_line_elsewhere_ends_none_here(odd: str, folder: Path):
    text = MINIMAL.replace("requests = 1", "rate = 2").replace('name = "tiny"', f'name = "tiny" # a{odd}b')
    said = ":2: is not TOML: " if odd == "\x0c" else ":10: [workloads.0] rate: rate does not apply"
    assert said in complaint(folder, text)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_wrong_value_of_any_key_is_named_by_its_line(file: Path, folder: Path):
    lines = file.read_text("utf-8").splitlines()
    keys = [(number, line.partition("=")[0].strip()) for number, line in enumerate(lines) if KEY.match(line)]
    assert len(keys) > 10
    for number, key in keys:
        wrong = [*lines[:number], f"{key} = {{ wrong = [", "  # nothing here", "] }", *_after_value(lines, number)]
        assert f"experiment.toml:{number + 1}: " in complaint(folder, "\n".join(wrong)), key
        assert complaint(folder, "\n".join(wrong)).split(": ")[1].split("] ")[-1].startswith(key.split(".")[0])


def _after_value(lines: list[str], number: int) -> list[str]:
    """The lines behind a value, which may be a list of several."""
    for end in range(number + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[number:end]))
        except tomllib.TOMLDecodeError:
            continue
        return lines[end:]
    raise AssertionError


def test_two_workloads_may_not_share_a_name(folder: Path):
    twice = MINIMAL + MINIMAL[MINIMAL.index("[[workloads]]") :]
    assert "two workloads have the same name" in complaint(folder, twice)


def test_a_missing_experiment_file_is_named(tmp_path: Path):
    with pytest.raises(ExperimentError, match=r"nothing\.toml: No such file"):
        load_experiment(tmp_path / "nothing.toml")


def test_a_missing_text_file_is_named(folder: Path):
    quality = '[quality]\nperplexity_files = ["stdlib:no_such_module.py"]\n'
    assert "[quality] perplexity_files: no file stdlib:no_such_module.py" in complaint(folder, MINIMAL + quality)


def test_a_calibration_text_lies_beside_the_experiment_is_there_and_is_of_use(folder: Path):
    def with_prune(lines: str) -> str:
        return MINIMAL.replace("expansion_ratios = [2.0]", f"expansion_ratios = [2.0]\n{lines}")

    needing = (
        ('criterion = "act"', "criterion act"),
        ('refit = "one-shot"', "refit"),
        ("remove_layers = [2]", "remove_layers"),
    )
    for line, asking in needing:
        assert f"{asking} needs a text: calibration = [FILE]" in complaint(folder, with_prune(line))
        text = with_prune(f'{line}\ncalibration = ["text.txt"]')
        assert "[prune] calibration: no file text.txt" in complaint(folder, text)
    assert "only the criteria act, wanda, obs, taylor, refit and remove_layers use a text" in complaint(
        folder, with_prune('calibration = ["text.txt"]')
    )
    (folder / "text.txt").write_text("some text")
    assert load_experiment(written(folder, text)).prune.calibration == [folder / "text.txt"]


def test_one_criterion_or_a_list_of_several_is_taken(folder: Path):
    def criterion(value: str) -> str:
        return MINIMAL.replace("expansion_ratios = [2.0]", f"expansion_ratios = [2.0]\ncriterion = {value}")

    assert load_experiment(written(folder, MINIMAL)).prune.criterion == ["maw"]
    assert load_experiment(written(folder, criterion('"vow"'))).prune.criterion == ["vow"]
    assert load_experiment(written(folder, criterion('["vow", "pon"]'))).prune.criterion == ["vow", "pon"]
    assert ":7: [prune] criterion: Input should be 'maw'" in complaint(folder, criterion('"mav"'))
    assert ":7: [prune] criterion.1: Input should be 'maw'" in complaint(folder, criterion('["vow", "mav"]'))
    assert "criterion vow is named twice" in complaint(folder, criterion('["vow", "vow"]'))
    assert ":7: [prune] criterion: List should have at least 1 item" in complaint(folder, criterion("[]"))


def test_the_standard_library_can_be_read_by_name():
    assert "def wrap(" in read_text("stdlib:textwrap.py")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_experiment_is_valid_or_lacks_only_its_weights(file: Path):
    try:
        assert load_experiment(file).workloads
    except ExperimentError as error:
        assert re.search(r"(source|checkpoint): no checkpoint at \S+(Llama|checkpoints/tinyglu)", str(error)), error  # noqa: PT017


def test_there_are_shipped_experiments():
    study = {"llama-3.2-1b", "llama-3.2-3b", "llama-3.2-1b-instruct", "llama-3.2-1b-measured"}
    assert {"demo", "demo-vllm"} | study <= {file.stem for file in SHIPPED}


@pytest.mark.parametrize(
    ("name", "hidden", "widths", "ratios"),
    [
        ("llama-3.2-1b", 2048, [7373, 6554, 5735, 4916, 4096, 3277], [3.6, 3.2, 2.8, 2.4, 2.0, 1.6]),
        ("llama-3.2-3b", 3072, [7373, 6554, 5735, 4916, 4096, 3277], [2.4, 2.13, 1.87, 1.6, 1.33, 1.07]),
        ("llama-3.2-1b-instruct", 2048, [7373, 4916, 3277], [3.6, 2.4, 1.6]),
    ],
)
def test_the_studys_experiments_give_the_studys_widths(name, hidden, widths, ratios):
    experiment = Experiment.model_validate(tomllib.loads(Path(f"experiments/{name}.toml").read_text()))
    given = [target.width(8192, hidden) for target in experiment.prune.targets()]
    assert given == widths
    assert [round(width / hidden, 2) for width in given] == pytest.approx(ratios, abs=0.005)
    sources = {(w.prompts, w.output_tokens, w.natural_stop) for w in experiment.workloads}
    assert sources == {("hellaswag", 20, True), ("mmlu", 50, True), ("ifeval", 150, True)}
    assert experiment.quality
    assert choose_suite(experiment.quality.tasks).chat_template == name.endswith("instruct")


def test_what_should_be_measured_has_each_odd_width_beside_its_nearest_multiple_of_128():
    experiment = Experiment.model_validate(tomllib.loads(Path("experiments/llama-3.2-1b-measured.toml").read_text()))
    widths = set(experiment.prune.widths)
    odd = {w for w in widths if w % 2}
    assert {Target("percentage", p).width(8192, 2048) for p in (10, 30, 60)} == odd
    assert {round(w / 128) * 128 for w in odd} <= widths
    assert all(w % 128 == 0 for w in widths - odd)
    assert not any(w.natural_stop for w in experiment.workloads)
    assert {w.swept_by for w in experiment.workloads} >= {"sweep"}
    assert experiment.protocol.blocks >= 5


def test_the_schema_beside_the_experiments_is_that_of_the_code():
    assert Path("experiments/experiment.schema.json").read_text() == experiment_schema(), (
        "prunebench schema > experiments/experiment.schema.json"
    )


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_editors_are_shown_the_schema_and_it_accepts_what_ships(file: Path):
    assert file.read_text().splitlines()[0] == "#:schema ./experiment.schema.json"
    jsonschema.validate(tomllib.loads(file.read_text()), json.loads(experiment_schema()))


def test_the_schema_refuses_what_the_code_refuses():
    schema = json.loads(experiment_schema())
    given = tomllib.loads(MINIMAL)
    jsonschema.validate(given, schema)
    for wrong in ({**given, "protocl": {}}, {**given, "seed": "seven"}, {**given, "protocol": {"blocks": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


SWEEP = """
[[workloads]]
name = "curve"
kind = "sweep"
rates = [2.0, 4.0]
duration_s = 15
output_tokens = "uniform:4-8"
"""


def test_a_sweep_becomes_a_workload_for_each_of_its_rates(experiment):
    file = experiment()
    file.write_text(file.read_text() + SWEEP)
    workloads = {w.name: w for w in load_experiment(file).workloads}
    assert list(workloads)[2:] == ["curve-2rps", "curve-4rps"]
    assert (workloads["curve-4rps"].kind, workloads["curve-4rps"].requests) == ("poisson", 60)
    again = Experiment.model_validate_json(load_experiment(file).model_dump_json())
    assert again == load_experiment(file)


def test_a_sweep_that_looks_for_its_rates_is_for_one_server_only(experiment):
    file = experiment()
    file.write_text(file.read_text() + SWEEP.replace("rates = [2.0, 4.0]", "rate = 2.0"))
    with pytest.raises(ExperimentError, match="needs rates, so that every configuration meets the same"):
        load_experiment(file)


def test_a_trace_and_a_file_of_prompts_lie_beside_the_experiment_and_must_be_there(experiment, tmp_path):
    file = experiment()
    replay = '[[workloads]]\nname = "replay"\nkind = "trace"\ntrace = "t.jsonl"\n'
    own = '[[workloads]]\nname = "own"\nkind = "single"\nrequests = 2\nprompts = "p.txt"\n'
    study = own.replace("own", "study").replace("p.txt", "hellaswag")
    file.write_text(file.read_text() + replay + own + study)
    with pytest.raises(ExperimentError, match=r"\[workloads.2\] trace: no file .*t\.jsonl"):
        load_experiment(file)
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(ExperimentError, match=r"\[workloads.3\] prompts: no file .*p\.txt"):
        load_experiment(file)
    (tmp_path / "p.txt").write_text("hello")
    *_, trace, own, study = load_experiment(file).workloads
    assert (trace.trace, own.prompts, study.prompts) == (tmp_path / "t.jsonl", str(tmp_path / "p.txt"), "hellaswag")


def test_a_recorded_experiment_without_its_files_sha256_is_the_same_and_with_another_one_is_not(folder: Path):
    (folder / "p.txt").write_text("one\n")
    file = folder / "files.toml"
    file.write_text(MINIMAL.replace("[[workloads]]", '[[workloads]]\nprompts = "p.txt"'))
    now = load_experiment(file)
    (workload,) = now.workloads
    assert workload.file_sha256
    older = now.model_copy(update={"workloads": [workload.model_copy(update={"file_sha256": None})]})
    assert recorded_as(older, now) == now
    (folder / "p.txt").write_text("two\n")
    assert recorded_as(now, load_experiment(file)) != load_experiment(file)
