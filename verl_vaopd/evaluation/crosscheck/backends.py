"""The frameworks that we are compared with, and which of our two protocols each of their scorers is held against.

It is `official` where they follow the benchmark's own scorer or where ours follows theirs (AI2D, MMStar), otherwise
`rule`: then both sides read the answer in a way of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.benchmarks.hallusionbench import HallusionBench

_RUNNERS = Path(__file__).parent / "runners"
_PROBE_SECONDS = 60


@dataclass(frozen=True)
class Backend:
    """One framework."""

    name: str
    module: str
    install: tuple[str, ...]
    """Commands that make the environment ENV for it: it does not go together with verl."""
    layout: str
    """Of the published files that it reads: see cases.synthetic."""
    runner: Path
    by_rule: tuple[str, ...]
    """Benchmarks that are compared with our `rule`."""
    grouping: str
    """Of HallusionBench, for its group metrics."""

    def protocol(self, benchmark: str) -> str:
        """Ours that its scorer of this benchmark is compared with."""
        return "rule" if benchmark in self.by_rule else "official"

    def benchmark(self, name: str) -> Benchmark:
        """Ours, with the switches that make it comparable."""
        return HallusionBench(self.grouping) if name == "hallusionbench" else BENCHMARKS[name]


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            name="vlmevalkit",
            module="vlmeval",
            # From a checkout: a package built of it lacks modules, and the release ms-vlmeval 0.0.20 reads
            # multiple-choice answers otherwise.
            install=(
                "uv venv ENV",
                "git clone https://github.com/open-compass/VLMEvalKit && git -C VLMEvalKit checkout e8e78f0",
                "uv pip install --python ENV/bin/python --torch-backend cpu -e VLMEvalKit rouge-score 'pandas<3'",
            ),
            layout="tsv",
            runner=_RUNNERS / "run_vlmevalkit.py",
            by_rule=("hallusionbench",),
            grouping="vlmevalkit",
        ),
        Backend(
            name="lmms-eval",
            module="lmms_eval",
            # Resolved together with lmms-eval, math-verify would be 0.1.0, which does not import.
            install=(
                "uv venv ENV",
                "uv pip install --python ENV/bin/python --torch-backend cpu lmms-eval==0.7.3 levenshtein",
                "uv pip install --python ENV/bin/python 'math-verify[antlr4_9_3]==0.9.0'",
            ),
            layout="hf",
            runner=_RUNNERS / "run_lmms_eval.py",
            by_rule=("wemath", "ai2d", "mmstar"),
            grouping="official",
        ),
    )
}


def backend_named(name: str) -> Backend:
    """Raises ValueError for an unknown name."""
    if name not in BACKENDS:
        raise ValueError(f"--backend: got {name!r}, expected {' or '.join(BACKENDS)}")
    return BACKENDS[name]


def check_benchmark(name: str) -> None:
    """Raises ValueError if there is nothing to cross-check."""
    if name not in PAPER:
        raise ValueError(f"--benchmark: got {name!r}, expected one of {', '.join(PAPER)}")


def check_interpreter(backend: Backend, python: str) -> str:
    """Whether an interpreter has the framework, found out without importing it.

    Returns: the interpreter's path.
    Raises:
        ValueError: no such interpreter, or it does not have the framework.
    """
    advice = "\n".join(["make an environment of its own, and pass ENV/bin/python:", *backend.install])
    path = shutil.which(python)
    if path is None:
        raise ValueError(f"--python: got {python!r}, which is no program; {advice}")
    probe = f"import importlib.util, json; print(json.dumps(importlib.util.find_spec({backend.module!r}) is not None))"
    try:
        told = subprocess.run(
            [path, "-I", "-c", probe], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        ).stdout
        has_framework = json.loads(told)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ValueError(f"--python: got {python!r}, which does not run as a Python interpreter: {error}") from None
    if not has_framework:
        raise ValueError(f"--python: {python!r} has no module {backend.module}; {advice}")
    return path
