#!/usr/bin/env bash
# Sets up what is missing and trains. Hydra overrides pass straight through:
#   bash launch/run_vaopd.sh hardware=a100x8 student=2b teacher=32b dataset=virl39k vaopd.high_frac=0.3
# Every setting has its home in verl_vaopd/config and recipes/, none here.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/launch/setup.sh"
# exec: a signal to this script is a signal to the trainer.
exec "$ROOT/.venv/bin/vaopd" train "$@"
