"""Quality tasks through lm-eval, and perplexity through the endpoint."""
