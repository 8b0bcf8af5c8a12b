"""Token ids to text and back: tokenizer, chat template, stop strings."""
