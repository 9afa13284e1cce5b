"""Prints, as JSON, what verl's own classes say about our configuration. Run in a process of its own: it imports verl.

python -m tests.config.verl_facts < configurations.json
"""

import dataclasses
import inspect
import json
import sys
import typing
from typing import Any

import verl  # noqa: F401  (first: it loads our plugin)
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.import_utils import load_class_from_fqn, load_extern_type

from verl_vaopd.actor.engine import MODEL_TYPE
from verl_vaopd.config.composition import verl_defaults

SECTIONS = (
    "actor_rollout_ref.actor",
    "actor_rollout_ref.rollout",
    "actor_rollout_ref.rollout.checkpoint_engine",
    "algorithm",
)
"""Sections that verl turns into its dataclasses, which refuse unknown keys and check values."""


def main() -> None:
    configurations = [OmegaConf.create(configuration) for configuration in json.load(sys.stdin)]
    facts = {**annotations(), "model_type": MODEL_TYPE}
    facts["errors"] = [error for cfg in configurations for error in errors(cfg)]
    print(json.dumps(facts))


def annotations() -> dict[str, list[str]]:
    """Keys whose annotation allows more than the default's type: real numbers, and null."""
    defaults = verl_defaults()
    real, nullable = [], []
    for key, target in defaults.items():
        section, _, name = key.rpartition(".")
        if name != "_target_" or not target:
            continue
        for field in dataclasses.fields(get_class(target)):
            default = defaults.get(f"{section}.{field.name}")
            if default is None or isinstance(default, dict):
                continue
            options = typing.get_args(field.type) or (field.type,)
            if type(default) is int and float in options:
                real.append(f"{section}.{field.name}")
            if type(None) in options:
                nullable.append(f"{section}.{field.name}")
    return {"real_valued": sorted(real), "nullable": sorted(nullable)}


def errors(cfg: DictConfig) -> list[str]:
    """What verl's dataclasses, Ray and the import system refuse."""
    found = []
    for section in SECTIONS:
        try:
            omega_conf_to_dataclass(OmegaConf.select(cfg, section))
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            found.append(f"{section}: {error!r}")
    found += unknown("actor_rollout_ref.model", cfg.actor_rollout_ref.model, model_fields())
    found += unknown("ray_kwargs.ray_init", cfg.ray_kwargs.ray_init, ray_parameters())
    load_class_from_fqn(cfg.actor_rollout_ref.rollout.agent.agent_loop_manager_class)
    sampler = cfg.trainer.v1.sampler.custom_sampler
    load_extern_type(sampler.path, sampler.name)
    return found


def unknown(section: str, cfg: DictConfig, known: set[str]) -> list[str]:
    return [f"{section}: unknown {name}" for name in sorted(set(cfg) - known - {"_target_"})]


def model_fields() -> set[str]:
    # Not instantiated: that would load the tokenizer.
    from verl.workers.config import HFModelConfig

    return {field.name for field in dataclasses.fields(HFModelConfig)}


def ray_parameters() -> set[str]:
    import ray

    parameters: Any = inspect.signature(ray.init).parameters
    return set(parameters)


if __name__ == "__main__":
    main()
