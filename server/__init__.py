"""A checkpoint becomes OpenAI-compatible HTTP, through one of three engines."""
