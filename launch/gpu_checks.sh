# shellcheck shell=bash
# What a machine must have before the GPU stack is downloaded, and whether flash-attn can be compiled on it.
# Sourced by launch/setup.sh. Nobody who wrote this had a GPU: tried with stand-ins for nvidia-smi, nvcc and the rest.
#
# Needed in any case: the driver; a C compiler and Python's headers, since Triton, by which vLLM computes the positions
# of every Qwen3-VL prompt, compiles its launchers when they are first used; disk. The CUDA toolkit and a C++ compiler
# are needed to compile flash-attn alone: attention=sdpa does without them.

CUDA_MAJOR=13    # of the torch and vLLM in requirements/gpu.txt
DRIVER_MAJOR=580 # the first drivers that run CUDA 13
# Those that torch's own headers include, and curand's, which just-in-time kernels of vLLM's FlashInfer include.
HEADERS=(cuda_runtime.h cublas_v2.h cusparse.h cusolverDn.h curand_kernel.h)

PROBLEMS=()

# problem WHAT GOT EXPECTED FIX
problem() { PROBLEMS+=("$1"$'\n'"  got:      $2"$'\n'"  expected: $3"$'\n'"  fix:      $4"); }

say_problems() {
    local found line
    for found in "${PROBLEMS[@]}"; do
        while IFS= read -r line; do say "  $line"; done <<<"$found"
    done
}

# One line per GPU; nothing without a GPU, which nvidia-smi tells by a sentence and its exit code, or without nvidia-smi.
gpu_query() {
    local answer
    answer=$(nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null) || answer=""
    printf '%s' "$answer"
}

# The CUDA version of the libcuda that programs get: that of a forward-compatibility package where one is in their way.
cuda_of_driver() { nvidia-smi 2>/dev/null | grep -oE 'CUDA Version: *[0-9]+' | grep -oE '[0-9]+$' || true; }

check_driver() {
    local version cuda
    # One line per GPU. Not by head: under pipefail, whoever writes to a reader that has gone fails the whole line.
    version=$(gpu_query driver_version)
    version=${version%%$'\n'*}
    if [[ ! $version =~ ^[0-9]+ ]]; then
        say "no GPU answers here, so its driver is not checked: it must be $DRIVER_MAJOR or newer where this runs"
        return
    fi
    cuda=$(cuda_of_driver)
    if ((BASH_REMATCH[0] < DRIVER_MAJOR && ${cuda:-0} < CUDA_MAJOR)); then
        problem "the NVIDIA driver is too old for CUDA $CUDA_MAJOR" "driver $version, CUDA ${cuda:-unknown}" \
            "driver $DRIVER_MAJOR or newer, or libcuda of CUDA $CUDA_MAJOR's forward-compatibility package" \
            "install a newer driver, or (data-centre GPUs) cuda-compat-$CUDA_MAJOR-0, its directory on LD_LIBRARY_PATH"
    fi
}

# check_compiler PYTHON: of that interpreter, or of the one that uv brings, with its headers, where it is empty.
check_compiler() {
    local header compilers=(gcc clang)
    if [[ -n ${CC:-} ]]; then compilers=("$CC"); fi
    [[ -n $(type -P "${compilers[@]}") ]] || problem "no C compiler" "on PATH none of: ${compilers[*]}" \
        "one: Triton compiles with it at run time" "install gcc (apt-get install build-essential), or name one in CC"
    [[ -n $1 ]] || return 0
    header=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include", "posix_prefix") + "/Python.h")')
    if [[ ! -f $header ]]; then
        problem "Python's headers are missing" "no $header" "Python.h: Triton compiles against it at run time" \
            "install python3.11-dev, or use uv's own Python: remove python3.11 from PATH where uv is on it"
    fi
}

# Prints the toolkit's directory, looked for as torch looks for it.
cuda_home() {
    local nvcc
    if [[ -n ${CUDA_HOME:-${CUDA_PATH:-}} ]]; then
        printf '%s' "${CUDA_HOME:-$CUDA_PATH}"
    elif nvcc=$(type -P nvcc); then
        dirname "$(dirname "$nvcc")"
    else
        printf '/usr/local/cuda'
    fi
}

