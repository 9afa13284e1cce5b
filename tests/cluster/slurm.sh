#!/usr/bin/env bash
# A Slurm of one node in a temporary directory, with a munge key and a slurm.conf of its own, and launch/slurm.sh on it:
# a training is stopped two minutes before its time limit, and the same command resumes it and finishes.
# `make test-slurm` calls it. It needs root and Debian's slurm-wlm and munge (neither need run as a service), and takes
# minutes: not a part of `make test`.
#
# Processes are tracked by their parents and not confined (proctrack/linuxproc, task/none), which needs no cgroups: so it
# says nothing about memory limits or the binding of processors.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$ROOT"
WORK=$(mktemp -d /var/tmp/vaopd-slurm-XXXXXX)
RUN=$WORK/runs/slurm
DAEMONS=()
export SLURM_CONF=$WORK/slurm.conf
export VAOPD_RAY_START="--num-gpus=1 --num-cpus=32 --object-store-memory=1000000000"
export RAY_worker_niceness=0 PYTHONDONTWRITEBYTECODE=
LABEL=slurm
source tests/cluster/common.sh
OVERRIDES=(
    "${SMALL[@]}" "run.root=$WORK/runs" run.name=slurm "dataset.root=$WORK/tinygeo"
    trainer.total_training_steps=80 validation.every=80
)

cleanup() {
    scancel --user="$(id -un)" 2>/dev/null || true
    # The daemons end last: a job ends by talking to them.
    for _ in {1..60}; do
        [[ -n $(squeue --noheader 2>/dev/null) ]] || break
        sleep 1
    done
    for daemon in "${DAEMONS[@]}"; do kill "$daemon" 2>/dev/null || true; done
    wait
    if [[ -z ${VAOPD_KEEP:-} ]]; then rm -rf "$WORK"; else say "kept: $WORK"; fi
}
trap cleanup EXIT

# daemon NAME COMMAND...: in the foreground of its own log, so that it ends with this script.
daemon() {
    "${@:2}" >"$WORK/$1.out" 2>&1 &
    DAEMONS+=($!)
}

start_slurm() {
    local host
    host=$(hostname -s)
    chmod 755 "$WORK"
    mkdir -p "$WORK/state" "$WORK/spool" "$WORK/munge"
    dd if=/dev/urandom of="$WORK/munge/key" bs=1 count=1024 status=none
    chmod 400 "$WORK/munge/key"
    cat >"$SLURM_CONF" <<CONF
ClusterName=vaopd
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$WORK/munge/socket
CredType=cred/munge
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    daemon munged munged --foreground --force --key-file="$WORK/munge/key" --socket="$WORK/munge/socket" \
        --pid-file="$WORK/munge/pid" --log-file="$WORK/munge/log" --seed-file="$WORK/munge/seed"
    until [[ -S $WORK/munge/socket ]]; do sleep 0.2; done
    daemon slurmctld slurmctld -D
    daemon slurmd slurmd -D -N "$host"
    until [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]]; do
        ((SECONDS < 60)) || {
            tail -n 20 "$WORK"/*.out "$WORK"/*.log
            fail "the node does not get ready"
        }
        sleep 1
    done
}

# submit: the training, as a person would; prints the job's id.
submit() { sbatch --parsable --time=60 --output="$WORK/job-%j.log" launch/slurm.sh "${OVERRIDES[@]}"; }

runs() { [[ -n $(squeue --noheader --job="$1" 2>/dev/null) ]]; }

# told ID: what became of a job.
told() {
    scontrol show job "$1" | grep -oE '(JobState|Reason|RunTime|TimeLimit|ExitCode|DerivedExitCode)=[^ ]+' | tr '\n' ' '
    echo
}

num_checkpoints() { cat "$RUN/events.jsonl" 2>/dev/null | grep -c '"kind": "checkpoint"' || true; }

last_step() { grep '"kind": "step"' "$RUN/events.jsonl" | tail -n 1 | grep -o '"step": [0-9]*'; }

bash launch/setup.sh
start_slurm
say "$(sinfo --version): one node, idle"

say "a training; after its first checkpoint its time limit is set to what it has used and three minutes more"
first=$(submit)
begun=$SECONDS
until (($(num_checkpoints) >= 1)); do
    runs "$first" || {
        tail -n 40 "$WORK/job-$first.log"
        fail "it ended before its first checkpoint"
    }
    sleep 0.5
done
scontrol update JobId="$first" TimeLimit=$(((SECONDS - begun) / 60 + 3))
limited=$SECONDS
say "$(told "$first")"
while runs "$first"; do sleep 1; done
say "it ended $((SECONDS - limited)) s later: $(told "$first")"
grep -vE '^\s*$' "$WORK/job-$first.log" | tail -n 12
[[ ! -e $RUN/finished.json ]] || fail "it had finished before it was to be stopped"
grep -q 'Stopped by SIGTERM.*resumes after' "$WORK/job-$first.log" || fail "it was not told to stop"
told "$first" | grep -q 'ExitCode=143:0' || fail "Slurm had to kill it"
say "stopped at $(last_step)"
sleep 2
if pgrep -af 'ray::|raylet|gcs_server' | grep -F "$WORK"; then fail "processes of the job are left"; fi

say "the same command again"
second=$(submit)
while runs "$second"; do sleep 1; done
say "$(told "$second")"
grep -E '^run |resumed' "$WORK/job-$second.log" || fail "it did not resume"
[[ -e $RUN/finished.json ]] || {
    tail -n 40 "$WORK/job-$second.log"
    fail "it is not finished"
}
cat "$RUN/finished.json"
grep -o '"step": [0-9]*' <(grep '"kind": "step"' "$RUN/events.jsonl") | grep -o '[0-9]*' | paste -sd' '
say "done"
