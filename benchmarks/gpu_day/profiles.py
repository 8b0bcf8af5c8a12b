"""What the stages do on a GPU, and what they do in a rehearsal on a CPU: the same, smaller."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """Of a Llama."""

    hidden: int
    width: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int


@dataclass(frozen=True)
class Profile:
    """Sizes of models and loads. Times are in seconds."""

    name: str
    shape: Shape
    widths: tuple[int, ...]  # beside the model's own; one is odd
    device: str  # of the transformers engine
    dtype: str
    batch: int
    window_s: float  # of one measured load
    cell_s: float  # with all that is around it, about
    start_s: float  # until all servers of a run have started, about
    idle_s: float
    prompt_tokens: int
    output_tokens: int
    streams: tuple[int, ...]  # of the server beside the engine
    most_repeats: int  # of that comparison
    most_blocks: int  # of a run
    phases_s: float  # of the known load, at most
    matrix: int  # its rows and columns
    calibration_tokens: int

    @property
    def is_rehearsal(self) -> bool:
        """Whether this is a CPU with a stand-in for NVML."""
        return self.device == "cpu"


GPU = Profile(
    name="gpu",
    shape=Shape(2048, 8192, 16, 32, 8, 64, 128_256),  # Llama-3.2-1B's
    widths=(5760, 5735, 3328),  # 5735 is the study's; 5760 is its nearest multiple of 128
    device="cuda",
    dtype="bfloat16",
    batch=32,
    window_s=3.0,
    cell_s=4.5,
    start_s=90.0,
    idle_s=2.0,
    prompt_tokens=128,
    output_tokens=64,
    streams=(1, 32, 256),
    most_repeats=10,
    most_blocks=8,
    phases_s=60.0,
    matrix=8192,
    calibration_tokens=16_384,
)
REHEARSAL = Profile(
    name="rehearsal",
    shape=Shape(128, 512, 2, 4, 2, 32, 4096),
    widths=(384, 321, 256),
    device="cpu",
    dtype="float32",
    batch=4,
    window_s=0.5,
    cell_s=2.0,
    start_s=40.0,
    idle_s=0.5,
    prompt_tokens=16,
    output_tokens=8,
    streams=(1, 8),
    most_repeats=2,
    most_blocks=2,
    phases_s=7.5,
    matrix=128,
    calibration_tokens=2048,
)
PROFILES = {profile.name: profile for profile in (GPU, REHEARSAL)}


def stage_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every stage has: `work`, `profile` and `seconds`, its budget."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the day's results")
    parser.add_argument("--profile", type=PROFILES.__getitem__, required=True, metavar="gpu|rehearsal")
    parser.add_argument("--seconds", type=float, required=True, help="time that this stage has")
    return parser


def own_folder(work: Path, letter: str) -> Path:
    """The stage's folder of results."""
    folder = work / letter
    folder.mkdir(parents=True, exist_ok=True)
    return folder
