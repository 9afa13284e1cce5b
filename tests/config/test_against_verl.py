"""Our configuration against verl's own classes, in one process that may import verl."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.config.conftest import CPU, PAPER
from verl_vaopd.config import value_types
from verl_vaopd.config.checks.settings import EXACT_KL_ENGINE
from verl_vaopd.platform import cpu_environment

pytestmark = pytest.mark.slow
JOBS = [CPU, [*CPU, "method=opd"], PAPER, ["hardware=h200x1", *PAPER[1:]]]


@pytest.fixture(scope="module")
def facts(changed) -> dict:
    jobs = [
        OmegaConf.to_container(
            changed(job, {"run.dir": "/runs/x", "reward.reward_model.rollout.name": "vllm"}), resolve=True
        )
        for job in JOBS
    ]
    result = subprocess.run(
        [sys.executable, "-m", "tests.config.verl_facts"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        env={**os.environ, **cpu_environment()},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_verl_accepts_what_we_compose(facts):
    assert facts["errors"] == []


def test_types_that_verls_yaml_does_not_show(facts):
    assert facts["real_valued"] == sorted(value_types.REAL_VALUED)
    assert facts["nullable"] == sorted(value_types.NULLABLE)


def test_names_that_are_written_twice_to_keep_imports_light(facts):
    assert facts["model_type"] == EXACT_KL_ENGINE
