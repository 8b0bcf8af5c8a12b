"""Servers end with whoever started them, even those that do not listen any more."""

import subprocess
import sys

import psutil
import pytest

DEAF = """
import signal, time
from prunebench.servers import parent_watch as parent
parent._GRACE_S = 0.1
parent.end_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
STARTER = """
import os, subprocess, sys, time
from prunebench.servers.parent_watch import PARENT_VARIABLE
theirs, ours = os.pipe()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0, stdout=subprocess.PIPE, pass_fds=[theirs],
                         env={**os.environ, PARENT_VARIABLE: str(theirs)})
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("child", [DEAF, DEAF.replace("signal.SIG_IGN", "signal.SIG_DFL")], ids=["deaf", "listening"])
def test_a_child_is_gone_soon_after_its_parent_was_killed(child):
    with subprocess.Popen([sys.executable, "-c", STARTER, child], stdout=subprocess.PIPE, text=True) as starter:
        server = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    _, alive = psutil.wait_procs([server], timeout=20)
    assert not alive
