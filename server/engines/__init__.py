"""The engines behind one protocol over token ids: vllm, transformers and synthetic."""
