from __future__ import annotations

import json

import pytest

from loadgen.answers import event_reader
from loadgen.answers.event_reader import MOST_BYTES, EventReader
from loadgen.answers.sse import Answer
from tests.loadgen.scripted import event, token

DONE = b"data: [DONE]\n\n"


@pytest.fixture
def scanned(monkeypatch):
    """Lengths of what was searched for line ends."""
    lengths = []
    split = event_reader.split_lines
    monkeypatch.setattr(event_reader, "split_lines", lambda text: lengths.append(len(text)) or split(text))
    return lengths


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_an_event_in_many_pieces_is_joined_and_searched_once(scanned, size, newline):
    data = b"data: " + b"x" * 20_000 + newline * 2
    reader = EventReader()
    found = [each for n in range(0, len(data), size) for each in reader.feed(data[n : n + size])]
    assert found == [b"x" * 20_000]
    assert sum(scanned) <= len(data) + 10


def test_an_event_of_many_lines_is_searched_once(scanned):
    lines = [b"data: x\n"] * 5000
    reader = EventReader()
    assert [each for line in [*lines, b"\n"] for each in reader.feed(line)] == [b"\n".join([b"x"] * 5000)]
    assert sum(scanned) == len(lines) * 8 + 1


def test_eight_megabytes_in_small_reads_are_one_token():
    """By rescanning from the start it would take an hour."""
    data, answer = token("x" * 2**23, finish="length") + DONE, Answer()
    for n in range(0, len(data), 50):
        answer.feed(1 + n, data[n : n + 50])
    answer.settle()
    assert (answer.error, answer.incomplete, answer.arrival_tokens) == (None, None, [1])


@pytest.mark.parametrize("line", [b"x" * 65536, b"data: " + b"x" * 65529 + b"\n"])
def test_an_event_without_end_is_an_error_once_it_is_too_long(line):
    answer = Answer()
    answer.feed(1, token("a", usage=1))
    for n in range(MOST_BYTES // len(line) + 2):
        answer.feed(2 + n, line)
    answer.settle()
    assert answer.error == f"an event is longer than {MOST_BYTES} bytes"
    assert answer.arrival_tokens == [1]
    assert answer._events._pieces == answer._events._data == []


def test_an_object_without_end_is_an_error_and_is_not_kept():
    answer = Answer()
    for n in range(MOST_BYTES // 2**16 + 9):
        answer.feed(1 + n, b"{" + b" " * (2**16 - 1))
    assert len(answer._object) == MOST_BYTES + 1
    answer.settle()
    assert answer.error == f"the answer is longer than {MOST_BYTES} bytes, and no stream"


USAGE = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4})


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r", b"\r\n"])
def test_a_last_event_without_its_blank_line_is_read(ending):
    answer = Answer()
    answer.feed(1, token("a b c d", finish="length") + USAGE.rstrip() + ending)
    answer.settle()
    assert (answer.error, answer.incomplete, answer.output_tokens) == (None, None, 4)


@pytest.mark.parametrize("left", [5, 20, 40])
def test_a_last_event_that_is_not_whole_is_dropped(left):
    answer = Answer()
    answer.feed(1, token("a", finish="length") + USAGE[:left])
    answer.settle()
    assert (answer.error, answer.incomplete, answer.output_tokens) == (None, None, 1)


def test_what_was_no_stream_is_quoted():
    answer = Answer()
    answer.feed(1, b"<html>gateway</html>")
    answer.settle()
    assert answer.incomplete.endswith("the answer began with b'<html>gateway</html>'")


def test_words_of_a_server_are_one_line_of_bounded_length_that_can_be_written():
    answer = Answer()
    answer.feed(1, b'data: {"error": "\\ud800 a\\n' + b"x" * 9000 + b'"}\n\n')
    assert answer.error.startswith("? a x")
    assert len(answer.error) == 501
    json.dumps(answer.error).encode("ascii")
