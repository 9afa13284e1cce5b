#!/usr/bin/env bash
# Sets up what is missing, trains two stages and measures the model before, between and after them:
#   bash launch/run_two_stage.sh stage1=cot_sft stage2=grpo overtrain=true --for stage2 trainer.total_epochs=2
#   bash launch/run_two_stage.sh stage1=opd stage2=grpo hardware=a100x8 student=2b teacher=8b dataset=geo3k \
#       'validation.splits=[validation,mathvista]'    # out of domain: a file beside the data set's own
# Every setting has its home in verl_vaopd/config and recipes/, none here.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/launch/setup.sh"
# exec: a signal to this script is a signal to the trainer.
exec "$ROOT/.venv/bin/vaopd" two-stage "$@"
