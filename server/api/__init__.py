"""The HTTP endpoints: what each takes, answers and refuses."""
