from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.stopping import StopStrings

STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=4)


def told(pieces, stops, *, keep=False):
    watch = StopStrings(stops, keep_in_text=keep)
    text = ""
    for piece in pieces:
        text += watch.push(piece)
        if watch.found is not None:
            return text, watch.found
    return text + watch.finish(), None


def expected(text, stops):
    """The definition, without any streaming: of all stop strings, the one that is complete first."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12), stops=STOPS)
def test_streamed_text_ends_where_the_whole_text_would(pieces, stops):
    assert told(pieces, stops) == expected("".join(pieces), stops)


@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12), stops=STOPS)
def test_a_kept_stop_string_is_the_end_of_the_text(pieces, stops):
    text, stop = expected("".join(pieces), stops)
    assert told(pieces, stops, keep=True) == (text + (stop or ""), stop)


def test_only_what_may_become_a_stop_string_is_held_back():
    watch = StopStrings(["END"], keep_in_text=False)
    assert watch.push("the E") == "the "
    assert watch.push("N") == ""
    assert watch.push("x") == "ENx"
