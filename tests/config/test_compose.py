"""What `compose` makes of the command line, and what it says about mistakes in it."""

import pickle
import shutil
import subprocess
import sys
import textwrap

import pytest
from omegaconf import OmegaConf

from tests.config.conftest import CPU, PAPER
from verl_vaopd.config import ConfigError, compose, composition, recipes_dir
from verl_vaopd.config.errors import closest_keys
from verl_vaopd.image_sizes import DO_NOT_RESIZE


def message(*overrides: str, recipes: list[str] = CPU) -> str:
    with pytest.raises(ConfigError) as caught:
        compose([*recipes, *overrides])
    return str(caught.value)


def test_overrides_win_and_hydra_prefixes_pass_through():
    cfg = compose(
        [
            *CPU,
            "vaopd.high_frac=0.3",
            "data.train_batch_size=4",
            "+data.apply_chat_template_kwargs.enable_thinking=false",
            "++trainer.total_epochs=2",
            "~actor_rollout_ref.rollout.engine_kwargs.sglang",
            "method=opd",
        ]
    )
    assert cfg.vaopd.high_frac == 0.3
    assert cfg.data.train_batch_size == cfg.actor_rollout_ref.actor.ppo_mini_batch_size == 4
    assert cfg.data.apply_chat_template_kwargs == {"enable_thinking": False}
    assert cfg.trainer.total_epochs == 2
    assert "sglang" not in cfg.actor_rollout_ref.rollout.engine_kwargs
    assert cfg.method.name == "opd"


def test_vaopd_is_the_default_method():
    assert compose(CPU).method.name == "vaopd"


def test_the_wandb_switch_adds_a_tracker():
    assert compose(CPU).trainer.logger == ["file", "tensorboard"]
    assert compose([*CPU, "wandb=true"]).trainer.logger == ["file", "tensorboard", "wandb"]


def test_logical_gpus_follow_the_job():
    pool = ["trainer.n_gpus_per_node=2", "teacher.placement=pool", "teacher.n_gpus=3"]
    assert compose(CPU).ray_kwargs.ray_init.num_gpus == 1
    assert compose([*CPU, *pool]).ray_kwargs.ray_init.num_gpus == 5


def test_context_follows_the_lengths():
    cfg = compose([*PAPER, "data.max_prompt_length=100", "data.max_response_length=23"])
    assert cfg.actor_rollout_ref.rollout.max_model_len == 123


def test_a_mistyped_key_of_ours():
    text = message("vaopd.hihg_frac=0.3")
    assert "unknown key vaopd.hihg_frac" in text
    assert "closest: vaopd.high_frac" in text
    assert "fix:      vaopd.high_frac=..." in text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("data.train_batchsize=4", "data.train_batch_size"),
        ("actor_rollout_ref.rollout.temprature=1", "actor_rollout_ref.rollout.temperature"),
        ("train_batch_size=4", "data.train_batch_size"),
        ("rollout.n=4", "actor_rollout_ref.rollout.n"),
        ("harware=cpu", "hardware"),
        ("~trainer.nnode", "trainer.nnodes"),
    ],
)
def test_a_mistyped_key_names_the_one_that_was_meant(given, meant):
    assert f"fix:      {meant}=..." in message(given)


def test_our_sections_are_closed():
    text = message("+vaopd.nonsense=1", "++vaopd.hihg_frac=0.3")
    assert "unknown key vaopd.nonsense" in text
    assert "fix:      vaopd.high_frac=...\n" in text + "\n"


def test_the_last_choice_of_a_group_wins():
    assert compose([*CPU, "method=opd", "method=vaopd"]).method.name == "vaopd"


def test_an_unknown_option_names_the_group_and_its_options():
    text = message(recipes=["hardware=a100", "dataset=geo3k", "student=2b", "teacher=7b"])
    assert "unknown option of the group hardware" in text
    assert "got:      hardware=a100" in text
    assert "expected: one of a100x8, cpu, h100x1, h200x1" in text
    assert "fix:      hardware=a100x8" in text
    assert "expected: one of 32b, 4b, 8b, tiny" in text


