#!/usr/bin/env bash
# The whole path on real inputs, on this machine's processors: Qwen3's tokenizer, Qwen3-VL's image processor and
# vocabulary, ten problems of Geometry3K, sixteen of We-Math, and models of Qwen3-VL's shape, narrow and with random
# weights. It proves no accuracy: see docs/performance.md.
#   VAOPD_REAL_FILES=DIR bash launch/demo_real.sh [OUT [KEY=VALUE of vaopd eval ...]]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
OUT=${1:-$ROOT/runs/demo-real}
REAL=${VAOPD_REAL_FILES:-}
WANTED="qwen3_tokenizer/tokenizer.json geometry3k/11/data.json wemath/testmini_16_problems.json"
for file in $WANTED; do
    [[ -n $REAL && -f $REAL/$file ]] || {
        echo "demo_real: got no ${REAL:-VAOPD_REAL_FILES}/$file; expected a folder with: $WANTED" >&2
        echo "  (tokenizer.json of a Qwen3 model; problems 11 to 20 of Geometry3K's original release; We-Math's testmini" >&2
        echo "  with its images); set VAOPD_REAL_FILES=DIR to it" >&2
        exit 2
    }
done
[[ ! -e $OUT ]] || { echo "demo_real: $OUT is there already; remove it, or name another directory" >&2; exit 2; }
REAL=$(cd "$REAL" && pwd -P)
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd -P)
cd "$ROOT"
# The recorders of tests/real_path are found by every process.
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
VAOPD=$ROOT/.venv/bin/vaopd
PYTHON=$ROOT/.venv/bin/python

step() { printf '\n[%4s s] %s\n' "$SECONDS" "$*"; }

step "making the models"
"$PYTHON" -m tests.real_path.models --tokenizer "$REAL/qwen3_tokenizer/tokenizer.json" --out "$OUT/models"

step "vaopd prepare geo3k, check"
# All ten are of the training split; here some are held out.
for place in train/{11,12,13,14} val/{15,16,17} test/{18,19,20}; do
    mkdir -p "$OUT/source/${place%/*}"
    ln -s "$REAL/geometry3k/${place#*/}" "$OUT/source/$place"
done
"$VAOPD" prepare geo3k --source "$OUT/source" --out "$OUT/geo3k" --partial
"$VAOPD" prepare check --rows "$OUT/geo3k"

step "vaopd train: two steps of VA-OPD, two validations"
# vLLM's log-probs cover rows of the head that have no token, which these random weights make likely: hence the wide bound.
# And their responses may not end.
"$VAOPD" train hardware=cpu dataset=geo3k student=2b teacher=8b \
    "dataset.root=$OUT/geo3k" "student.path=$OUT/models/student" "teacher.path=$OUT/models/teacher" \
    "run.root=$OUT/runs" run.name=real \
    data.max_prompt_length=1024 data.max_response_length=48 data.train_batch_size=2 actor_rollout_ref.rollout.n=2 \
    trainer.total_training_steps=2 checkpoint.every=2 dump.every=1 preflight.max_log_prob_gap=1 \
    "preflight.waive=[responses_end]" \
    "validation.splits=[validation,test]" validation.num_questions=3 validation.every=2 validation.n=1 \
    dump.num_heldout_prompts=3 \
    actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=128 \
    actor_rollout_ref.rollout.agent.agent_loop_manager_class=tests.real_path.recording.RecordingManager

step "vaopd export"
"$VAOPD" export "$OUT/runs/real" --checkpoint last --out "$OUT/exported" --dtype float32

step "vaopd eval wemath"
"$PYTHON" -m tests.real_path.recorded_eval "model=$OUT/exported" benchmarks=wemath \
    "files.wemath=$REAL/wemath/testmini_16_problems.json" "out=$OUT/eval" n=1 max_tokens=16 \
    engine.max_model_len=2048 "${@:2}"

step "done: $OUT"
