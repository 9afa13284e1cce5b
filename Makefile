# Every target sets up what is missing first; set-up that is current costs a fraction of a second.
BIN := .venv/bin
SHELL_SCRIPTS := .ci/run $(wildcard launch/*.sh requirements/*.sh tests/cluster/*.sh)
# By name: what a person's use leaves in the clone (data sets, runs, models, other environments) is none of its code.
CODE := verl_vaopd tests benchmarks setup.py

.PHONY: setup test test-faults test-gpu-lock test-cluster test-slurm check lint type fmt bench demo demo-real clean lock

setup:
	@bash launch/setup.sh

# pytest comes last, so that its closing line is the last one printed. Two workers: see tests/conftest.py.
PYTEST := $(BIN)/pytest -q -n 2 --dist loadgroup --no-loadscope-reorder --durations=15

test: lint type
	@$(PYTEST)

# While you work: no test that starts Ray, vLLM or an engine, or takes long.
check: lint type
	@$(PYTEST) -m "not e2e and not slow"

# Parts of a training are killed, one after the other: some 20 minutes. docs/reliability.md says what comes of it.
test-faults: setup
	@$(BIN)/pytest -q -m fault tests/faults

# The GPU stack on a machine without a GPU: what needs no GPU, in an environment of its own (10 GB, docs/performance.md).
test-gpu-lock: setup
	@bash requirements/test_gpu_lock.sh -n 2 --dist loadgroup --no-loadscope-reorder

# Minutes each, and need root; not in CI. What they need and show is in docs/cluster.md.
test-cluster:
	@bash tests/cluster/two_nodes.sh

test-slurm:
	@bash tests/cluster/slurm.sh

lint: setup
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/shellcheck $(SHELL_SCRIPTS)

type: setup
	@$(BIN)/mypy verl_vaopd

fmt: setup
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

bench: setup
	@$(BIN)/python -m benchmarks.fused_reverse_kl
	@$(BIN)/python -m benchmarks.step_time
	@$(BIN)/python -m benchmarks.evaluation_statistics
	@$(BIN)/python -m benchmarks.evaluation_memory
	@$(BIN)/python -m benchmarks.evaluation_memory_vllm

demo:
	@bash launch/run_vaopd.sh

# The whole path on real inputs, and the comparison with transformers: minutes, and no word about accuracy.
demo-real: setup
	@bash launch/demo_real.sh runs/demo-real
	@VAOPD_DEMO_REAL=$(CURDIR)/runs/demo-real $(BIN)/pytest -q -rA tests/real_path

# Resolves anew, keeping every version that still fits; `make lock UPGRADE=--upgrade` moves them all.
lock: setup
	@bash requirements/compile.sh $(UPGRADE)

# Build products and caches; never runs/ and never .venv.
clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find verl_vaopd tests recipes benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
