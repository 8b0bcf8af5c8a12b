"""The HTTP bodies: how a request is written and how a streamed, whole or list answer is read."""
