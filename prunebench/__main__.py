"""`python -m prunebench`: the command line, without the installed script."""

import os
import sys


def leave_working_folder() -> None:
    """Take off the path the working folder, which `-m` has put first: a `server.py` there is not ours.

    It stays if our packages are found nowhere else: in a clone that is neither installed nor on PYTHONPATH.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is not imported yet
    if not sys.flags.safe_path and (sys.path[0] != home or home in sys.path[1:]):
        del sys.path[0]


if __name__ == "__main__":
    leave_working_folder()
    from prunebench.cli import main

    main()
