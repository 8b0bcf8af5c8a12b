"""What stands above the sections of a run."""

from __future__ import annotations

import json

from reports.analysis.analyse import analyse_folder
from reports.sections.contents import run_article
from tests.reports.example_run import SINGLE, Example, write_run


def test_the_engines_named_are_those_that_started(tmp_path):
    run = write_run(tmp_path / "run", Example(workloads=(SINGLE,)))
    versions = ["5.1", "5.1", "5.2", None, None]
    for file, version in zip(sorted(run.glob("configurations/*.json")), versions, strict=True):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"engine_version": version}))
    subtitle = run_article(analyse_folder(run), "run-1").subtitle
    assert " · transformers 5.1, transformers 5.2 · " in subtitle
