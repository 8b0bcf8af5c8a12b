"""Speed and memory of `prunebench prune` beside `cp` and optipfair, on a checkpoint shaped like Llama-3.2-1B.

    python benchmarks/pruner.py --folder /big/disk --output pruner.json      the real size: about 30 GB of scratch space
    python benchmarks/pruner.py --scale 0.1                                  a rehearsal with a tenth of layers and vocabulary
    python benchmarks/pruner.py --double                                     also a checkpoint twice as large, for its memory

The command and `cp` of what it wrote take turns, --repeats times; the ratios are of medians.

Weights are seeded Gaussian noise in bfloat16. What is measured runs in a process of its own; its peak memory is the kernel's
VmHWM. Every time ends with a sync of the disk, `cp` included. The files have just been written and mostly sit in the page
cache, for all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, WIDTH, LAYERS, VOCABULARY = 2048, 8192, 16, 128_256
PERCENTAGES = (10, 20, 30, 40, 50, 60)
SIX, DOUBLE = "prunebench, six widths in one command", "prunebench, six widths, twice the model"
COPY, PEER = "cp of those files", "optipfair"
_TAIL = """
import json, re, resource
usage = resource.getrusage(resource.RUSAGE_SELF)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": peak}))
"""
_OURS = """
import sys
from prunebench.cli import main
targets = [word for p in sys.argv[3:] for word in ("--pruning-percentage", p)]
sys.argv[1:] = ["prune", sys.argv[1], "--output", sys.argv[2], *targets, "--tie-break", "torch", "--json"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
_OPTIPFAIR = """
import sys, torch
from transformers import AutoModelForCausalLM
from optipfair import prune_model
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto")
model = prune_model(model, neuron_selection_method="MAW", pruning_percentage=float(sys.argv[3]), show_progress=False)
model.save_pretrained(sys.argv[2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="scratch space, a temporary folder unless given")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--scale", type=float, default=1.0, help="share of layers and vocabulary; 1 is the real size")
    parser.add_argument("--repeats", type=int, default=3, help="turns of prunebench and cp")
    parser.add_argument(
        "--double", action="store_true", help="also prune a checkpoint of twice the layers and vocabulary"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="prunebench-benchmark-") as scratch:
        figures = measure(Path(scratch), options.scale, options.repeats, double=options.double)
    print(table(figures))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


def measure(scratch: Path, scale: float, repeats: int, *, double: bool) -> dict[str, Any]:
    source, ours, theirs, copy = (scratch / name for name in ("source", "ours", "optipfair", "copy"))
    write_llama(source, scale)
    rows = []
    for _ in range(repeats):
        shutil.rmtree(ours, ignore_errors=True)
        rows.append(timed(SIX, _OURS, source, ours, *PERCENTAGES) | {"bytes": size_of(ours)})
        rows.append(timed_copy(ours, copy) | {"bytes": size_of(ours)})
    identical = []
    for percentage, folder in zip(PERCENTAGES, sorted(ours.iterdir(), key=lambda f: -width_of(f)), strict=True):
        run = timed(f"{PEER}, {percentage} %", _OPTIPFAIR, source, theirs, percentage)
        rows.append(run | {"bytes": size_of(theirs)})
        identical.append(same_tensors(theirs, folder))
        shutil.rmtree(theirs)
    shutil.rmtree(ours)
    if double:
        write_llama(scratch / "double", 2 * scale)
        rows.append(timed(DOUBLE, _OURS, scratch / "double", ours, *PERCENTAGES))
        rows[-1]["bytes"] = size_of(ours)
    return {
        "command": " ".join(["python", "benchmarks/pruner.py", f"--scale {scale:g}", f"--repeats {repeats}"])
        + (" --double" if double else ""),
        "machine": machine(),
        "scale": scale,
        "source_bytes": size_of(source),
        "identical_to_optipfair": identical,
        "ratios": ratios(rows),
        "rows": rows,
    }


def machine() -> dict[str, Any]:
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "optipfair", "torch", "transformers")},
    }


def median(rows: list[dict[str, Any]], what: str, key: str) -> float:
    return statistics.median(row[key] for row in rows if row["what"] == what)


def ratios(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    ours = median(rows, SIX, "wall_s")
    double = any(row["what"] == DOUBLE for row in rows)
    return {
        "prunebench_over_cp": ours / median(rows, COPY, "wall_s"),
        "six_optipfair_over_prunebench": sum(r["wall_s"] for r in rows if r["what"].startswith(PEER)) / ours,
        "peak_of_double_over_peak": median(rows, DOUBLE, "peak_bytes") / median(rows, SIX, "peak_bytes")
        if double
        else None,
    }


def timed(what: str, code: str, *arguments: object) -> dict[str, Any]:
    """Run code in a process of its own, with the repository's root and not this folder on its path."""
    subprocess.run(["sync"], check=True)  # what was written before is not to be paid for here
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code + _TAIL, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    subprocess.run(["sync", "-f", str(arguments[1])], check=True)
    return {"what": what, "wall_s": time.monotonic() - started, **json.loads(done.stdout.splitlines()[-1])}


def timed_copy(source: Path, target: Path) -> dict[str, Any]:
    subprocess.run(["sync"], check=True)
    started = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)
    wall = time.monotonic() - started
    shutil.rmtree(target)
    return {"what": COPY, "wall_s": wall, "cpu_s": None, "peak_bytes": None}


