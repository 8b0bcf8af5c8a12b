"""The HTTP endpoints: completions, chat, tokenizing, metrics, access, errors and the protocol's models."""
