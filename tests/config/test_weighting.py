"""The group `weighting`: any of them on any method that distils, and keys documented before it was there."""

import pytest
from omegaconf import OmegaConf

from tests.config.conftest import CPU
from verl_vaopd.algorithms.weightings import WEIGHTINGS, Masked, Uniform, VisualAdvantage
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.objective import Objective
from verl_vaopd.config.paths import options

pytestmark = pytest.mark.usefixtures("verl_in_one_file")


def composed(*overrides):
    cfg = compose([*CPU, "run.dir=unused", *overrides])
    validate(cfg)
    return cfg


DISTILLING = [name for name in options("method") if name not in ("base", "grpo", "papo", "papo_dapo")]


def test_which_methods_distil():
    assert [name for name in options("method") if composed(f"method={name}").loss.divergence] == DISTILLING


@pytest.mark.parametrize("method", [name for name in DISTILLING if name != "opsd"])
def test_masked_works_on_any_method_that_distils(method):
    cfg = composed(f"method={method}", "weighting=masked", "weighting.which=low")
    objective = Objective.from_config(cfg)
    assert objective.weighting == Masked(which="low")
    assert objective.measures_advantage


def test_a_privileged_teacher_measures_no_visual_advantage():
    assert Objective.from_config(composed("method=opsd", "weighting=masked", "weighting.which=random")).weighting
    with pytest.raises(ConfigError, match="the privileged teacher reads another one"):
        composed("method=opsd", "weighting=masked")


def test_the_degraded_view_is_scored_where_the_weights_need_it():
    assert composed().method.degraded_view
    assert not composed("method=opd").method.degraded_view
    assert composed("method=opd", "method.degraded_view=true").method.degraded_view
    assert composed("method=grpo", "method.degraded_view=true").method.degraded_view
    assert not composed("weighting.rollout_weighting=false", "weighting.token_grouping=false").method.degraded_view


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["vaopd.high_coef=0.7"], VisualAdvantage(high_coef=0.7)),
        (["vaopd.temperature=2", "vaopd.eps=0.1"], VisualAdvantage(temperature=2.0, eps=0.1)),
        (["vaopd.rollout_weighting=false"], VisualAdvantage(rollout_weighting=False)),
        (["vaopd.token_grouping=false"], VisualAdvantage(token_grouping=False)),
        (["vaopd.rollout_shrinkage=0.5"], VisualAdvantage(rollout_shrinkage=0.5)),
        (["method=vaopd_token_only"], VisualAdvantage(rollout_weighting=False)),
        (["method=opd", "vaopd.mask=low"], Masked(which="low")),
        (["method=opd_mask_high", "vaopd.mask_frac=0.2"], Masked(frac=0.2)),
        (["method=opd", "vaopd.mask=null"], Uniform()),
        (["method=opd_mask_high", "vaopd.mask=null"], Uniform()),
        (["method=opd_mask_low", "vaopd.token_grouping=false"], Masked(which="low")),
        (["vaopd.rollout_weighting=false", "vaopd.token_grouping=false", "vaopd.mask=high"], Masked()),
        (["method=opd", "vaopd.token_grouping=true"], VisualAdvantage(rollout_weighting=False)),
        (["method=opd", "vaopd.token_grouping=false"], Uniform()),
        (["++vaopd.high_coef=0.7"], VisualAdvantage(high_coef=0.7)),
        (["vaopd={high_coef: 0.7, high_frac: 0.3, rollout_weighting: false}"],
         VisualAdvantage(high_coef=0.7, rollout_weighting=False)),
    ],
)  # fmt: skip
def test_keys_that_were_documented_stay_valid(given, expected):
    assert Objective.from_config(composed(*given)).weighting == expected


def test_measuring_stays_apart_from_weighting():
    measuring = Objective.from_config(composed("method=opd", "vaopd.high_frac=0.3", "vaopd.high_rule=mass")).measuring
    assert (measuring.high_frac, measuring.high_rule) == (0.3, "mass")


@pytest.mark.parametrize(
    ("given", "owner", "method"),
    [
        (["method=opd", "vaopd.high_coef=0.7"], "visual_advantage", "vaopd"),
        (["method=opd", "weighting.temperature=2"], "visual_advantage", "vaopd"),
        (["weighting.which=low"], "masked", "opd_mask_high"),
        (["weighting.name=masked"], "masked", "opd_mask_high"),
    ],
)
def test_an_option_of_another_weighting_is_refused_and_its_method_named(given, owner, method):
    with pytest.raises(ConfigError, match=f"{owner} is the weighting of method={method}") as error:
        compose([*CPU, *given])
    (problem,) = error.value.problems
    assert problem.fix.startswith(f"weighting={owner}, or method={method}")


def test_a_weighting_needs_a_divergence_to_weigh():
    for given in (["method=grpo", "weighting=masked"], ["loss.divergence=null", "weighting.high_coef=0.7"]):
        with pytest.raises(ConfigError, match="token weights weigh a divergence, and there is none"):
            composed(*given)
    # Left alone, it is in nobody's way.
    assert not composed("loss.divergence=null", "loss.reward_coef=1").method.degraded_view


@pytest.mark.parametrize("method", ["opd_mask_low", "vaopd_token_only"])
@pytest.mark.parametrize("weighting", ["uniform", "visual_advantage", "masked_random"])
def test_any_weighting_takes_the_place_of_a_methods_own(method, weighting):
    assert composed(f"method={method}", f"weighting={weighting}").weighting.name == weighting.removesuffix("_random")


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_is_an_option_of_the_group(name):
    assert OmegaConf.to_container(compose([*CPU, f"weighting={name}"]).weighting)["name"] == name