check_toolkit() {
    local home release header missing=()
    local wanted="the CUDA toolkit $CUDA_MAJOR.x with all its headers, as in NVIDIA's -devel images"
    local fix="install cuda-toolkit-$CUDA_MAJOR-0 and set CUDA_HOME to its directory"
    home=$(cuda_home)
    if [[ ! -x $home/bin/nvcc ]]; then
        problem "flash-attn: no CUDA toolkit" "no nvcc in $home/bin" "$wanted" "$fix"
        return
    fi
    release=$("$home/bin/nvcc" --version | grep -oE 'release [0-9]+\.[0-9]+' | cut -d' ' -f2 || true)
    if [[ ${release%%.*} != "$CUDA_MAJOR" ]]; then
        problem "flash-attn: torch refuses a CUDA toolkit of another major version" \
            "CUDA ${release:-unknown} in $home" "$wanted" "$fix"
        return
    fi
    for header in "${HEADERS[@]}"; do [[ -e $home/include/$header ]] || missing+=("$header"); done
    ((${#missing[@]} == 0)) ||
        problem "flash-attn: headers of the CUDA toolkit are missing" "$home/include without ${missing[*]}" "$wanted" "$fix"
}

check_cxx() {
    type -P "${CXX:-c++}" >/dev/null || problem "flash-attn: no C++ compiler" "no ${CXX:-c++} on PATH" \
        "one that CUDA $CUDA_MAJOR knows" "install g++ (apt-get install build-essential), or name one in CXX"
}

# What a compiled flash-attn depends on, and pip and uv do not look at: another torch or GPU needs another one.
flash_attn_for() { printf '%s for %s' "$(grep -oE '^(flash-attn|torch)==[^ ]+' "$LOCK" | paste -sd' ' -)" "$1"; }
is_compiled() { [[ $(cat "$BUILT_FOR" 2>/dev/null) == "$(flash_attn_for "$1")" ]]; }

# Sets ARCHS to what flash-attn is compiled for: what the person has set, or the GPUs found and nothing else. A node
# without a GPU keeps what is there.
choose_archs() {
    local capability
    ARCHS=${FLASH_ATTN_CUDA_ARCHS:-}
    [[ -z $ARCHS ]] || return 0
    for capability in $(gpu_query compute_cap | sort -u); do
        case ${capability%%.*} in
            8) ARCHS+=";80" ;; # its code runs on 8.6 and 8.9 too
            9) ARCHS+=";90" ;;
            10) ARCHS+=";100" ;;
            12) ARCHS+=";120" ;;
            *) problem "flash-attn has no kernels for this GPU" "compute capability $capability" \
                "8.x, 9.x, 10.x or 12.x" "leave it out: VAOPD_ATTENTION=sdpa" ;;
        esac
    done
    ARCHS=$(tr ';' '\n' <<<"$ARCHS" | awk 'NF && !seen[$0]++' | paste -sd';' -)
    [[ -n $ARCHS ]] || ARCHS=$(awk '{ print $NF }' "$BUILT_FOR" 2>/dev/null || true)
    [[ -n $ARCHS || ${#PROBLEMS[@]} -gt 0 ]] ||
        problem "flash-attn is compiled for the GPU of this machine" "no GPU" "a GPU, or its architecture" \
            "set FLASH_ATTN_CUDA_ARCHS, such as 80 (A100), 90 (H100, H200) or 80;90"
}

# Sets ATTENTION where neither VAOPD_ATTENTION nor an installed stack says it: flash_attention_2 where flash-attn is
# there or can be compiled, else sdpa.
choose_attention() {
    local others=("${PROBLEMS[@]}")
    [[ $ATTENTION != sdpa ]] || return 0
    ATTENTION=flash_attention_2
    PROBLEMS=()
    choose_archs
    if ! is_compiled "$ARCHS"; then
        check_toolkit
        check_cxx
    fi
    if ((${#PROBLEMS[@]})) && [[ -z ${VAOPD_ATTENTION:-} ]]; then
        take_sdpa "flash-attn cannot be compiled here:"
        PROBLEMS=()
    fi
    PROBLEMS=("${others[@]}" "${PROBLEMS[@]}")
}

# take_sdpa WHY: the problems follow it, where there are some.
take_sdpa() {
    ATTENTION=sdpa
    say "$1"
    say_problems
    say "so runs here use attention=sdpa, which needs none of it; mend it and run" \
        "VAOPD_ATTENTION=flash_attention_2 bash launch/setup.sh to have flash-attn after all"
}

# check_gpu_machine PYTHON: everything at once, before anything is downloaded.
check_gpu_machine() {
    PROBLEMS=()
    check_driver
    check_compiler "$1"
    choose_attention
    ((${#PROBLEMS[@]})) || return 0
    say "FAILED: this machine is not ready for the GPU stack, and nothing was downloaded"
    say_problems
    exit 1
}