def test_a_group_that_was_not_chosen():
    text = message(recipes=["hardware=cpu"])
    assert "no student is chosen" in text
    assert "no dataset is chosen" in text
    assert "hardware" not in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Ours are typed.
        ("vaopd.high_frac=much", "a number"),
        ("weighting.rollout_weighting=2.5", "true or false"),
        ("dump.every=1.5", "an integer"),
        ("run.root=null", "text"),
        ("checkpoint.keep=few", "an integer or null"),
        ("validation={n: many}", "an integer"),
        ("wandb=3", "true or false"),
        ("vaopd=3", "a mapping"),
        # verl's are of their default's type.
        ("data.train_batch_size=many", "an integer (verl's default is 1024)"),
        ("data.train_batch_size=1.5", "an integer (verl's default is 1024)"),
        ("data.train_batch_size=true", "an integer (verl's default is 1024)"),
        ("data.train_batch_size=null", "an integer (verl's default is 1024)"),
        ("actor_rollout_ref.actor.optim.lr=fast", "a number (verl's default is 1e-06)"),
        ("actor_rollout_ref.actor.optim.betas=[a,b]", "a list"),
        ("actor_rollout_ref.rollout.top_p=high", "a number (verl's default is 1)"),
        ("actor_rollout_ref.actor.use_kl_loss=0", "true or false (verl's default is False)"),
        ("trainer.logger=file", "a list"),
        ("actor_rollout_ref.actor=3", "a mapping"),
        ("actor_rollout_ref.rollout.val_kwargs={n: many}", "an integer (verl's default is 1)"),
        ("++data.train_batch_size=many", "an integer (verl's default is 1024)"),
        ("trainer.project_name=3", "text"),
    ],
)
def test_a_wrong_type(given, expected):
    key = given.lstrip("+").split("=")[0]
    text = message(given)
    assert text.startswith(f"wrong type for {key}")
    assert f"expected: {expected}" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("actor_rollout_ref.rollout.top_p", 0.5),
        ("actor_rollout_ref.actor.optim.lr", 1),
        ("actor_rollout_ref.actor.optim.betas", [0.5, 1]),
        ("actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu", 2),  # null in verl's YAML
        ("trainer.default_hdfs_dir", "x"),
        ("data.train_files", ["a.parquet", "b.parquet"]),
        ("data.train_files", "a.parquet"),
        ("actor_rollout_ref.actor.optim.min_lr_ratio", None),  # Optional[float] in verl's dataclass
        ("checkpoint.keep", None),
        ("vaopd.high_frac", 1),
        ("run.name", "x"),
    ],
)
def test_a_right_type(key, value):
    shown = "null" if value is None else value
    got = OmegaConf.select(compose([*CPU, f"{key}={shown}"]), key)
    assert (OmegaConf.to_container(got) if OmegaConf.is_list(got) else got) == value


def test_an_interpolation_is_resolved_before_its_type_is_judged():
    assert compose([*CPU, "data.train_batch_size=${validation.n}"]).data.train_batch_size == 4
    assert "wrong type for data.train_batch_size" in message("data.train_batch_size=${run.root}")


def test_all_problems_of_the_command_line_at_once():
    text = message("vaopd.hihg_frac=0.3", "data.train_batch_size=many", "dump.every=x")
    assert text.startswith("3 problems")
    for part in ("1. unknown key", "2. wrong type for data.train_batch_size", "3. wrong type for dump.every"):
        assert part in text


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("vaopd.high_frac", "cannot read the override"),
        ("a=[1", "cannot read the override"),
        ("vaopd.high_frac=0.1,0.2", "a sweep over several values"),
        ("hydra.run.dir=/x", "a setting of Hydra's own"),
        ("+vaopd.high_frac=1", "Hydra cannot compose"),  # it is there already
    ],
)
def test_what_hydra_itself_refuses(given, what):
    text = message(given)
    assert what in text
    assert "\n  fix: " in text


def test_the_error_travels_between_processes():
    with pytest.raises(ConfigError) as caught:
        compose([*CPU, "vaopd.high_fra=1"])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert isinstance(copy, ValueError)


def test_recipes_may_lie_below_any_directory_name(tmp_path, monkeypatch):
    odd = tmp_path / "a b, 'c' = (d) \"e\""
    shutil.copytree(recipes_dir(), odd)
    text = (odd / "dataset/tinygeo.yaml").read_text()
    (odd / "dataset/tinygeo.yaml").write_text(text.replace("num_test: 512", "num_test: 513"))
    monkeypatch.setattr(composition, "recipes_dir", lambda: odd)
    assert compose(CPU).dataset.num_test == 513


def test_closest_keys_prefer_the_nearest():
    known = ["data.seed", "run.seed", "trainer.device", "run.root"]
    assert closest_keys("seed", known)[0] in ("run.seed", "data.seed")
    assert closest_keys("run.sed", known)[0] == "run.seed"
    assert closest_keys("xyzzy", known) == []


@pytest.mark.cpu_vllm  # it validates a job without GPUs
def test_composing_and_validating_import_nothing_heavy():
    script = f"""
        import sys
        from verl_vaopd.config import ConfigError, compose, validate, with_default_groups
        cfg = compose(with_default_groups({CPU}))
        try:
            validate(cfg)
        except ConfigError as error:
            assert all("is not there" in problem.what for problem in error.problems), error
        print([name for name in ("torch", "ray", "verl", "vllm", "transformers") if name in sys.modules])
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_reader_alone_resizes_images():
    cfg = compose([*CPU, "student.path=S", "dataset.min_pixels=1024", "dataset.prompt_suffix=' Why?'"])
    assert cfg.data.mm_processor_kwargs == DO_NOT_RESIZE
    expected = {"prompt_suffix": " Why?", "min_pixels": 1024, "max_pixels": None, "student": "S"}
    assert {name: cfg.data.rows[name] for name in expected} == expected
