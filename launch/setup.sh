#!/usr/bin/env bash
# Sets up .venv: the pinned dependencies of requirements/, then this repository, editable. Needs Python 3.11 with pip,
# or uv. When everything is in place it returns at once, so every entry point calls it first.
#
#   bash launch/setup.sh                       the GPU stack where nvidia-smi finds a GPU, else the CPU stack
#   VAOPD_HARDWARE=cpu|gpu                     choose the stack; .venv is rebuilt when it holds the other one
#   VAOPD_ATTENTION=flash_attention_2|sdpa     GPU stack: with flash-attn, compiled for hours at worst, or without;
#                                              unset: with it where it can be compiled (launch/gpu_checks.sh)
#   VAOPD_TORCH_INDEX=<package index>          where the CPU build of torch is, if pip's configuration does not know
#
# .venv/vaopd-setup.stamp names what was installed. It is removed first and written last, so a changed lock file or
# setup.py brings .venv up to date, and a .venv without it (an interrupted set-up, in which a half-copied package looks
# installed to any installer) is built anew. The output of pip and uv is in .setup/setup.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$(pwd -P)
STAMP=.venv/vaopd-setup.stamp
BUILT_FOR=.venv/vaopd-flash-attn.built-for
LOG=.setup/setup.log
MADE_HERE=.setup/venv-made-here
PYTHON=.venv/bin/python
# A cluster's modules often set these; either would mix foreign packages into the environment being built.
unset PYTHONPATH PYTHONHOME
source launch/gpu_checks.sh

say() { printf '[setup] %s\n' "$*" >&2; }

last_line() { tail -n 1 "$LOG" | tr -d '\r' | sed 's/^ *//' | cut -c1-200; }

# fail WHAT HINT...
fail() {
    local line
    say "FAILED: $1"
    for line in "${@:2}"; do say "  $line"; done
    exit 1
}

trap '[[ $? == 0 ]] || say "not finished; the output of pip and uv is in $ROOT/$LOG"' EXIT

installed() { sed -n "s/^$1=//p" "$STAMP" 2>/dev/null || true; }

choose_hardware() {
    HARDWARE=${VAOPD_HARDWARE:-}
    if [[ -z $HARDWARE ]]; then
        HARDWARE=cpu
        # An installed GPU stack stays on a node without a GPU (a login node), or two nodes that share one clone would
        # rebuild it in turns.
        if [[ $(installed hardware) == gpu || $(nvidia-smi -L 2>/dev/null || true) == "GPU "* ]]; then HARDWARE=gpu; fi
    fi
    [[ $HARDWARE == cpu || $HARDWARE == gpu ]] ||
        fail "VAOPD_HARDWARE is '$HARDWARE'" "expected cpu or gpu; unset it to let nvidia-smi decide"
    [[ ${VAOPD_ATTENTION:-sdpa} == sdpa || $VAOPD_ATTENTION == flash_attention_2 ]] ||
        fail "VAOPD_ATTENTION is '$VAOPD_ATTENTION'" "expected flash_attention_2 or sdpa; unset it to take what works"
    # Of an installed stack: whichever it has.
    ATTENTION=${VAOPD_ATTENTION:-$(installed attention)}
}

wanted_stamp() {
    printf 'hardware=%s\nroot=%s\ndigest=%s\n' "$HARDWARE" "$ROOT" "$(cat "$LOCK" setup.py | sha256sum | cut -c1-64)"
    [[ $HARDWARE == cpu ]] || printf 'attention=%s\n' "$ATTENTION"
}

is_current() { [[ -x $PYTHON && -x .venv/bin/vaopd && -f $STAMP && $(<"$STAMP") == "$(wanted_stamp)" ]]; }

# logged TITLE COMMAND...: runs the command into the log and shows every 15 s what it is at.
logged() {
    local title=$1 status=0 seconds=0 watcher
    shift
    say "$title"
    printf '\n$ %s\n' "$*" >>"$LOG"
    # The watcher ends with this script however that ends. It does not hold the lock (fd 9), and its last sleep holds no
    # pipe that somebody reads.
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        ((++seconds % 15)) || say "  $seconds s: $(last_line)"
    done 9>&- &
    watcher=$!
    "$@" >>"$LOG" 2>&1 || status=$?
    { kill "$watcher" && wait "$watcher"; } 2>/dev/null || true
    return $status
}

