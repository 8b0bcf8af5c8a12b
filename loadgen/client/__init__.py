"""The client process: sockets, kernel receive stamps, polling, timers, and the order of requests."""
