#!/usr/bin/env bash
# Two Ray nodes on one machine, each in namespaces of its own: network, processes, /tmp, /dev/shm, host name. Shared are
# this clone and a directory that stands for shared storage. Jobs go through launch/ray_job.sh:
#   1. a run directory that only one node sees is refused;
#   2. tinygeo trains across both nodes, the student on one, the teacher's pool on the other, and one of them is killed
#      without a word to the network: the run ends with one error;
#   3. the node is back, and the same command resumes and finishes;
#   4. of the secrets that the head and the person have, none is in a file of the run or of Ray.
# `make test-cluster` calls it. It needs root, iproute2 and util-linux, and takes minutes: not a part of `make test`.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$ROOT"
BIN=$ROOT/.venv/bin
WORK=$(mktemp -d /var/tmp/vaopd-cluster-XXXXXX)
SHARED=$WORK/shared
RUN=$SHARED/runs/two-nodes
ADDRESSES=(10.77.0.1 10.77.0.2)
HEAD_SECRET=hf_canary-of-the-head
PERSON_SECRET=canary-of-the-person
declare -A OUTER=() INIT=()
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef
export RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0 HOME=$WORK/home PYTHONDONTWRITEBYTECODE=
unset RAY_ADDRESS
LABEL="two nodes"
source tests/cluster/common.sh
OVERRIDES=(
    "${SMALL[@]}" "dataset.root=$SHARED/tinygeo" teacher.placement=pool teacher.n_gpus=1
    trainer.total_training_steps=10 validation.every=10
)

cleanup() {
    for node in "${!OUTER[@]}"; do kill_node "$node"; done
    for node in 1 2; do ip netns delete "vaopd-$node" 2>/dev/null || true; done
    umount "$WORK/clone" 2>/dev/null || true
    if [[ -z ${VAOPD_KEEP:-} ]]; then rm -rf "$WORK"; else say "kept: $WORK"; fi
}
trap cleanup EXIT

# start_node NUMBER: namespaces with nothing in them but a process that waits.
start_node() {
    local node=$1
    mkdir -p "$WORK/node$node"
    # shellcheck disable=SC2016  # expanded in the node
    ip netns exec "vaopd-$node" unshare --mount --pid --uts --ipc --fork --kill-child --mount-proc \
        env NODE="vaopd-$node" OWN_TMP="$WORK/node$node" CLONE="$WORK/clone" ROOT="$ROOT" bash -c '
            set -e
            hostname "$NODE"
            mount -t tmpfs tmpfs /dev/shm
            mount --bind "$OWN_TMP" /tmp
            mkdir -p "$ROOT"
            mount --bind "$CLONE" "$ROOT"
            touch "$OWN_TMP/.ready"
            exec sleep infinity' &
    OUTER[$node]=$!
    until [[ -e $WORK/node$node/.ready ]]; do
        kill -0 "${OUTER[$node]}" || fail "node $node did not start"
        sleep 0.1
    done
    rm "$WORK/node$node/.ready"
    INIT[$node]=$(tr -d ' ' <"/proc/${OUTER[$node]}/task/${OUTER[$node]}/children")
}

# kill_node NUMBER: every process of it at once.
kill_node() {
    kill -KILL "${OUTER[$1]}" 2>/dev/null || true
    wait "${OUTER[$1]}" 2>/dev/null || true
    unset "OUTER[$1]"
}

# on NODE COMMAND...
on() {
    nsenter --target "${INIT[$1]}" --net --mount --pid --uts --ipc --wd="$ROOT" "${@:2}"
}

start_ray() {
    local node=$1
    shift
    on "$node" "$BIN/ray" start --node-ip-address="${ADDRESSES[node - 1]}" --num-gpus=1 --num-cpus=32 \
        --object-store-memory=1000000000 "$@" >"$WORK/ray-start-$node.log" 2>&1 || {
        cat "$WORK/ray-start-$node.log"
        fail "Ray did not start on node $node"
    }
}

# submit LOG OVERRIDES...: from the head, whose dashboard listens on its loopback alone.
submit() {
    local log=$1
    shift
    on 1 env RAY_ADDRESS=http://127.0.0.1:8265 VAOPD_CLUSTER_PYTHON="$BIN/python" WANDB_API_KEY=$PERSON_SECRET \
        WANDB_MODE=offline bash launch/ray_job.sh "$@" >"$log" 2>&1
}