def write_llama(folder: Path, scale: float, layers: int | None = None) -> None:
    """A checkpoint of one file with tied embeddings, tensor by tensor."""
    layers, vocabulary = layers or max(1, round(LAYERS * scale)), max(64, round(VOCABULARY * scale))
    shapes = dict(llama_shapes(layers, vocabulary))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end := end + 2 * int(np.prod(shape))]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    rng = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for shape in shapes.values():
            for rows in np.array_split(np.arange(shape[0]), max(1, shape[0] // 4096)):
                values = rng.standard_normal((len(rows), *shape[1:]), dtype=np.float32) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def llama_shapes(layers: int, vocabulary: int) -> Iterator[tuple[str, list[int]]]:
    yield "model.embed_tokens.weight", [vocabulary, HIDDEN]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for part, rows, columns in (
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN // 4, HIDDEN),
            ("self_attn.v_proj", HIDDEN // 4, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", WIDTH, HIDDEN),
            ("mlp.up_proj", WIDTH, HIDDEN),
            ("mlp.down_proj", HIDDEN, WIDTH),
        ):
            yield f"{prefix}.{part}.weight", [rows, columns]
        yield f"{prefix}.input_layernorm.weight", [HIDDEN]
        yield f"{prefix}.post_attention_layernorm.weight", [HIDDEN]
    yield "model.norm.weight", [HIDDEN]


def same_tensors(theirs: Path, ours: Path) -> bool:
    """Whether both folders hold the same tensors, bit for bit, wherever each lies in its file."""
    one, other = stored(theirs), stored(ours)
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def stored(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    tensors = {}
    for path in folder.glob("*.safetensors"):
        data = np.memmap(path, dtype=np.uint8, mode="r")
        length = int.from_bytes(data[:8].tobytes(), "little")
        for name, entry in json.loads(data[8 : 8 + length].tobytes()).items():
            if name != "__metadata__":
                first, stop = entry["data_offsets"]
                tensors[name] = data[8 + length + first : 8 + length + stop]
    return tensors


def width_of(folder: Path) -> int:
    width: int = json.loads((folder / "config.json").read_text())["intermediate_size"]
    return width


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(figures: dict[str, Any]) -> str:
    size, machine = figures["source_bytes"] / 1e9, figures["machine"]
    lines = [f"source {size:.2f} GB, scale {figures['scale']:g}, {machine['cores']} cores of {machine['processor']}"]
    lines.append(f"{'':44}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'GB':>7}{'GB/s':>7}")
    for row in figures["rows"]:
        cpu = "-" if row["cpu_s"] is None else f"{row['cpu_s']:.1f}"
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.0f}"
        rate = row["bytes"] / 1e9 / row["wall_s"]
        lines.append(f"{row['what']:44}{row['wall_s']:8.1f}{cpu:>8}{peak:>9}{row['bytes'] / 1e9:7.2f}{rate:7.2f}")
    lines += [
        f"{name}: {'not measured' if ratio is None else f'{ratio:.2f}'}" for name, ratio in figures["ratios"].items()
    ]
    same = figures["identical_to_optipfair"]
    lines.append(f"bit-identical to optipfair: {sum(same)} of {len(same)} widths")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
