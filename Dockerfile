# prunebench for a CPU (target cpu, the default of docker-compose.yml) and on vLLM's own GPU image (target gpu).
#
# Wheels in wheelhouse/ (`make wheelhouse`) are all that is installed if there are any: the build then needs no network and
# no CUDA package can slip in. Without them pip asks its usual index, within the versions of requirements/lock.txt.

ARG BASE=docker.io/library/python:3.11-slim
ARG GPU_BASE=docker.io/vllm/vllm-openai:v0.24.0

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/prunebench
COPY wheelhouse/ /wheelhouse/
COPY requirements/lock.txt requirements/
COPY pyproject.toml README.md LICENSE ./
ARG EXTRAS=transformers,quality
# First what is seldom changed; the rooms come after it, so that a change to them does not install torch again.
RUN set -eu; \
    python -c "import sys, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [one for extra in sys.argv[1].split(',') for one in project['optional-dependencies'][extra]]; \
print(*project['dependencies'], *extras, 'hatchling==1.27.0', sep='\n')" "${EXTRAS}" > wanted.txt; \
    if ls /wheelhouse/*.whl >/dev/null 2>&1; then set -- --no-index --find-links /wheelhouse; else set --; fi; \
    /opt/prunebench/bin/pip install --quiet "$@" --constraint requirements/lock.txt --requirement wanted.txt; \
    /opt/prunebench/bin/python -c "import torch"
COPY prunebench/ prunebench/
COPY reports/ reports/
COPY pruner/ pruner/
COPY server/ server/
COPY loadgen/ loadgen/
COPY energy/ energy/
RUN set -eu; \
    /opt/prunebench/bin/pip install --quiet --no-index --no-deps --no-build-isolation .; \
    /opt/prunebench/bin/pip uninstall --quiet --yes hatchling pip; \
    find /opt/prunebench -name __pycache__ -prune -exec rm -rf {} +

FROM ${BASE} AS cpu
COPY --from=build /opt/prunebench /opt/prunebench
WORKDIR /app
COPY experiments/ experiments/
COPY examples/tinyglu/ examples/tinyglu/
ENV PATH=/opt/prunebench/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp HF_HOME=/cache/huggingface
USER 1000:1000
ENTRYPOINT ["prunebench"]

FROM ${GPU_BASE} AS gpu
WORKDIR /src
COPY requirements/ requirements/
COPY pyproject.toml README.md LICENSE ./
COPY prunebench/ prunebench/
COPY reports/ reports/
COPY pruner/ pruner/
COPY server/ server/
COPY loadgen/ loadgen/
COPY energy/ energy/
# vLLM, torch and transformers are the image's own; only what is missing beside them is added.
RUN pip install --no-cache-dir ".[quality]"
WORKDIR /app
COPY experiments/ experiments/
COPY examples/tinyglu/ examples/tinyglu/
ENV PYTHONUNBUFFERED=1 HOME=/tmp HF_HOME=/cache/huggingface
USER 1000:1000
ENTRYPOINT ["prunebench"]
