"""The same figures for other tools: tables, vLLM's and guidellm's JSON, and metric stores."""
