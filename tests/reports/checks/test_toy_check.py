"""A check of one's own is one decorated function: toy_check.py, which nothing in the product names."""

from __future__ import annotations

import importlib

import pytest

from reports.analysis.analyse import analyse_folder
from reports.checks.page import render_page
from reports.checks.rules import RULES, trial_rule
from tests.loadgen.made import flags_of
from tests.reports.checks.test_trial import requests, trial_of
from tests.reports.example_run import SINGLE, Example, write_run


@pytest.fixture(autouse=True, scope="module")
def _registered():
    importlib.import_module("tests.reports.checks.toy_check")
    yield
    del RULES["odd-requests"]


def test_it_is_in_a_runs_findings(tmp_path):
    odd = SINGLE.model_copy(update={"requests": 3})
    run = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(odd,), blocks=2))
    check = next(c for c in analyse_folder(run).checks if c.check == "odd-requests")
    assert (check.outcome, check.remedy) == ("warn", "Raise the workload's requests by one.")
    assert [(seen.label, seen.trials, seen.reason) for seen in check.observations] == [
        ("width-1024", 2, "3 requests"),
        ("width-512", 2, "3 requests"),
    ]


def test_it_is_among_a_trials_flags():
    odd = requests(39)
    assert ("odd-requests", "warn") in [(flag.check, flag.outcome) for flag in flags_of(trial_of(odd), odd)]


def test_the_page_ends_with_it():
    section = """
## odd-requests

An odd number of requests cannot be split into halves.

*Limits:* Warns if the number of requests is odd.

*A failure withholds:* the configuration from advice that is judged by latency.

*What to do:* Raise the workload's requests by one.
"""
    assert render_page().endswith(section)


def test_two_checks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two checks are called odd-requests"):
        trial_rule()(RULES["odd-requests"].of_trial)


def test_a_check_without_a_remedy_is_refused():
    def even_requests(_trial, _metrics):
        """An even number of requests.

        Limits: Warns if the number of requests is even.
        """

    with pytest.raises(ValueError, match=r"the docstring of even_requests needs its meaning, .* and 'Remedy: ...'"):
        trial_rule()(even_requests)
