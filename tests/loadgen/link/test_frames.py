"""Messages between the processes of a load, over a real pair of sockets."""

from __future__ import annotations

import socket

from loadgen.link.frames import Inbox, Replies


def test_replies_that_the_other_end_does_not_take_are_buffered_and_arrive_in_order():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        replies, inbox = Replies(ours), Inbox(theirs)
        sent = [(n, b"x" * 10_000) for n in range(100)]
        for each in sent:
            replies.put(each)  # a megabyte: more than a socket holds
        assert replies.buffered
        came = []
        while len(came) < len(sent):
            came += inbox.receive() or []
            replies.flush()
    assert came == sent
    assert not replies.buffered


def test_replies_to_an_end_that_is_gone_are_dropped():
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        replies = Replies(ours)
        replies.put("nobody")
    replies.put("closed")
    assert not replies.buffered
