"""Checks a composed configuration as a whole, before Ray starts, and reports every problem at once."""

from __future__ import annotations

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from verl_vaopd.config.checks.hardware import HardwareProbe
from verl_vaopd.config.checks.method import check_method
from verl_vaopd.config.checks.options import check_options
from verl_vaopd.config.checks.preflight import check_waivers, look
from verl_vaopd.config.checks.schedule import check_schedule
from verl_vaopd.config.checks.settings import check_settings
from verl_vaopd.config.errors import ConfigError, Findings, Problem
from verl_vaopd.config.preflight import FAILED, Finding
from verl_vaopd.config.resolvers import register_resolvers
from verl_vaopd.platform import probe_gpus


def validate(cfg: DictConfig, hardware_probe: HardwareProbe = probe_gpus) -> list[Finding]:
    """Raise ConfigError with every problem of the configuration, but for those of checks that `preflight.waive` names.

    Args:
        cfg: from `compose`.
        hardware_probe: returns the GPUs of this machine; asked only if the job runs on GPUs of this machine.
    Returns: what the checks have found that start nothing.
    """
    found, findings = examine(cfg, hardware_probe)
    findings.raise_if_any()
    return found


def examine(cfg: DictConfig, hardware_probe: HardwareProbe = probe_gpus) -> tuple[list[Finding], Findings]:
    """The same without raising for what was found: of every check, and the problems that count."""
    register_resolvers()
    findings = Findings()
    try:
        check_options(cfg, findings)
        check_waivers(cfg, findings)
        check_schedule(cfg, findings)
        check_method(cfg, findings)
        check_settings(cfg, findings)
        looked = look(cfg, hardware_probe)
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
    for each in looked:
        if each.finding.outcome(cfg.preflight.waive) == FAILED:
            findings.problems += each.problems
    return [each.finding for each in looked], findings
