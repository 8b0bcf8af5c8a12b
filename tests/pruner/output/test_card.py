"""README.md of a pruned checkpoint."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruner.output.card import FRONT_MATTER, parse_front_matter
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny
from tests.pruner.scoring.test_scoring import Norms

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE_CARD = """---
license: other
license_name: llama3.2
license_link: https://example.com/LICENSE
language:
- en
- de
base_model: someone/else
extra_gated_prompt: >-
  license: this line belongs to the prompt
  and so does this one
widget:
  - license: not this one either
pipeline_tag: text-generation
---
# The unpruned model
"""


@pytest.fixture
def snapshot(llama: Path) -> Path:
    """The tiny Llama as the hub's cache would hold it, with a card."""
    folder = llama.parent / "models--some-org--Tiny-1B" / "snapshots" / COMMIT
    folder.parent.mkdir(parents=True)
    llama.rename(folder)
    (folder / "README.md").write_text(SOURCE_CARD)
    return folder


def card_of(source: Path, out: Path, **how: object) -> ModelCard:
    (one,) = prune(source, out, [Target("width", 17)], **how)
    return ModelCard((one.folder / "README.md").read_text())


def test_the_hub_reads_base_model_licence_and_tags_from_it(snapshot: Path, tmp_path: Path) -> None:
    data = card_of(snapshot, tmp_path / "out").data.to_dict()
    assert data == {
        "license": "other",
        "license_name": "llama3.2",
        "license_link": "https://example.com/LICENSE",
        "language": ["en", "de"],
        "pipeline_tag": "text-generation",
        "base_model": "some-org/Tiny-1B",
        "tags": ["pruning", "width-pruning", "prunebench"],
    }


def test_it_describes_the_prune_and_links_the_source(snapshot: Path, tmp_path: Path) -> None:
    text = card_of(snapshot, tmp_path / "out", criterion="vow").text
    assert "# Tiny-1B, pruned to width-17" in text
    assert f"[some-org/Tiny-1B](https://huggingface.co/some-org/Tiny-1B) at revision {COMMIT}" in text
    assert "| `intermediate_size` | 40 | 17 | 57.5 % | 1.062 |" in text
    assert "var(gate) + var(up)" in text
    assert "arXiv" in text
    assert "2512.22671" in text
    assert "2306.11695" not in text
    assert "unpruned model" not in text


def test_the_source_keeps_its_card_and_the_manifest_knows_both(snapshot: Path, tmp_path: Path) -> None:
    (one,) = prune(snapshot, tmp_path / "out", [Target("width", 17)])
    assert (snapshot / "README.md").read_text() == SOURCE_CARD
    digests = [
        {record.name: record.sha256 for record in records}["README.md"]
        for records in (one.manifest.source_files, one.manifest.output_files)
    ]
    assert digests == [
        hashlib.sha256((folder / "README.md").read_bytes()).hexdigest() for folder in (snapshot, one.folder)
    ]


def test_the_command_in_it_gives_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    how = {"criterion": "random", "seed": 7, "multiple_of": 8}
    (first,) = prune(llama, tmp_path / "first", [Target("percentage", 50)], **how)
    card = (first.folder / "README.md").read_text()
    (command,) = (line.strip() for line in card.splitlines() if line.strip().startswith("prunebench prune "))
    words = [*command.replace("--output DIR", "--output again").split()[1:]]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(
        [sys.executable, "-m", "prunebench", *words], cwd=llama.parent, check=True, capture_output=True, env=environment
    )
    for path in first.folder.iterdir():
        assert (llama.parent / "again/width-24" / path.name).read_bytes() == path.read_bytes()


def test_a_source_without_a_card_gives_one_without_a_licence(llama: Path, tmp_path: Path) -> None:
    card = card_of(llama, tmp_path / "out")
    assert card.data.to_dict() == {"tags": ["pruning", "width-pruning", "prunebench"]}
    assert "`source` with narrower MLPs" in card.text


@pytest.mark.parametrize(
    ("content", "licence"),
    [
        (b"# No front matter\nlicense: mit\n", None),
        (b"---\nlicense: mit\n", None),  # never closed
        (b"---\r\nlicense: mit\r\n---\r\n", "mit"),
        (b"---\nlicense: mit\n---", "mit"),
        (b"---\nlicense:\n- mit\n- apache-2.0\n---\n", ["mit", "apache-2.0"]),
        (b"---\nlicense_name: \xff\n---\n", None),
        (b"\n\n---\nlicense: mit\n---\n# x\n", "mit"),  # blank lines first, as the hub allows
        (b"\xef\xbb\xbf---\nlicense: mit\n---\n# x\n", "mit"),  # a byte order mark
        (b"---\nlicense: mit\n...\n# x\n", "mit"),  # YAML's other end
        (b'---\n"license": mit\n---\n', "mit"),
        (b"---\n? license\n: mit\n---\n", "mit"),
        (b"---\n{license: mit, language: en}\n---\n", "mit"),
        (b"---\nbroken: [1, 2\nlicense: mit\nlanguage:\n- en\n---\n", "mit"),  # a key beside it that is no YAML
        (b"---\nlicense: !!python/object/apply:os.system [true]\n---\n", ["true"]),  # text, whatever it asks for
        (b"", None),
    ],
)
def test_a_licence_is_taken_as_it_stands_or_not_at_all(content: bytes, licence, llama: Path, tmp_path: Path) -> None:
    (llama / "README.md").write_bytes(content)
    (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    front = (one.folder / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front).get("license") == licence


def test_every_width_of_a_mixture_of_experts_is_listed(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("qwen2-moe", tmp_path / "source")
    (one,) = prune(source, tmp_path / "out", [Target("percentage", 50)])
    card = (one.folder / "README.md").read_text()
    assert "| `moe_intermediate_size` | 24 | 12 | 50.0 % | 0.75 |" in card
    assert "| `shared_expert_intermediate_size` | 48 | 24 | 50.0 % | 1.5 |" in card


def test_a_calibration_text_and_what_to_cite_for_it_are_named(llama: Path, tmp_path: Path) -> None:
    text = card_of(llama, tmp_path / "out", criterion="act", calibration=Norms(1.0)).text
    assert "- Calibration text: text.txt, 9 tokens, sha256 0000" in text
    assert "- Perplexity on 8 tokens held out of that text: 10.00 → 12.00." in text
    assert "--criterion act --calibration text.txt" in text
    assert "2306.11695" in text


def test_norwegian_stays_a_language(llama: Path, tmp_path: Path) -> None:
    (llama / "README.md").write_text("---\nlanguage: no\nlicense: no\n---\n")
    assert card_of(llama, tmp_path / "out").data.to_dict()["language"] == "no"


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine, not of these small dictionaries
@given(
    st.dictionaries(
        st.sampled_from(["license", "language", "license_name", "widget", "x"]), st.text() | st.lists(st.text())
    )
)
def test_the_licence_of_a_card_survives_any_yaml(values) -> None:
    text = "---\n" + yaml.safe_dump(values, width=20) + "---\n# Title\n"
    match = FRONT_MATTER.match(text)
    assert match is not None
    assert parse_front_matter(match[1]) == values
