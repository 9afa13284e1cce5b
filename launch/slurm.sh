#!/usr/bin/env bash
# Trains on the nodes of a Slurm allocation: starts Ray on them, trains, stops Ray. Call sbatch in this clone, which must
# be on a file system that every node sees. Size and partition are sbatch's, hyperparameters are Hydra's:
#   sbatch --nodes=1 --gpus-per-node=8 --time=24:00:00 launch/slurm.sh hardware=a100x8 student=2b teacher=32b
#   VAOPD_RAY_START    further options of `ray start` on every node, such as --object-store-memory=100000000000
#
#SBATCH --job-name=vaopd
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=slurm-%j.log
# Two minutes before the time limit this script is told, and tells the trainer; the same command resumes.
#SBATCH --signal=B:TERM@120
#
# Tried on a Slurm of one node without GPUs (`make test-slurm`); nobody who wrote this had a GPU cluster.
set -euo pipefail
if [[ -z ${SLURM_JOB_ID:-} ]]; then
    echo "slurm.sh: not in a Slurm allocation; expected: sbatch --nodes=1 --gpus-per-node=8 launch/slurm.sh ..." >&2
    exit 2
fi
# Not from this script's own path: Slurm runs a copy of it in its spool directory.
ROOT=$(git -C "$SLURM_SUBMIT_DIR" rev-parse --show-toplevel)
BIN=$ROOT/.venv/bin
mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${NODES[0]}
# Jobs that share a node get different ports.
PORT=$((20000 + SLURM_JOB_ID % 10000))

# Not a function: of a function in the background `$!` is a shell, and the end of the script would not reach srun.
# A step has all processors of its node, and no task is bound to one of them.
STEP=(srun --nodes=1 --ntasks=1 --overlap --cpu-bind=none)
read -ra RAY_START <<<"${VAOPD_RAY_START:-}"

# On a node with GPUs, so that the GPU stack is what is set up.
"${STEP[@]}" --nodelist="$HEAD" bash "$ROOT/launch/setup.sh"
HEAD_IP=$("${STEP[@]}" --nodelist="$HEAD" hostname --all-ip-addresses | awk '{ print $1 }')
export RAY_USAGE_STATS_ENABLED=0
# Whoever reaches Ray's port runs code as this user: a token for this job alone, which srun hands to every step.
# `ray start` asks for one by default; what calls `ray.init` must be told to send it.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
# --block: Ray's processes live and end with the step, and the step with this script.
"${STEP[@]}" --nodelist="$HEAD" "$BIN/ray" start --head --node-ip-address="$HEAD_IP" --port="$PORT" \
    --dashboard-host=127.0.0.1 "${RAY_START[@]}" --block &
head_step=$!
for node in "${NODES[@]:1}"; do
    "${STEP[@]}" --nodelist="$node" "$BIN/ray" start --address="$HEAD_IP:$PORT" "${RAY_START[@]}" --block &
done
export RAY_ADDRESS=$HEAD_IP:$PORT

alive_nodes() {
    "${STEP[@]}" --nodelist="$HEAD" "$BIN/python" -c \
        'import ray; ray.init(logging_level="ERROR"); print(sum(node["Alive"] for node in ray.nodes()))' || echo 0
}
attempts=0
until [[ $(alive_nodes 2>/dev/null) == "${#NODES[@]}" ]]; do
    if ((++attempts == 30)) || ! kill -0 "$head_step" 2>/dev/null; then
        echo "slurm.sh: Ray did not come up on all of ${NODES[*]}; its messages are above" >&2
        exit 1
    fi
    sleep 5
done

"${STEP[@]}" --nodelist="$HEAD" --job-name=vaopd-train "$BIN/vaopd" train "$@" &
trainer=$!
# By Slurm, to the tasks of that step: srun itself does not hand SIGTERM on but kills them.
# shellcheck disable=SC2329  # called by the trap
stop_trainer() {
    local step
    step=$(squeue --steps --noheader --job="$SLURM_JOB_ID" --format='%i %j' | awk '$2 == "vaopd-train" { print $1 }')
    [[ -z $step ]] || scancel --signal=TERM "$step"
}
trap stop_trainer TERM
# A trapped signal ends `wait` before the trainer has ended.
while kill -0 "$trainer" 2>/dev/null; do wait "$trainer" && status=0 || status=$?; done
exit "$status"
