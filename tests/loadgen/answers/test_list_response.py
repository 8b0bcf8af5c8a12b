"""A list of prompts in one stream: whose tokens a running usage counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.answers.list_response import ListedAnswers
from tests.loadgen.scripted import event

DONE = b"data: [DONE]\n\n"


def choice(index, text="a", finish=None):
    return {"index": index, "text": text, "finish_reason": finish}


def usage(tokens, prompt=3):
    return {"prompt_tokens": prompt, "completion_tokens": tokens}


def read(answers, *parts):
    """Each part read a nanosecond after the one before."""
    listed = ListedAnswers(answers)
    for n, part in enumerate(parts, 1):
        listed.feed(n, part)
    listed.settle()
    return listed.all


# Whose turn it is and how many tokens its chunk brings; every choice has a turn at least.
turns = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=20).flatmap(
    lambda some: st.permutations([*some, (0, 1), (1, 1), (2, 1)])
)


@given(turns=turns, of_all=st.booleans())
def test_tokens_are_credited_once_and_to_their_own_choice_whatever_the_running_count_counts(turns, of_all):
    truth = {0: [], 1: [], 2: []}
    parts = []
    for n, (place, tokens) in enumerate(turns, 1):
        truth[place].append((n, (truth[place][-1][1] if truth[place] else 0) + tokens))
        count = sum(own[-1][1] for own in truth.values() if own) if of_all else truth[place][-1][1]
        parts.append(event(choices=[choice(place)], usage=usage(count, 9 if of_all else 3)))
    total = sum(own[-1][1] for own in truth.values())
    found = read(3, *parts, event(choices=[], usage=usage(total, 9)), DONE)
    assert [list(zip(a.arrival_ns, a.arrival_tokens, strict=True)) for a in found] == list(truth.values())
    assert {a.counted_by for a in found} == {"server-continuous-usage"}
    assert [a.prompt_tokens for a in found] == [3, 3, 3]


@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [1, 1, 2, 2]])
def test_without_a_total_a_count_that_goes_on_from_choice_to_choice_is_of_all(counts):
    found = read(2, *(event(choices=[choice(n % 2)], usage=usage(count)) for n, count in enumerate(counts)), DONE)
    assert [a.arrival_tokens for a in found] == [[1, 2], [1, 2]]


def test_a_chunk_of_several_choices_has_one_usage_for_them_together():
    parts = [event(choices=[choice(0), choice(1)], usage=usage(2 * n, 6)) for n in (1, 2)]
    found = read(2, *parts, DONE)
    assert [(a.arrival_tokens, a.counted_by) for a in found] == [([1, 2], "server-continuous-usage")] * 2


def test_tokens_that_a_chunk_of_several_choices_does_not_share_out_are_not_known_of_each():
    found = read(2, event(choices=[choice(0), choice(1)], usage=usage(5, 6)), DONE)
    assert [(a.arrival_tokens, a.counted_by) for a in found] == [([3], "server-usage"), ([2], "server-usage")]


def test_a_choice_that_only_ends_has_none_of_the_tokens_beside_it():
    parts = [
        event(choices=[choice(0), choice(1)], usage=usage(2)),
        event(choices=[choice(0), choice(1, "", "stop")], usage=usage(3)),
    ]
    assert [a.arrival_tokens for a in read(2, *parts, DONE)] == [[1, 2], [1]]


def test_a_usage_at_the_end_alone_is_no_running_count():
    parts = [event(choices=[choice(n)]) for n in (0, 1, 0)]
    found = read(2, *parts, event(choices=[choice(1, "a", "length")], usage=usage(4)), DONE)
    assert [(a.arrival_tokens, a.counted_by) for a in found] == [([1, 2], "chunks")] * 2


def test_every_choice_ends_by_its_own_reason():
    parts = [
        event(choices=[choice(0, finish="length")], usage=usage(1)),
        event(choices=[choice(1, finish="content_filter")], usage=usage(1)),
    ]
    whole, cut = read(2, *parts)
    assert whole.incomplete is None
    assert "content filter" in cut.incomplete
