from __future__ import annotations

import socket
import time

import pytest

from loadgen.client.kernel_stamps import ANCILLARY_BYTES, ArrivalClock, ask_for_stamps, unpack_stamp

MS, S = 1_000_000, 1_000_000_000


class Clocks:
    """A wall clock that can be set, beside a monotonic one."""

    def __init__(self):
        self.now, self.offset, self.readings = 100 * S, 1_700_000_000 * S, 0

    def wall(self):
        self.readings += 1
        return self.now + self.offset

    def monotonic(self):
        return self.now


def stamp(wall_ns):
    return divmod(wall_ns, S)


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def arrivals(clocks):
    return ArrivalClock(clocks.wall, clocks.monotonic)


def test_a_stamp_becomes_the_monotonic_moment_it_stands_for(clocks, arrivals):
    then = clocks.wall()
    clocks.now += 3 * MS
    assert arrivals.arrival(stamp(then), clocks.now) == clocks.now - 3 * MS
    assert arrivals.steps == 0


@pytest.mark.parametrize("step", [-3600 * S, -20 * MS, 2 * MS, 3600 * S])
def test_a_wall_clock_that_was_set_is_noticed_by_the_first_stamp_after_it(clocks, arrivals, step):
    clocks.offset += step
    then = clocks.wall()
    clocks.now += MS
    assert arrivals.arrival(stamp(then), clocks.now) == clocks.now - MS
    assert arrivals.steps == 1


def test_a_small_step_back_which_looks_like_a_late_client_is_found_by_looking(clocks, arrivals):
    clocks.offset -= 2 * MS
    arrivals.check()
    then = clocks.wall()
    clocks.now += MS
    assert arrivals.arrival(stamp(then), clocks.now) == clocks.now - MS
    assert arrivals.steps == 1


def test_a_client_that_is_late_indeed_is_no_step(clocks, arrivals):
    then = clocks.wall()
    clocks.now += 500 * MS
    assert arrivals.arrival(stamp(then), clocks.now) == clocks.now - 500 * MS
    assert arrivals.steps == 0


def test_no_arrival_is_later_than_its_reading(clocks, arrivals):
    assert arrivals.arrival(stamp(clocks.wall() + 10_000), clocks.now) == clocks.now


def test_linux_stamps_tcp_between_the_writing_and_the_reading():
    clock = ArrivalClock()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as reader:
        assert ask_for_stamps(reader)
        reader.connect(listening.getsockname())
        writer, _ = listening.accept()
        with writer:
            for _ in range(100):  # Linux begins a while after the first socket of the machine has asked
                before = time.monotonic_ns()
                writer.send(b"x")
                after = time.monotonic_ns()
                time.sleep(0.02)  # nobody reads: the stamp must not wait for that
                _, stamps, _, _ = reader.recvmsg_into([bytearray(9)], ANCILLARY_BYTES)
                if stamps:
                    break
            arrived = clock.arrival(unpack_stamp(stamps[0][2]), time.monotonic_ns())
    assert before - 100_000 <= arrived <= after + 10 * MS


def test_unix_sockets_have_no_stamps():
    with socket.socket(socket.AF_UNIX) as one:
        assert not ask_for_stamps(one)


def test_a_client_that_stays_late_does_not_get_later_by_looking_at_the_clocks(clocks, arrivals):
    then = clocks.wall()
    clocks.now += 500 * MS
    before = clocks.readings
    for _ in range(50):
        clocks.now += MS // 50
        arrivals.arrival(stamp(then), clocks.now)
    assert 3 <= clocks.readings - before <= 6  # three readings a look, one look a millisecond
