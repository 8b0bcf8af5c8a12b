"""A day of the stages that its third argument has as JSON: OUTPUT SECONDS STAGES."""

import json
import os
import sys
from pathlib import Path

from benchmarks.gpu_day.day import Day, Stage


def main() -> None:
    output, seconds = Path(sys.argv[1]), float(sys.argv[2])
    stages = [Stage(**{**one, "command": tuple(one["command"])}) for one in json.loads(sys.argv[3])]
    day = Day(output, output / "work", seconds, {"name": "small"})
    day.plan(stages)
    raise SystemExit(0 if day.run(stages, os.environ) else 1)


if __name__ == "__main__":
    main()