is_python311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

# Prints the interpreter that makes the environment; nothing where uv has to bring one.
find_python() {
    local candidate
    for candidate in python3.11 python3 python; do
        if is_python311 "$candidate" && "$candidate" -c 'import ensurepip' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    type -P uv >/dev/null || fail "no Python 3.11 with the venv module on PATH" \
        "install python3.11 and python3.11-venv, or uv (which brings its own Python)"
}

create_venv() {
    if [[ -n $BASE_PYTHON ]]; then
        logged "virtual environment" "$BASE_PYTHON" -m venv .venv || fail "python -m venv" "$(last_line)"
    else
        logged "virtual environment (with uv)" uv venv --seed --python 3.11 .venv || fail "uv venv" "$(last_line)"
    fi
}

# check_disk: what is installed takes 10 GB (GPU) or 4 GB (CPU), once where uv's cache is on the same file system.
check_disk() {
    local place free needed=6
    [[ $HARDWARE == cpu ]] || needed=12
    for place in "$ROOT" "${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/}/.cache}/uv}"; do
        while [[ ! -d $place ]]; do place=$(dirname "$place"); done
        free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1000000) }')
        ((free >= needed)) || fail "too little disk space: got $free GB free in $place, expected $needed GB" \
            "make room; uv's cache can be put elsewhere with UV_CACHE_DIR"
    done
}

pip_setting() { "$PYTHON" -m pip config get "global.$1" 2>/dev/null || true; }

# uv reads no pip configuration, and the CPU build of torch may be known to that alone.
adopt_pip_configuration() {
    local links index
    links=$(printf '%s\n' "${UV_FIND_LINKS:-}" "${PIP_FIND_LINKS:-}" "$(pip_setting find-links)" |
        tr -s ', ' '\n' | awk 'NF && !seen[$0]++' | paste -sd, -)
    [[ -z $links ]] || export UV_FIND_LINKS=$links
    index=${PIP_INDEX_URL:-$(pip_setting index-url)}
    [[ -z $index || -n ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} ]] || export UV_DEFAULT_INDEX=$index
}

# The part of the lock that is, or is not, about one package.
lock_of() { awk -v pin="$1==" '/^[a-z0-9]/ { keep = index($0, pin) == 1 } keep' "$LOCK"; }
lock_without() { awk -v pin="$1==" '/^[a-z0-9]/ { keep = index($0, pin) != 1 } keep' "$LOCK"; }

# Installed before everything else, so that PyTorch's index is asked for torch alone: it has CPU builds of torchvision
# and more that a plain version in the lock would match too, with other hashes.
install_cpu_torch() {
    local pin index=()
    lock_of torch >.setup/torch.txt
    pin=$(grep -oE '^torch==[^ ]+' .setup/torch.txt)
    [[ -z ${VAOPD_TORCH_INDEX:-} ]] || index=(--index "$VAOPD_TORCH_INDEX")
    logged "$pin" "$UV" pip install --python "$PYTHON" --no-deps --require-hashes "${index[@]}" -r .setup/torch.txt &&
        return
    fail "$pin: $(last_line)" \
        "If it was not found: it is not on PyPI. Set VAOPD_TORCH_INDEX to PyTorch's package index of CPU builds (the" \
        "URL that PyTorch's installation page shows for CPU), or put the wheel where PIP_FIND_LINKS points; run again."
}

# flash-attn comes as source and is compiled against the torch that is installed (no-build-isolation-package in
# pyproject.toml), so everything else comes first. Nobody who wrote this had a GPU: this was never run to its end.
install_gpu_stack() {
    lock_without flash-attn >.setup/without-flash-attn.txt
    [[ $ATTENTION == flash_attention_2 ]] || return 0
    logged "pinned dependencies, all but flash-attn" "$UV" pip install --python "$PYTHON" --no-deps --require-hashes \
        -r .setup/without-flash-attn.txt || fail "installing the pinned dependencies" "$(last_line)"
    if is_compiled "$ARCHS" || compile_flash_attn; then return; fi
    [[ -z ${VAOPD_ATTENTION:-} ]] || fail "compiling flash-attn: $(last_line)" \
        "MAX_JOBS=4 bounds its memory, if that ran out; VAOPD_ATTENTION=sdpa does without it"
    take_sdpa "flash-attn could not be compiled: $(last_line)"
}

