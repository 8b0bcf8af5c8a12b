"""For every room's tests."""

import gc
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import hypothesis
import pytest

from tests.support.environment import begin_test

hypothesis.settings.register_profile("no test asserts a time", deadline=None)
hypothesis.settings.load_profile("no test asserts a time")

# A test run in the background of a script inherits an ignored SIGINT, and hands it on to the programs whose Ctrl-C it tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collecting imports every library there is: what lives on is not searched for garbage, neither meanwhile nor afterwards."""
    collects = (
        session.config.getoption("dist", "no") == "no"
    )  # pytest-xdist's workers do, the process that started them does not
    if collects and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        _import_transformers()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_transformers() -> None:
    """As our engine does it, which takes half of the time; what quantizes is found by whoever has it."""
    from server.engines.transformers.lean_import import lean_transformers

    with lean_transformers(quantizing=any(map(find_spec, ("torchao", "bitsandbytes")))):
        pass


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `--dist loadfile` the tests of vLLM are as one file, since they share the process that imports it; all but the demo's."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/vllm" if file.startswith("tests/vllm/") and not file.endswith("test_demo.py") else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # frozen objects are never destroyed, and some libraries warn about that when Python exits


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start a vLLM first, then those with other slow tests, so that no long one is begun at the end."""
    marked = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ("vllm", "slow")}
    items.sort(key=lambda item: [item.path not in files for files in marked.values()])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    begin_test()
