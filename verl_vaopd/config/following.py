"""Defaults that follow what the person has set, instead of contradicting it.

Every rule belongs to one key and acts only if the person did not set that key: it gives the value that fits the others,
which is the default itself wherever that fits. Two settings of the person that contradict each other stay an error
(checks/).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from omegaconf import DictConfig, OmegaConf

VALIDATION_EVERY, CHECKPOINT_EVERY = "validation.every", "checkpoint.every"


def follow(cfg: DictConfig, chosen: Collection[str]) -> None:
    """Adapt the defaults of a composed configuration in place.

    Args:
        chosen: keys that the person set.
    """
    for key, rule in RULES.items():
        if key in chosen:
            continue
        default = OmegaConf.select(cfg, key)
        value = rule(cfg, default, chosen)
        if value != default:
            OmegaConf.update(cfg, key, value)


def longest_rollout(cfg: DictConfig) -> int:
    """Tokens of the longest prompt and response."""
    return cfg.data.max_prompt_length + cfg.data.max_response_length


def longest_scored(cfg: DictConfig) -> int:
    """Tokens of the longest row that the teacher scores: with a privilege, the reference is in its prompt too."""
    return longest_rollout(cfg) + (cfg.data.max_response_length if cfg.privilege.reference is not None else 0)


def num_asked(cfg: DictConfig, kind: str) -> int:
    """Questions that a held-out split of this kind must have: those that are asked, or one."""
    asked = any(split.startswith(kind) for split in cfg.validation.splits)
    return cfg.validation.num_questions if asked else 1


def _at_least(least: Callable[[DictConfig], int]) -> Callable[..., Any]:
    """The default, raised to what is needed; null stays null."""
    return lambda cfg, default, chosen: default if default is None else max(default, least(cfg))


def _rows_trained_on(cfg: DictConfig) -> int:
    batch, steps = cfg.data.train_batch_size, cfg.trainer.total_training_steps
    if not isinstance(steps, int) or cfg.trainer.total_epochs < 1:
        return batch
    return max(batch, -(-steps // cfg.trainer.total_epochs) * batch)


def _checkpoints(cfg: DictConfig, default: int, chosen: Collection[str]) -> int:
    """Every validated step is saved."""
    every = cfg.validation.every
    return every if every > 0 and default > 0 and every % default else default


def _validations(cfg: DictConfig, default: int, chosen: Collection[str]) -> int:
    """Every validated step is saved, at the distance that the person chose for checkpoints."""
    saved = cfg.checkpoint.every
    if CHECKPOINT_EVERY not in chosen or saved < 1 or default < 1:
        return default
    return -(-default // saved) * saved


def _kept_responses(cfg: DictConfig, default: int, chosen: Collection[str]) -> int:
    """No more than a step trains on."""
    siblings = cfg.actor_rollout_ref.rollout.n
    return min(default, siblings) if cfg.method.stored_responses and siblings >= 1 else default


RULES: dict[str, Callable[[DictConfig, Any, Collection[str]], Any]] = {
    VALIDATION_EVERY: _validations,
    CHECKPOINT_EVERY: _checkpoints,
    "dump.num_heldout_prompts": lambda cfg, default, chosen: min(default, max(cfg.validation.num_questions, 0)),
    "dataset.num_train": _at_least(_rows_trained_on),
    "dataset.num_validation": _at_least(lambda cfg: num_asked(cfg, "validation")),
    "dataset.num_test": _at_least(lambda cfg: num_asked(cfg, "test")),
    "teacher.max_tokens_per_gpu": _at_least(longest_scored),
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": _at_least(longest_rollout),
    "collect.keep": _kept_responses,
    "collect.n": lambda cfg, default, chosen: 1 if cfg.collect.temperature == 0 else default,
}
"""Key -> the value that fits, from the configuration, the default and the keys that the person set."""
