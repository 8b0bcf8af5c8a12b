"""JSON read in slices is what `from_json` reads, and is refused where that refuses it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from server.offloading import json_reader
from server.offloading.json_reader import read_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\,[]{}: '), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXT, inner, max_size=8),
)


@pytest.fixture(params=[2, 7, 30])
def slices(request, monkeypatch):
    """Slices of so few bytes."""
    monkeypatch.setattr(json_reader, "_SLICE", request.param)
    monkeypatch.setattr(json_reader, "_DEEPEST", 100)
    return request.param


def read(reader, body):
    """What it reads, or that it refuses the body."""
    try:
        return reader(body)
    except ValueError:
        return ValueError


@pytest.mark.usefixtures("slices")
class TestInSlices:
    @settings(deadline=None)
    @given(value=JSON, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
    def test_any_json_is_read_as_at_once(self, value, indent, ascii_only):
        body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        assert read_json(body) == from_json(body)

    @settings(deadline=None)
    @given(value=JSON, at=st.integers(0), cut=st.integers(0, 3), put=st.sampled_from(['"', ",", "[", "]", "{", "}", "\\", ":", "1", " ", ""]))  # fmt: skip
    def test_what_is_no_json_is_refused_too(self, value, at, cut, put):
        text = json.dumps(value, ensure_ascii=False)
        at %= len(text) + 1
        body = f"{text[:at]}{put}{text[at + cut :]}".encode()
        assert read(read_json, body) == read(from_json, body)

    @settings(deadline=None)
    @given(body=st.text('[]{}",: 1\\u0n', max_size=24).map(str.encode))
    def test_so_is_nonsense(self, body):
        assert read(read_json, body) == read(from_json, body)

    @pytest.mark.parametrize(
        "body",
        [b"[]", b" [ ] ", b"{}", b"[,]", b"[1,]", b"[,1]", b"[1,,2]", b'{"a":1,}', b'{"a":1,"a":2}', b'["a\\', b'"\\\\"', b"[1}", b"[1] 2", b"\xff", b'["\\ud800"]', b"", b"   ", b'{"a" 1}', b"[" * 99, b"NaN", b"[-Infinity]"],
    )  # fmt: skip
    def test_and_the_edges(self, body):
        assert repr(read(read_json, body)) == repr(read(from_json, body))


def test_large_containers_within_each_other_have_an_end():
    with pytest.raises(ValueError, match="nested too deep"):
        read_json(b"[" * 1_000_000)


def test_no_call_reads_more_than_a_slice(monkeypatch):
    read_at_once = []
    monkeypatch.setattr(json_reader, "from_json", lambda piece: read_at_once.append(len(piece)) or from_json(piece))
    messages = [{"role": "user", "content": [{"text": '\\"[{' * 9}] * 5}] * 900
    asked = {
        "tokens": [5] * 200_000,
        "prompt": [[5, 6] * 500] * 64,
        "messages": messages,
        **dict.fromkeys(map(str, range(9000))),
    }
    body = json.dumps(asked).encode()
    assert read_json(body) == asked
    assert max(read_at_once) <= json_reader._SLICE + 2  # and its brackets
