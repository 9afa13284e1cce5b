#!/usr/bin/env bash
# All benchmarks, results into benchmarks/results/. Run on an otherwise idle machine. `make bench` calls it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/python -m benchmarks.fused_reverse_kl
.venv/bin/python -m benchmarks.step_time
