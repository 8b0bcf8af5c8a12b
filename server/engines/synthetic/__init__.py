"""An engine without a model: known times, known tokens, known joules."""
