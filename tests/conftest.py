"""For every room's tests."""

import signal

# A test run in the background of a script inherits an ignored SIGINT, and hands it on to the programs whose Ctrl-C it tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
