"""The checks that start nothing, by name: the registry that `vaopd doctor` prints and every command goes through.

A check measures, adds its problems to the findings it is given, and says what it measured. One more is one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from verl_vaopd.config.checks import agreement, machine
from verl_vaopd.config.checks.batch import check_batch
from verl_vaopd.config.checks.dataset import check_dataset
from verl_vaopd.config.checks.hardware import HardwareProbe, check_hardware
from verl_vaopd.config.checks.models import check_models, known_directory, vocabulary
from verl_vaopd.config.checks.places import check_places
from verl_vaopd.config.checks.weights import check_weights, num_parameters
from verl_vaopd.config.errors import Findings, Problem, closest, listing
from verl_vaopd.config.following import longest_rollout
from verl_vaopd.config.preflight import MEMORY, RUNNING, Finding
from verl_vaopd.config.resolvers import requested_gpus
from verl_vaopd.data.files import train_files
from verl_vaopd.disk import free_bytes, size

Measure = Callable[[DictConfig, Findings, HardwareProbe], str]


def _gpus(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_hardware(cfg, findings, probe)
    return f"{requested_gpus(cfg)} {'logical ' if cfg.trainer.device == 'cpu' else ''}GPUs asked for"


def _divisibility(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_batch(cfg, findings)
    prompts, siblings = cfg.data.train_batch_size, cfg.actor_rollout_ref.rollout.n
    ranks = cfg.trainer.n_gpus_per_node * cfg.trainer.nnodes
    return (
        f"{prompts} prompts x {siblings} rollouts on {ranks} ranks, rollouts of at most {longest_rollout(cfg)} tokens"
    )


def _tokens(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_models(cfg, findings)
    return vocabulary(cfg)


def _weights(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_weights(cfg, findings)
    told = []
    for role in ("student", "teacher"):
        path = known_directory(cfg[role].path)
        number = None if path is None else num_parameters(path)
        told.append(f"{role} " + ("not on this machine" if number is None else f"{number:,} parameters"))
    return listing(told)


def _data(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_dataset(cfg, findings)
    return f"{cfg.dataset.name}: {listing(str(file) for file in train_files(cfg))}"


def _places(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    check_places(cfg, findings)
    root = Path(cfg.run.root).expanduser()
    return f"{size(free_bytes(root))} free for runs in {root}; Weights & Biases {'on' if cfg.wandb else 'off'}"


def _temperatures(cfg: DictConfig, findings: Findings, probe: HardwareProbe) -> str:
    rollout, loss = cfg.actor_rollout_ref.rollout, cfg.loss
    divergence = "no divergence" if loss.divergence is None else f"{loss.divergence} at {loss.temperature:g}"
    return (
        f"method={cfg.method.name}: rollouts at {rollout.temperature:g}, top-p {rollout.top_p:g}; {divergence} for "
        f"both models; visual advantage at 1; validation at {cfg.validation.temperature:g}"
    )


def _of(measure: Callable[[DictConfig, Findings], str]) -> Measure:
    return lambda cfg, findings, probe: measure(cfg, findings)


STATIC: dict[str, Measure] = {
    "gpus": _gpus,
    "divisibility": _divisibility,
    "tokens": _tokens,
    "chat_template": _of(agreement.chat_template),
    "end_tokens": _of(agreement.end_tokens),
    "image_grid": _of(agreement.image_grid),
    "weights": _weights,
    "data": _data,
    "places": _places,
    "temperatures": _temperatures,
    "versions": _of(machine.versions),
    "drivers": _of(machine.drivers),
    "ports": _of(machine.ports),
}
"""By name, in the order in which they are made."""


@dataclass(frozen=True)
class Looked:
    """What a check has found, and its problems as an error tells them."""

    finding: Finding
    problems: list[Problem]


def look(cfg: DictConfig, probe: HardwareProbe) -> list[Looked]:
    """Make every check that starts nothing."""
    looked = []
    for name, measure in STATIC.items():
        findings = Findings()
        measured = measure(cfg, findings, probe)
        problems = findings.problems
        if problems:
            measured = "; ".join(f"{problem.what}: {problem.got}" for problem in problems)
        fix = "; ".join(dict.fromkeys(problem.fix for problem in problems))
        looked.append(Looked(Finding(name, measured, not problems, fix), problems))
    return looked


def check_waivers(cfg: DictConfig, findings: Findings) -> None:
    """Only checks that there are can be waived."""
    names = (*STATIC, MEMORY, *RUNNING)
    for name in cfg.preflight.waive:
        findings.require(
            name in names,
            "unknown preflight check",
            got=f"preflight.waive={listing(cfg.preflight.waive)}",
            expected=f"names among {listing(names)}",
            fix=f"preflight.waive=[{(closest(name, names, 1) or ['log_prob_gap'])[0]}]",
        )
    options = cfg.preflight
    findings.require(
        options.warn_truncated_frac <= options.max_truncated_frac,
        "a run would end before it is warned",
        got=f"preflight.warn_truncated_frac={options.warn_truncated_frac}, "
        f"preflight.max_truncated_frac={options.max_truncated_frac}",
        expected="warn_truncated_frac at most max_truncated_frac",
        fix=f"preflight.warn_truncated_frac={options.max_truncated_frac}",
    )