num_events() { cat "$RUN/events.jsonl" 2>/dev/null | grep -c "\"kind\": \"$1\"" || true; }

# node_of TITLE: where Ray's processes of that title are.
node_of() {
    local node
    for node in 1 2; do
        if on "$node" pgrep -f "^ray::.*$1" >/dev/null; then printf '%s' "$node"; fi
    done
}

bash launch/setup.sh
mkdir -p "$SHARED" "$HOME" "$WORK/clone"
mount --bind "$ROOT" "$WORK/clone"
for node in 1 2; do
    ip netns add "vaopd-$node"
    ip -n "vaopd-$node" link set lo up
done
ip link add wire netns vaopd-1 type veth peer name wire netns vaopd-2
for node in 1 2; do
    ip -n "vaopd-$node" address add "${ADDRESSES[node - 1]}/24" dev wire
    ip -n "vaopd-$node" link set wire up
    start_node "$node"
done
HF_TOKEN=$HEAD_SECRET start_ray 1 --head --port=6379 --dashboard-host=127.0.0.1
start_ray 2 --address="${ADDRESSES[0]}:6379"
say "Ray runs on two nodes"
if on 1 ss -Hltn 'sport = :8265' | grep -v '127\.0\.0\.1:8265'; then fail "the dashboard listens beyond loopback"; fi
on 1 ss -Hltn 'sport = :8265' | grep -q . || fail "no dashboard"

say "1. a run directory on a disk of the head alone"
if submit "$WORK/refused.log" "${OVERRIDES[@]}" run.root=/tmp/runs; then fail "it was not refused"; fi
grep -A4 'run.root: got' "$WORK/refused.log" || { tail -n 40 "$WORK/refused.log"; fail "no clear refusal"; }

say "2. a training across both nodes"
command=("${OVERRIDES[@]}" "run.root=$SHARED/runs" run.name=two-nodes)
submit "$WORK/killed.log" "${command[@]}" &
job=$!
until (($(num_events checkpoint) >= 2)); do
    kill -0 "$job" 2>/dev/null || { tail -n 60 "$WORK/killed.log"; fail "it ended before the second checkpoint"; }
    sleep 0.2
done
student=$(node_of 'ActorRollout|WorkerDict|StudentWorker') teacher=$(node_of TeacherWorker)
say "student on node $student, teacher on node $teacher"
[[ $student$teacher == 12 || $student$teacher == 21 ]] || { on 1 ps ax; on 2 ps ax; fail "they are not apart"; }
before=$(num_events step)
# As if its power went: nobody says goodbye.
ip -n vaopd-2 link set wire down
kill_node 2
killed=$SECONDS
say "node 2 is dead after step $before"
code=0
wait "$job" || code=$?
say "the job ended $((SECONDS - killed)) s later, exit code $code"
tail -n 30 "$WORK/killed.log"
((code != 0)) || fail "a job without one of its nodes succeeded"
(($(num_events failed) == 1)) || fail "$(num_events failed) errors in events.jsonl, expected one"
grep '"kind": "failed"' "$RUN/events.jsonl"
if on 1 pgrep -af '^ray::(Worker|Teacher|vLLM|View|Global|Simple|Transfer)|trainer\.main --run-dir'; then fail "processes of the run are left"; fi

say "3. node 2 is back, and the same command again"
ip -n vaopd-2 link set wire up
start_node 2
start_ray 2 --address="${ADDRESSES[0]}:6379"
submit "$WORK/resumed.log" "${command[@]}" || { tail -n 60 "$WORK/resumed.log"; fail "it did not resume"; }
grep -E 'resumed|step +[0-9]+/' "$WORK/resumed.log" | head -n 5
[[ -e $RUN/finished.json ]] || fail "it is not finished"
grep -o '"step": [0-9]*' <(grep '"kind": "step"' "$RUN/events.jsonl") | tr '\n' ' '
echo

say "4. secrets"
grep -q 'not sent: WANDB_API_KEY' "$WORK/killed.log" || fail "it does not say that WANDB_API_KEY is not sent"
for secret in "$HEAD_SECRET" "$PERSON_SECRET"; do
    if grep -rlF "$secret" "$SHARED" "$WORK"/*.log "$WORK"/node1 "$WORK"/node2; then fail "$secret is in these files"; fi
done
say "done"
