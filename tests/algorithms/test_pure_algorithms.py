"""The algorithms and images can be read, tested and used without the training stack."""

import pkgutil
import subprocess
import sys

from verl_vaopd import algorithms

HEAVY = ["verl", "ray", "vllm", "transformers", "tensordict", "omegaconf"]
MODULES = [
    "verl_vaopd.images",
    *(f"verl_vaopd.algorithms.{module.name}" for module in pkgutil.iter_modules(algorithms.__path__)),
]


def test_import_nothing_heavy():
    imports = "; ".join(f"import {module}" for module in MODULES)
    program = f"import sys; {imports}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_modules_are_covered():
    assert {"visual_advantage", "token_weights", "divergence", "fused_divergence"} <= {
        m.split(".")[-1] for m in MODULES
    }
