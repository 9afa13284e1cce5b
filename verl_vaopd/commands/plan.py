"""`vaopd plan`: what a job would need, before anything starts. Needs no GPU and imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config import compose, with_default_groups
from verl_vaopd.config.checks.batch import check_batch
from verl_vaopd.config.checks.method import check_method
from verl_vaopd.config.checks.options import check_options
from verl_vaopd.config.checks.schedule import check_schedule
from verl_vaopd.config.checks.settings import check_settings
from verl_vaopd.config.errors import Findings
from verl_vaopd.config.overrides import is_group, parse
from verl_vaopd.planning.advice import advise
from verl_vaopd.planning.gpus import default_gpu, gpu_named
from verl_vaopd.planning.measured import measured_in
from verl_vaopd.planning.plan import predict
from verl_vaopd.planning.text import as_json, as_text
from verl_vaopd.planning.workload import Responses
from verl_vaopd.platform import has_flash_attn, probe_gpus

CHECKS = (check_options, check_batch, check_schedule, check_method, check_settings)
"""Those of config/checks that ask nothing of this machine."""


def plan(
    overrides: Sequence[str], gpu: str | None, responses: str | None, run: Path | None, as_data: bool = False
) -> int:
    """Print the plan of a job.

    Args:
        overrides: Hydra overrides of the training command.
        gpu: name of a GPU in planning/gpus.py; None: this machine's, or the recipe's.
        responses: `MEAN,LONGEST` tokens of a response; None: assumed, or the run's.
        run: directory of a run whose measured seconds replace assumed ones.
        as_data: as JSON instead of a table.
    Returns: 0 where it fits, 1 where it does not.
    Raises:
        ValueError: a configuration, a length, a GPU or a run that cannot be used.
    """
    here = probe_gpus()
    # Planned elsewhere, for a machine that has what the recipe asks for.
    groups = with_default_groups(overrides, lambda: here, lambda: has_flash_attn() or not here)
    cfg = compose(groups)
    findings = Findings()
    for check in CHECKS:
        check(cfg, findings)
    findings.raise_if_any()
    chosen = {each.key_or_group: str(each.value()) for each in map(parse, groups) if is_group(each)}
    given = gpu_named(gpu, cfg.trainer.n_gpus_per_node) if gpu else default_gpu(cfg, here, chosen["hardware"])
    measured = measured_in(run, cfg) if run else None
    predicted = predict(cfg, given, _lengths(responses, cfg) if responses else None, measured)
    advice = [] if predicted.memory.fits else advise(cfg, predicted)
    title = " ".join(groups)
    print(json.dumps(as_json(predicted, title, advice), indent=1) if as_data else as_text(predicted, title, advice))
    return 0 if predicted.memory.fits else 1


def _lengths(given: str, cfg: DictConfig) -> Responses:
    limit = cfg.data.max_response_length
    try:
        mean, longest = (float(number) for number in given.split(","))
    except ValueError:
        mean = longest = 0.0
    if not 0 < mean <= longest <= limit:
        raise ValueError(
            f"--response-tokens: got {given}, expected MEAN,LONGEST with 0 < MEAN <= LONGEST <= "
            f"data.max_response_length={limit}, e.g. {limit // 8},{limit // 2}"
        )
    return Responses(mean, longest, "given")
