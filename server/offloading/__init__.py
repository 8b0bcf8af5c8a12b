"""Work that grows with a request, kept off the event loop: threads, and JSON read and written in slices."""
