from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.text.stopping import StopStrings

STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=4)


def released(pieces, stops, *, keep=False, banned=0):
    watch = StopStrings(stops, keep_in_text=keep)
    text = ""
    for at, piece in enumerate(pieces):
        text += watch.push(piece, may_end=at >= banned)
        if watch.found is not None:
            return text, watch.found
    return text + watch.finish(), None


def expected(text, stops, banned=0):
    """The definition, without any streaming: of all stop strings, the one that is complete first beyond `banned` characters."""
    for end in range(banned + 1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - len(complete[0])], complete[0]
    return text, None


@settings(deadline=None)  # the machine may be busy
@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12), stops=STOPS)
def test_streamed_text_ends_where_the_whole_text_would(pieces, stops):
    assert released(pieces, stops) == expected("".join(pieces), stops)


@settings(deadline=None)  # the machine may be busy
@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12), stops=STOPS)
def test_a_kept_stop_string_is_the_end_of_the_text(pieces, stops):
    text, stop = expected("".join(pieces), stops)
    assert released(pieces, stops, keep=True) == (text + (stop or ""), stop)


PIECES = st.lists(st.text("abc", max_size=4), max_size=12)


@settings(deadline=None)  # the machine may be busy
@given(pieces=PIECES, stops=STOPS, banned=st.integers(0, 5))
def test_a_stop_string_may_begin_but_not_end_where_none_counts(pieces, stops, banned):
    assert released(pieces, stops, banned=banned) == expected("".join(pieces), stops, len("".join(pieces[:banned])))


def test_only_what_may_become_a_stop_string_is_held_back():
    watch = StopStrings(["END"], keep_in_text=False)
    assert watch.push("the E") == "the "
    assert watch.push("N") == ""
    assert watch.push("x") == "ENx"
