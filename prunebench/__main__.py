"""`python -m prunebench`: the command line, without the installed script."""

from prunebench.cli import main

if __name__ == "__main__":
    main()
