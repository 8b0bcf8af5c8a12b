"""What a task of GSM8K's answers counts; `tasks.write_tasks` puts this file beside the task, where lm-eval imports it from."""

from collections.abc import Mapping, Sequence


def per_byte(doc: Mapping[str, str], results: Sequence[tuple[float, bool]]) -> dict[str, tuple[float, int]]:
    """The answer's log-likelihood after its question, with its bytes. lm-eval's own `perplexity` is by answer, however long it is."""
    ((log_likelihood, _),) = results
    of_bytes = (log_likelihood, len(f" {doc['answer']}".encode()))
    return {"byte_perplexity": of_bytes, "bits_per_byte": of_bytes}
