#!/usr/bin/env bash
# `make test-gpu-lock`: requirements/gpu.txt on a machine without a GPU, and the tests that need none with it. All but
# flash-attn, which is compiled for a GPU, goes into .venv-gpu-lock (10 GB); .venv, whose uv installs it, stays as it is.
# Arguments go to pytest: bash requirements/test_gpu_lock.sh -n 1 tests/config
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ENVIRONMENT=.venv-gpu-lock
PINS=.setup/without-flash-attn.txt
UV=.venv/bin/uv
# What pip is told, uv is: it reads no pip configuration.
index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
[[ -z $index || -n ${UV_DEFAULT_INDEX:-} ]] || export UV_DEFAULT_INDEX=$index

awk '/^[a-z0-9]/ { keep = index($0, "flash-attn==") != 1 } keep' requirements/gpu.txt >"$PINS"
# Of an interrupted installation nobody knows what is whole.
[[ -e $ENVIRONMENT/complete ]] || rm -rf "$ENVIRONMENT"
[[ -e $ENVIRONMENT ]] || "$UV" venv --quiet --seed --python .venv/bin/python "$ENVIRONMENT"
rm -f "$ENVIRONMENT/complete"
"$UV" pip sync --quiet --python "$ENVIRONMENT/bin/python" --require-hashes "$PINS"
"$UV" pip install --quiet --python "$ENVIRONMENT/bin/python" --no-deps --no-build-isolation -e .
touch "$ENVIRONMENT/complete"

# e2e starts vLLM, which has no CPU in this build; packaging is about .venv.
exec "$ENVIRONMENT/bin/python" -m pytest -q -m "not e2e" --ignore tests/e2e --ignore tests/packaging --durations 15 "$@"
