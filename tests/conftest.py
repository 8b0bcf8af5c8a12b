"""For every room's tests."""

import signal

import hypothesis
import pytest

from tests.environment import begin_test

hypothesis.settings.register_profile("no test asserts a time", deadline=None)
hypothesis.settings.load_profile("no test asserts a time")

# A test run in the background of a script inherits an ignored SIGINT, and hands it on to the programs whose Ctrl-C it tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start a vLLM first, then those with other slow tests, so that no long one is begun at the end."""
    marked = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ("vllm", "slow")}
    items.sort(key=lambda item: [item.path not in files for files in marked.values()])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    begin_test()
