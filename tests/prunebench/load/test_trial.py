"""`prunebench load` starts quickly."""

import subprocess
import sys


def test_loading_starts_without_scipy_whose_import_takes_a_second():
    script = "import sys, prunebench.commands.load; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
