#!/bin/sh
# A day on a GPU in one command: deployment/gpu-day/run.sh --minutes N --output DIR [--rehearse] [--stages a,b] [--may-set-power]
# docs/how-to/gpu-day.md says what it gives. PYTHON is the Python to use; one with torch for the GPU.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
if [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; else python=python3; fi
PYTHONPATH=$root PYTHONUNBUFFERED=1 exec "${PYTHON:-$python}" -P -m benchmarks.gpu_day "$@"
