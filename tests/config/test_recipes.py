"""The recipes as files, and in combination."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.config.conftest import CPU, eight_gpus
from verl_vaopd.config import ConfigError, compose, recipes_dir, validate, value_types
from verl_vaopd.config.composition import verl_defaults
from verl_vaopd.config.paths import CONFIG_DIR, GROUPS, options, verl_config_dir
from verl_vaopd.config.resolvers import register_resolvers
from verl_vaopd.config.schema import SECTIONS

RECIPES = sorted(recipes_dir().glob("*/*.yaml"))


def recipe_id(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def keys_and_values(cfg: DictConfig, prefix: str = ""):
    """Leaves of a raw YAML file, interpolations unresolved."""
    for name in cfg:
        node = cfg._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            yield from keys_and_values(node, f"{prefix}{name}.")
        else:
            value = node._value()
            yield f"{prefix}{name}", OmegaConf.to_container(node) if OmegaConf.is_list(node) else value


@pytest.fixture(scope="module")
def without_recipes() -> dict[str, object]:
    """verl's defaults, our schema and vaopd.yaml, without any group."""
    register_resolvers()
    with initialize_config_dir(str(verl_config_dir()), version_base="1.3"):
        verl = hydra_compose("ppo_trainer")
    wiring = OmegaConf.load(CONFIG_DIR / "vaopd.yaml")
    del wiring["defaults"]
    OmegaConf.set_struct(verl, False)
    return value_types.flat(OmegaConf.merge(verl, OmegaConf.create({**SECTIONS, "wandb": False}), wiring))


def test_groups_hold_what_the_documentation_names():
    assert {path.parent.name for path in RECIPES} == set(GROUPS)
    assert options("hardware") == ["a100x8", "cpu", "h100x1", "h200x1"]
    assert options("attention") == ["flash_attention_2", "sdpa"]
    assert {"vaopd", "opd"} <= set(options("method"))
    assert {"tiny", "4b", "8b", "32b"} <= set(options("teacher"))
    assert {"tiny", "2b"} <= set(options("student"))
    assert {"tinygeo", "geo3k", "virl39k"} <= set(options("dataset"))


@pytest.mark.parametrize("path", RECIPES, ids=recipe_id)
def test_a_recipe_is_short_and_names_itself(path):
    assert len(path.read_text().splitlines()) <= 40
    recipe = OmegaConf.load(path)
    if path.parent.name not in ("hardware", "attention", "weighting"):
        assert recipe[path.parent.name].name == path.stem


@pytest.mark.parametrize("path", RECIPES, ids=recipe_id)
def test_a_recipe_holds_differences_only_and_of_the_right_type(path, without_recipes):
    recipe = OmegaConf.load(path)
    recipe.pop("defaults", None)
    for key, value in keys_and_values(recipe):
        assert key not in without_recipes or without_recipes[key] != value, f"{key}={value} is the default already"
        if key in without_recipes:
            assert value_types.value_problem(key, value, verl_defaults()) is None


def test_our_defaults_have_no_second_home():
    assert not (set(OmegaConf.load(CONFIG_DIR / "vaopd.yaml")) & {*SECTIONS, "wandb"})


# A method chooses its weighting (test_weighting.py), the hardware its attention (test_hardware.py).
COMBINED = tuple(group for group in GROUPS if group not in ("weighting", "attention"))
Choice = namedtuple("Choice", COMBINED)  # of an option of every group
CHOICES = [Choice(*each) for each in product(*(options(group) for group in COMBINED))]


def family(model: str) -> str:
    """Models of one family read the same tokens and image patches."""
    return "tiny" if model == "tiny" else "Qwen3-VL"


INTERACTIONS = (
    # Stored responses answer the data set's prompts; self-distillation needs its solutions.
    lambda choice: (choice.method, choice.dataset),
    # A method's settings of verl's own, against the machine's.
    lambda choice: (choice.method, choice.hardware),
    # Self-distillation has the student as its teacher, whatever teacher is named.
    lambda choice: (choice.method, family(choice.student), family(choice.teacher)),
    # The longest rollout (with a solution, for self-distillation) against token budgets; steps against questions.
    lambda choice: (choice.method == "opsd", choice.dataset, choice.hardware),
    # Tokenizers and image patches.
    lambda choice: (choice.student, choice.teacher),
    # The longest rollout against the models' positions.
    lambda choice: (choice.dataset, choice.student),
    lambda choice: (choice.dataset, choice.teacher),
    # Number formats and placement against the machine.
    lambda choice: (choice.hardware, choice.student),
    lambda choice: (choice.hardware, choice.teacher),
)
"""What can fail in a combination of recipes and in none of them alone, each as what it depends on. Every value of each
occurs in a combination below; all 1344 of them say no more, and take two minutes."""


def reason(choice: Choice) -> str | None:
    """Why a combination cannot run, on whatever hardware; None if it can."""
    if choice.method != "opsd" and family(choice.student) != family(choice.teacher):
        return "do not read the same tokens"
    if choice.student == "tiny" and choice.dataset != "tinygeo":
        return "does not fit into the student"  # 12,288 tokens into 1024 positions
    return None


REASONS = (
    lambda choice: (reason(choice), choice.student, choice.teacher),
    lambda choice: (reason(choice), choice.student, choice.dataset),
)


def covering(choices: list[Choice], properties: Sequence[Callable[[Choice], object]]) -> list[Choice]:
    """A few of the choices that have every value of every property between them."""
    values = [{(number, of(choice)) for number, of in enumerate(properties)} for choice in choices]
    missing, chosen = set().union(*values), []
    while missing:
        best = max(range(len(choices)), key=lambda index: len(values[index] & missing))
        missing -= values[best]
        chosen.append(choices[best])
    return chosen


POSSIBLE = covering([choice for choice in CHOICES if reason(choice) is None], INTERACTIONS)
IMPOSSIBLE = covering([choice for choice in CHOICES if reason(choice) is not None], REASONS)


def composed(choice: Choice) -> DictConfig:
    return compose([f"{group}={option}" for group, option in choice._asdict().items()])


@pytest.mark.usefixtures("verl_in_one_file")
@pytest.mark.parametrize("choice", POSSIBLE, ids="-".join)
def test_recipes_that_go_together_compose_and_validate(choice):
    cfg = composed(choice)
    assert (cfg.method.name, cfg.student.name, cfg.teacher.name, cfg.dataset.name) == choice[:4]
    validate(cfg, hardware_probe=eight_gpus)


@pytest.mark.usefixtures("verl_in_one_file")
@pytest.mark.parametrize("choice", IMPOSSIBLE, ids="-".join)
def test_recipes_that_do_not_go_together_are_refused(choice):
    with pytest.raises(ConfigError, match=reason(choice)):
        validate(composed(choice), hardware_probe=eight_gpus)


def test_every_recipe_is_in_a_combination_that_runs():
    assert [set(chosen) for chosen in zip(*POSSIBLE, strict=True)] == [set(options(group)) for group in COMBINED]


@pytest.mark.parametrize("hardware", options("hardware"))
def test_everything_resolves_once_the_run_directory_is_known(hardware, changed):
    cfg = changed([f"hardware={hardware}", *CPU[1:]], {"run.dir": "/runs/x"})
    OmegaConf.resolve(cfg)
    # verl's own placeholder, for a reward model that is off.
    assert OmegaConf.missing_keys(cfg) == {"reward.reward_model.rollout.name"}
    assert cfg.trainer.default_local_dir == "/runs/x/checkpoints"
    assert cfg.trainer.experiment_name == "x"
