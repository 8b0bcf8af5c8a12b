from __future__ import annotations

import os
import subprocess
import sys

import psutil

from server.machine.memory import Footprint, Loading


def test_the_memory_of_all_processes_is_counted_and_that_of_none_is_none():
    loading = Loading()
    with subprocess.Popen([sys.executable, "-c", "x = b'x' * 10**8; input()"], stdin=subprocess.PIPE) as child:
        alone = loading.done([os.getpid()])
        while psutil.Process(child.pid).memory_info().rss < 10**8:
            assert child.poll() is None
        both = loading.done([os.getpid(), child.pid])
        child.communicate(b"\n")
    assert both.resident_bytes - alone.resident_bytes > 0.9e8
    assert loading.done([child.pid]).resident_bytes == 0
    assert both.seconds > alone.seconds


def test_a_footprint_reads_as_a_line_and_names_only_what_is_known():
    assert str(Footprint(1.25, 512_000_000, None)) == "loaded in 1.2 s; 0.51 GB resident"
    assert (
        str(Footprint(20, 3_100_000_000, 9_876_000_000)) == "loaded in 20.0 s; 3.10 GB resident, 9.88 GB of GPU memory"
    )