compile_flash_attn() {
    rm -f "$BUILT_FOR"
    lock_of flash-attn >.setup/flash-attn.txt
    # By itself it would first ask for a wheel whose name it guesses, for CUDA 12, and compile for four architectures.
    # Reinstalled and refreshed: neither what is installed nor a wheel in uv's cache says what it was compiled for.
    logged "flash-attn, compiled for $ARCHS: minutes to hours, with MAX_JOBS compilers at a time" \
        env CUDA_HOME="$(cuda_home)" PATH="$ROOT/.venv/bin:$PATH" \
        FLASH_ATTENTION_FORCE_BUILD=TRUE FLASH_ATTN_CUDA_ARCHS="$ARCHS" \
        "$UV" pip install --python "$PYTHON" --no-deps --require-hashes --reinstall-package flash-attn \
        --refresh-package flash-attn -r .setup/flash-attn.txt &&
        flash_attn_for "$ARCHS" >"$BUILT_FOR"
}

choose_hardware
LOCK=requirements/$HARDWARE.txt
if is_current; then exit 0; fi

mkdir -p .setup
exec 9>.setup/lock
if ! flock -n 9; then
    say "another set-up of this clone is running; waiting for it"
    flock 9
fi
if is_current; then exit 0; fi

START=$SECONDS
: >"$LOG"
say "$HARDWARE stack, $(grep -cE '^[a-z0-9]' "$LOCK") pinned packages into $ROOT/.venv (log: $LOG)"

if [[ ! -e .venv ]] || ! is_python311 "$PYTHON" || [[ $(installed hardware) != "$HARDWARE" ||
    $(installed root) != "$ROOT" ]]; then
    BASE_PYTHON=$(find_python)
else
    BASE_PYTHON=$PYTHON
fi
[[ $HARDWARE == cpu ]] || check_gpu_machine "$BASE_PYTHON"
if [[ $BASE_PYTHON != "$PYTHON" ]]; then
    if [[ -e .venv ]]; then
        [[ -f $STAMP || -f $MADE_HERE ]] || fail "$ROOT/.venv is not from this script, which does not replace it" \
            "expected none, or one that launch/setup.sh has made: move it away, or remove it if you do not need it"
        say "the environment there is unfinished, or of another stack, place or Python: building it anew"
        rm -rf .venv
    fi
    check_disk
    touch "$MADE_HERE" # before it is: a set-up may be killed at any time
    create_venv
fi
rm -f "$STAMP"

if [[ -x .venv/bin/uv ]]; then
    UV=.venv/bin/uv
elif ! UV=$(type -P uv); then
    logged "uv" "$PYTHON" -m pip install "$(grep -oE '^uv==[^ ]+' "$LOCK")" ||
        fail "pip could not install uv" "$(grep -m 1 ERROR "$LOG" || last_line)"
    UV=.venv/bin/uv
fi
adopt_pip_configuration
PINS=$LOCK
if [[ $HARDWARE == cpu ]]; then
    install_cpu_torch
else
    install_gpu_stack
    if [[ $ATTENTION == sdpa ]]; then
        PINS=.setup/without-flash-attn.txt
        rm -f "$BUILT_FOR"
    fi
fi
logged "pinned dependencies: a few minutes and 4 GB (GPU: 10 GB) the first time" \
    "$UV" pip sync --python "$PYTHON" --require-hashes "$PINS" ||
    fail "installing the pinned dependencies" "$(last_line)"
# setuptools is in the lock: without isolation nothing unpinned is fetched to build this package.
logged "verl_vaopd" "$UV" pip install --python "$PYTHON" --no-deps --no-build-isolation -e . ||
    fail "installing this repository" "$(last_line)"

wanted_stamp >"$STAMP.new"
mv "$STAMP.new" "$STAMP"
say "done in $((SECONDS - START)) s"
