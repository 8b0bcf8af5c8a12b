"""Servers whose truth is known: by requests, by tokens, and one that batches continuously."""
