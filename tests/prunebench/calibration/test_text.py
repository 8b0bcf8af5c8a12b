"""Calibration text: the forms that a file may have, what is held out, and what it shares with measured texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from prunebench.calibration.overlap import shared_lines
from prunebench.calibration.text import SEQUENCE_TOKENS, cut_sequences, read_files
from pruner.errors import PruneError
from tests.prunebench.calibration.test_text_calibration import LETTERS, add_tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = add_tokenizer(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def items(model: Path, name: str, *rows: object) -> tuple[str, list[str]]:
    """Kind and items of a file of these rows."""
    file = model.parent / name
    file.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows))
    (found,) = read_files(model, [file])
    assert found.record.items == len(found.items)
    return found.record.kind, found.items


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.ndjson"])
def test_rows_and_chats_may_be_mixed(name: str, model: Path) -> None:
    kind, found = items(
        model,
        name,
        {"text": "a text"},
        {"question": "why", "answer": "because", "id": 3},
        {"prompt": "say a"},
        {"prompt": "say b", "completion": "b"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
    )
    assert kind == "chats and rows"
    assert found == [
        "a text\n\n",
        "Question: why\nAnswer: because\n\n",
        "say a\n\n",
        "say b\nb\n\n",
        "<user>hi<assistant>ho",
        "<user>hi<assistant>ho",
    ]


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0c", "\u2029"])
def test_a_row_may_hold_characters_that_end_a_line_elsewhere(odd: str, model: Path) -> None:
    file = model.parent / "rows.JSONL"
    file.write_text("\ufeff" + f'{{"text": "a{odd}b"}}\n'.replace("\x0c", "\\f") * 2, "utf-8")
    (found,) = read_files(model, [file])
    assert found.items == [f"a{odd}b\n\n"] * 2


def test_a_conversation_that_goes_on_from_an_answer_begins_at_the_next_question(model: Path) -> None:
    answer, question = {"from": "gpt", "value": "ho"}, {"from": "human", "value": "hi"}
    chats = ({"conversations": turns} for turns in ([answer, question, answer], [answer], []))
    assert items(model, "chats.json", *chats) == ("chats", ["<user>hi<assistant>ho"])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], "is no object"),
        ({"body": "x"}, "has no messages, conversations, text, prompt, or question and answer"),
        ({"text": 3}, "its text is no string"),
        ({"prompt": "a", "response": None}, "its response is no string"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "user"}]}, "message 2 has no content"),
        ({"messages": [{"role": 3, "content": "hi"}]}, "message 1 has no role"),
        ({"conversations": [{"from": "gpt", "value": "ho"}, {"from": "human", "value": None}]}, "message 2 has no"),
        ({"conversations": [{"from": "martian", "value": "x"}]}, "has a turn without a known from"),
        ({"messages": "hi"}, "its messages are no list of objects"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: object, reason: str, model: Path) -> None:
    with pytest.raises(PruneError, match=rf"--calibration .*rows\.jsonl: row 2: {reason}"):
        items(model, "rows.jsonl", {"text": "x"}, row)


def test_a_chat_without_a_template_and_a_template_that_refuses_are_named(model: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    (model / "chat_template.jinja").write_text("{{ raise_exception('no chats today') }}")
    with pytest.raises(PruneError, match="row 1: the chat template refuses it: no chats today"):
        items(model, "rows.jsonl", chat)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(PruneError, match=r"row 1: is a chat, and .* has no chat template"):
        items(model, "rows.jsonl", chat)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.txt", b"", "holds no text; give some ten thousand"),
        ("text.txt", b" \n\n", "holds no text"),
        ("text.txt", b"a", "holds no more than 1 token; give some ten thousand"),
        ("text.txt", b"\xff", "not UTF-8 text"),
        ("text.txt", None, "No such file"),
        ("rows.jsonl", b'{"text": "x"}\nno json\n', "row 2: not JSON"),
        ("rows.json", b"[", "not JSON"),
        ("rows.jsonl", b'{"text": "\\ud800"}\n', "row 1: half of a surrogate pair is no character"),
        ("rows.jsonl", b"\n\n", "holds no text"),
        ("rows.jsonl", b'{"prompt": " ", "response": ""}\n', "holds no text"),
        (".", None, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name: str, content: bytes | None, reason: str, model: Path) -> None:
    file = model.parent / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PruneError, match=rf"--calibration .*{name}: {reason}"):
        cut_sequences(model, read_files(model, [file]))


def test_every_twentieth_item_is_held_out_and_no_token_of_it_is_used(model: Path) -> None:
    file = model.parent / "rows.jsonl"
    letters = [LETTERS[number % 26] * 30 for number in range(45)]
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in letters))
    cut = cut_sequences(model, read_files(model, [file]))
    held_out, used = ({token for ids in part for token in ids} for part in (cut.held_out, cut.used))
    expected = {3 + LETTERS.index(letters[place][0]) for place in (19, 39)}
    assert expected <= held_out
    assert sum(map(len, cut.held_out)) == 2 * (30 + 2)
    assert sum(map(len, cut.used)) == 43 * (30 + 2)
    assert all(len(ids) <= SEQUENCE_TOKENS for ids in cut.used)
    assert used


def test_a_tokenizer_that_cuts_off_and_pads_does_neither_here(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=600)
    tokenizer.save(str(model / "tokenizer.json"))
    file = model.parent / "a.txt"
    file.write_text("ab" * 400)
    cut = cut_sequences(model, read_files(model, [file]))
    assert [*map(len, cut.used), *map(len, cut.held_out)] == [SEQUENCE_TOKENS, 800 - SEQUENCE_TOKENS]


def test_several_files_are_one_text(model: Path) -> None:
    files = [model.parent / name for name in ("a.txt", "b.txt")]
    for file in files:
        file.write_text("a b " * 200)
    assert sum(map(len, cut_sequences(model, read_files(model, files)).used)) == 2 * SEQUENCE_TOKENS


def test_a_line_that_quality_is_measured_on_is_found_in_texts_and_in_items_of_tasks(model: Path) -> None:
    file = model.parent / "rows.jsonl"
    question = "How many clips did Natalia sell in April?"
    file.write_text(json.dumps({"question": question, "answer": "48"}) + "\n")
    used = read_files(model, [file])
    measured = {
        "held-out.txt": f"Another line of this text.\n  {question.replace(' ', '  ')}\n",
        "tasks/gsm.jsonl": json.dumps({"doc": {"question": question}}) + "\n",
        "other.txt": "48\nNothing in common with it at all.\n",
    }
    warnings = shared_lines(used, measured)
    assert [warning.split(";")[0] for warning in warnings] == [
        "held-out.txt: 1 of its 2 lines are in the calibration text",
        "gsm.jsonl: 1 of its 1 lines are in the calibration text",
    ]


QUESTION, ANSWER = "How many clips did Natalia sell in April?", "She sold forty-eight of them,\nand seven more."
CHATS = {
    "messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}],
    "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}],
}
TEXTS = {
    "chat.jsonl": json.dumps({"messages": CHATS["messages"]}) + "\n\n",
    "sharegpt.json": json.dumps([{"conversations": CHATS["conversations"]}]),
    "rows.ndjson": json.dumps({"question": QUESTION, "answer": ANSWER}) + "\n",
    "plain.txt": f"{QUESTION}\n{ANSWER}\n",
    "spoken.txt": f"User: {QUESTION}\nAssistant: {ANSWER}\n",
    "rendered.txt": f"<user>{QUESTION}<assistant>{ANSWER}",
}


@pytest.mark.parametrize("used", [name for name in TEXTS if name != "rendered.txt"])
def test_what_is_shared_is_found_whatever_form_each_side_has(used: str, model: Path) -> None:
    file = model.parent / used
    file.write_text(TEXTS[used])
    warned = shared_lines(read_files(model, [file]), {**TEXTS, "other.jsonl": '{"text": "nothing in common with it"}'})
    names = [warning.partition(":")[0] for warning in warned]
    assert set(names) >= TEXTS.keys() - {"rendered.txt"}
    assert "other.jsonl" not in names


def test_a_measured_file_that_is_not_the_json_its_name_says_is_compared_as_text(model: Path) -> None:
    file = model.parent / "text.txt"
    file.write_text(QUESTION)
    (warning,) = shared_lines(read_files(model, [file]), {"broken.jsonl": f"{{\n\n{QUESTION}\n"})
    assert warning.startswith("broken.jsonl: 1 of its 1 lines")
