"""Joules of the load's window, from this host's meters or from another machine's over HTTP."""
