"""Stage f: a calibrated prune of the random Llama with a refit, as a user would do it, metered by `prunebench energy run`.

`f/prune.json` is what the command printed, `f/joules.json` its time and joules.
"""

from __future__ import annotations

import random
import subprocess
import sys

from benchmarks.gpu_day.archive import SCRATCH
from benchmarks.gpu_day.measuring.checkpoint import random_llama, word
from benchmarks.gpu_day.profiles import own_folder, stage_parser

_HELD_OUT = 512  # tokens at the end of the text, which the refit is not done on


def main() -> None:
    """Exit with the command's status."""
    options = stage_parser(__doc__).parse_args()
    folder, profile = own_folder(options.work, "f"), options.profile
    source = random_llama(options.work, profile.shape)
    text = options.work / SCRATCH / "text.txt"
    count = profile.calibration_tokens + _HELD_OUT
    draw = random.Random(0)
    text.write_text(" ".join(word(draw.randrange(profile.shape.vocabulary)) for _ in range(count)))
    command = [sys.executable, "-P", "-m", "prunebench"]
    prune = [*command, "prune", f"{source}", "--output", f"{options.work / SCRATCH / 'calibrated'}", "--json"]
    prune += ["--criterion", "act", "--calibration", f"{text}", "--refit", "--one-shot"]
    prune += [word for width in profile.widths[1:] for word in ("--intermediate-size", f"{width}")]
    meter = [*command, "energy", "run", "--idle", f"{profile.idle_s}", "--output", f"{folder / 'joules.json'}", "--"]
    with (folder / "prune.json").open("wb") as output:
        raise SystemExit(subprocess.run([*meter, *prune], stdout=output, check=False).returncode)


if __name__ == "__main__":
    main()
