#!/usr/bin/env bash
# Trains on a Ray cluster that is already running, as a Ray job. Hydra overrides pass straight through:
#   RAY_ADDRESS=http://<head node>:8265 bash launch/ray_job.sh run.root=/shared/runs hardware=a100x8 student=2b
#
# This clone is uploaded as the job's working directory, so every node runs this code. The packages are the cluster's:
# start its nodes from an environment that launch/setup.sh has made (or launch/Dockerfile.gpu), as verl and vLLM find this
# package by its installed entry points. Ray removes the working directory after the job: runs go to storage that every
# node sees, and so must models and data that are given as paths.
#   VAOPD_CLUSTER_PYTHON    python of the cluster's environment; `python` unless set
#   RAY_AUTH_MODE=token, RAY_AUTH_TOKEN    Ray's own, for a cluster that asks for a token
# Proxies, HF_* and WANDB_* go with the job, but for those that hold a secret (docs/cluster.md).
#
# Tried on a cluster of two nodes without GPUs (`make test-cluster`).
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

usage_error() {
    printf 'ray_job.sh: %s\n' "$*" >&2
    exit 2
}

[[ -n ${RAY_ADDRESS:-} ]] || usage_error "RAY_ADDRESS is not set; expected the address of the cluster's dashboard," \
    "http://<head node>:8265. Without a cluster: bash launch/run_vaopd.sh"
[[ " $*" == *" run.root=/"* || " $*" == *" run.dir=/"* ]] || usage_error "no place for the run; expected run.root= with" \
    "an absolute path on storage that every node sees, as in run.root=/shared/runs"

bash "$ROOT/launch/setup.sh"
runtime_env=$("$ROOT/.venv/bin/python" -m verl_vaopd.platform.job_environment)
# What .gitignore lists is not uploaded in any case.
exec "$ROOT/.venv/bin/ray" job submit --address "$RAY_ADDRESS" --working-dir "$ROOT" --runtime-env-json "$runtime_env" \
    -- "${VAOPD_CLUSTER_PYTHON:-python}" -m verl_vaopd.cli train "$@"
