"""A default that the person did not set follows what they set; two of their settings that contradict stay an error."""

import pytest
from omegaconf import OmegaConf

from tests.config.conftest import CPU, no_gpus
from verl_vaopd.config import ConfigError, compose, validate

K = "actor_rollout_ref"
pytestmark = pytest.mark.usefixtures("verl_in_one_file")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["validation.num_questions=4"], {"dump.num_heldout_prompts": 4}),
        (["validation.num_questions=100"], {"dump.num_heldout_prompts": 8, "dataset.num_validation": 100}),
        (["validation.splits=[test]", "validation.num_questions=600"], {"dataset.num_test": 600}),
        (["validation.every=5"], {"checkpoint.every": 5}),
        (["validation.every=30"], {"checkpoint.every": 10}),
        (["validation.every=-1"], {"checkpoint.every": 10}),
        (["checkpoint.every=7"], {"validation.every": 14}),
        (["checkpoint.every=-1"], {"validation.every": 10}),
        (["data.train_batch_size=4096"], {"dataset.num_train": 32768}),
        (["trainer.total_training_steps=2000"], {"dataset.num_train": 3200}),
        (["data.max_response_length=860"], {"teacher.max_tokens_per_gpu": 16384, f"{K}.rollout.max_model_len": 1020}),
        (["method=cot_sft", f"{K}.rollout.n=2"], {"collect.keep": 2}),
        (["method=cot_sft", "collect.temperature=0"], {"collect.n": 1}),
        (["validation={num_questions: 4}"], {"dump.num_heldout_prompts": 4}),
    ],
    ids=str,
)
def test_one_setting_alone_is_never_refused(given, expected):
    cfg = compose([*CPU, "run.dir=unused", *given])
    validate(cfg, hardware_probe=no_gpus)
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected


def test_longer_texts_get_larger_micro_batches():
    cfg = compose([*CPU, "run.dir=unused", "data.max_response_length=20000", "method=opsd"])
    assert cfg.teacher.max_tokens_per_gpu == 160 + 2 * 20000
    assert cfg.actor_rollout_ref.actor.ppo_max_token_len_per_gpu == 160 + 20000


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["validation.num_questions=4", "dump.num_heldout_prompts=8"], "more held-out prompts are dumped"),
        (["validation.every=5", "checkpoint.every=10"], "validated steps would not be saved"),
        (["validation.num_questions=100", "dataset.num_validation=64"], "dataset.num_validation is too small"),
        (["trainer.total_training_steps=2000", "dataset.num_train=2048"], "the data end before the last step"),
        (["data.max_response_length=300", "teacher.max_tokens_per_gpu=400"], "does not fit into a micro-batch"),
        (["method=cot_sft", f"{K}.rollout.n=2", "collect.keep=4"], "would never be trained on"),
    ],
)
def test_two_that_contradict_are_an_error(given, text):
    with pytest.raises(ConfigError, match=text):
        validate(compose([*CPU, "run.dir=unused", *given]), hardware_probe=no_gpus)
