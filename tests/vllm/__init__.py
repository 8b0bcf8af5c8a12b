"""What starts or imports a whole vLLM: slow, so in one place."""
