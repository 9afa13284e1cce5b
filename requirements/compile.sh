#!/usr/bin/env bash
# Writes requirements/cpu.txt and gpu.txt from setup.py (`make lock`). The locks are for the machines that run them,
# whatever machine compiles them, and name no index: where PyTorch's CPU builds are is the reader's environment
# (UV_FIND_LINKS, PIP_FIND_LINKS or VAOPD_TORCH_INDEX, as in launch/setup.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_FIND_LINKS=${UV_FIND_LINKS:-$(tr ' ' ',' <<<"${PIP_FIND_LINKS:-}")}
if [[ -n ${VAOPD_TORCH_INDEX:-} ]]; then
    export UV_INDEX="${UV_INDEX:+$UV_INDEX }$VAOPD_TORCH_INDEX" UV_INDEX_STRATEGY=unsafe-best-match
fi
for hardware in cpu gpu; do
    .venv/bin/uv pip compile setup.py --extra "$hardware" --extra eval --extra dev --generate-hashes --quiet \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --custom-compile-command "make lock" --output-file "requirements/$hardware.txt" "$@"
done
