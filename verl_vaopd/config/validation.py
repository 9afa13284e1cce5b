"""Checks a composed configuration as a whole, before Ray starts, and reports every problem at once."""

from __future__ import annotations

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from verl_vaopd.config.checks.batch import check_batch
from verl_vaopd.config.checks.dataset import check_dataset
from verl_vaopd.config.checks.hardware import HardwareProbe, check_hardware
from verl_vaopd.config.checks.method import check_method
from verl_vaopd.config.checks.models import check_models
from verl_vaopd.config.checks.options import check_options
from verl_vaopd.config.checks.places import check_places
from verl_vaopd.config.checks.schedule import check_schedule
from verl_vaopd.config.checks.settings import check_settings
from verl_vaopd.config.checks.weights import check_weights
from verl_vaopd.config.errors import ConfigError, Findings, Problem
from verl_vaopd.config.resolvers import register_resolvers
from verl_vaopd.platform import probe_gpus


def validate(cfg: DictConfig, hardware_probe: HardwareProbe = probe_gpus) -> None:
    """Raise ConfigError with every problem of the configuration.

    Args:
        cfg: from `compose`.
        hardware_probe: returns the GPUs of this machine; asked only if the job runs on GPUs of this machine.
    """
    register_resolvers()
    findings = Findings()
    try:
        check_options(cfg, findings)
        check_hardware(cfg, findings, hardware_probe)
        check_batch(cfg, findings)
        check_schedule(cfg, findings)
        check_method(cfg, findings)
        check_settings(cfg, findings)
        check_models(cfg, findings)
        check_weights(cfg, findings)
        check_dataset(cfg, findings)
        check_places(cfg, findings)
    except OmegaConfBaseException as error:
        raise ConfigError(
            [
                *findings.problems,
                Problem(
                    "a key that the job needs is gone or cannot be resolved",
                    got=" ".join(str(error).split()),
                    expected="every key of the configuration",
                    fix="take back the ~key or the interpolation that removed it",
                ),
            ]
        ) from error
    findings.raise_if_any()
