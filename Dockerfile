# prunebench for a CPU (target cpu, the default of docker-compose.yml) and on vLLM's own GPU image (target gpu).
#
# Wheels in wheelhouse/ (`make wheelhouse`) are all that is installed if there are any: the build then needs no network and
# no CUDA package can slip in. Without them pip asks its usual index, within the versions of requirements/lock.txt.

ARG BASE=docker.io/library/python:3.11-slim
ARG GPU_BASE=docker.io/vllm/vllm-openai:v0.24.0

# What both images are made of.
FROM scratch AS source
COPY pyproject.toml README.md LICENSE ./
COPY prunebench/ prunebench/
COPY reports/ reports/
COPY pruner/ pruner/
COPY server/ server/
COPY loadgen/ loadgen/
COPY energy/ energy/
COPY base/ base/

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/prunebench
COPY wheelhouse/ /wheelhouse/
COPY requirements/lock.txt requirements/
COPY pyproject.toml README.md LICENSE ./
ARG EXTRAS=report,transformers,quality,locust
RUN set -eu; \
    python -c "import sys, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [one for extra in sys.argv[1].split(',') for one in project['optional-dependencies'][extra]]; \
print(*project['dependencies'], *extras, 'hatchling==1.27.0', sep='\n')" "${EXTRAS}" > wanted.txt; \
    if ls /wheelhouse/*.whl >/dev/null 2>&1; then set -- --no-index --find-links /wheelhouse; else set --; fi; \
    /opt/prunebench/bin/pip install --quiet --no-compile "$@" --constraint requirements/lock.txt --requirement wanted.txt

# Without what tests, compiles and installs packages; with the bytecode of what every start imports, since the image is read-only.
FROM build AS packages
RUN set -eu; \
    /opt/prunebench/bin/pip uninstall --quiet --yes hatchling pip; \
    cd /opt/prunebench/lib/python3.11/site-packages; \
    find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +; \
    rm -rf torch/test torch/include pyarrow/include; \
    find torch/bin -type f ! -name torch_shm_manager -delete; \
    /opt/prunebench/bin/python -c "import locust.main, gevent.event"; \
    /opt/prunebench/bin/python -c "import fastapi, httpx, lm_eval.evaluator, matplotlib.figure, duckdb, nanoarrow.ipc, rich.progress, \
torch, transformers.models.llama.modeling_llama, typer, uvicorn"

# The rooms apart, so that a change to them changes a megabyte of the image.
FROM build AS rooms
COPY --from=source / ./
RUN /opt/prunebench/bin/pip install --quiet --no-index --no-deps --no-build-isolation --prefix /opt/rooms .

FROM ${BASE} AS cpu
COPY --from=packages /opt/prunebench /opt/prunebench
COPY --from=rooms /opt/rooms /opt/prunebench
WORKDIR /app
COPY experiments/ experiments/
COPY examples/tinyglu/ examples/tinyglu/
ENV PATH=/opt/prunebench/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp HF_HOME=/cache/huggingface
USER 1000:1000
ENTRYPOINT ["prunebench"]

FROM ${GPU_BASE} AS gpu
WORKDIR /src
COPY requirements/ requirements/
COPY --from=source / ./
# vLLM, torch and transformers stay as they are in the image: what does not go with them is an error of the build.
RUN pip list --format=freeze | grep -iE '^(vllm|torch|transformers)==' > kept.txt && pip install --no-cache-dir --constraint kept.txt ".[report,quality,locust]"
WORKDIR /app
COPY experiments/ experiments/
COPY examples/tinyglu/ examples/tinyglu/
# torch asks for the name of its user, who has none here.
ENV PYTHONUNBUFFERED=1 HOME=/tmp LOGNAME=prunebench HF_HOME=/cache/huggingface
USER 1000:1000
ENTRYPOINT ["prunebench"]
