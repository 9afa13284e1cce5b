"""What `validate` finds between keys. Each case breaks one thing and expects exactly that to be named."""

import json
import shutil

import pytest

from tests.config.conftest import CPU, PAPER, eight_gpus, no_gpus, write_data
from verl_vaopd.config import ConfigError, compose, validate
from verl_vaopd.config.checks import hardware
from verl_vaopd.config.checks.settings import FIXED, NOT_IN_THE_LOSS
from verl_vaopd.files import sha256_of
from verl_vaopd.platform import Gpu

B, K = "data.train_batch_size", "actor_rollout_ref.rollout.n"
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
NOT_DYNAMIC = {
    f"{ACTOR}.use_dynamic_bsz": False,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 2,
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 2,
}

SOUND = [
    {},
    {B: 1, K: 1},
    {B: 4, K: 2, "trainer.n_gpus_per_node": 8, "ray_kwargs.ray_init.num_gpus": 8},
    NOT_DYNAMIC,
    {"validation.every": 20, "checkpoint.every": 5},
    {"validation.every": -1, "checkpoint.every": -1, "dump.every": -1},
    {"validation.every": 7, "checkpoint.every": -1},
    {"validation.splits": ["test"], "validation.num_questions": 256},
    {"vaopd.high_frac": 1.0, "weighting.high_coef": 0.0, "view.ratio": 1.0},
    {"teacher.placement": "pool", "teacher.n_gpus": 2},
    {"method.degraded_view": False, "weighting.rollout_weighting": False, "weighting.token_grouping": False},
    {f"{ROLLOUT}.temperature": 0.0},
]

# (changes to the CPU job, what is wrong, part of what was got)
BROKEN = [
    ({K: 0}, f"{K} is out of range", "0"),
    ({B: 0}, f"{B} is out of range", "0"),
    ({f"{ACTOR}.ppo_mini_batch_size": 4}, "siblings would be split", "ppo_mini_batch_size=4"),
    ({"data.gen_batch_size": 3}, "the data loader would deal out other batches", "gen_batch_size=3"),
    ({f"{ACTOR}.ppo_epochs": 2}, "rollouts would be used more than once", "ppo_epochs=2"),
    ({B: 3, K: 1, "trainer.n_gpus_per_node": 2}, "does not divide evenly among the data-parallel", "= 3 rollouts on 2"),
    ({**NOT_DYNAMIC, f"{ACTOR}.ppo_micro_batch_size_per_gpu": 5}, "micro-batches do not fill", "gpu=5"),
    ({**NOT_DYNAMIC, f"{ACTOR}.ppo_micro_batch_size_per_gpu": None}, "micro-batches do not fill", "gpu=null"),
    ({**NOT_DYNAMIC, f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": None}, "no micro-batch size for passes", "null"),
    ({f"{ROLLOUT}.log_prob_use_dynamic_bsz": False}, "passes would batch differently", "dynamic_bsz=false"),
    ({"data.max_response_length": 0}, "data.max_response_length is out of range", "0"),
    ({f"{ROLLOUT}.max_model_len": 415}, "does not fit into vLLM's context", "415"),
    ({f"{ROLLOUT}.max_model_len": None}, "does not fit into vLLM's context", "null"),
    ({"teacher.max_tokens_per_gpu": 415}, "does not fit into a micro-batch", "teacher.max_tokens_per_gpu=415"),
    ({f"{ACTOR}.ppo_max_token_len_per_gpu": 415}, "does not fit into a micro-batch", "ppo_max_token_len_per_gpu=415"),
    ({f"{ROLLOUT}.tensor_model_parallel_size": 2}, "do not divide evenly among vLLM's replicas", "replicas of 2"),
    ({f"{ROLLOUT}.log_prob_max_token_len_per_gpu": 415}, "does not fit into a micro-batch", "log_prob_max_token"),
    ({"trainer.device": "tpu"}, "unknown device", "tpu"),
    ({"teacher.placement": "moon"}, "unknown teacher.placement", "moon"),
    ({"teacher.placement": "pool"}, "the teacher's pool has no GPUs", "teacher.n_gpus=0"),
    ({"teacher.n_gpus": 2}, "a colocated teacher has no GPUs of its own", "teacher.n_gpus=2"),
    ({"teacher.dtype": "int8"}, "unknown teacher.dtype", "int8"),
    ({"teacher.strategy": "fsdp"}, "teacher.strategy is not supported on a CPU", "fsdp"),
    ({f"{ACTOR}.strategy": "megatron"}, f"{ACTOR}.strategy is not supported", "megatron"),
    ({"ray_kwargs.ray_init.num_gpus": 0}, "Ray has too few logical GPUs", "num_gpus=0"),
    ({"vaopd.high_frac": 0.0}, "vaopd.high_frac is out of range", "0.0"),
    ({"vaopd.high_frac": 1.01}, "vaopd.high_frac is out of range", "1.01"),
    ({"vaopd.high_frac": float("nan")}, "vaopd.high_frac is out of range", "nan"),
    ({"weighting.high_coef": -0.1}, "weighting.high_coef is out of range", "-0.1"),
    ({"weighting.high_coef": 1.1}, "weighting.high_coef is out of range", "1.1"),
    ({"weighting.temperature": 0.0}, "weighting.temperature is out of range", "0.0"),
    ({"weighting.eps": 0.0}, "weighting.eps is out of range", "0.0"),
    ({"view.ratio": 0.0}, "view.ratio is out of range", "0.0"),
    ({"view.ratio": 1.5}, "view.ratio is out of range", "1.5"),
    ({"view.kind": "smear"}, "unknown view.kind", "smear"),
    ({"method.degraded_view": False}, "token weights need visual advantage", "degraded_view=false"),
    ({f"{ROLLOUT}.temperature": -1.0}, f"{ROLLOUT}.temperature is out of range", "-1.0"),
    ({f"{ROLLOUT}.top_p": 0.0}, f"{ROLLOUT}.top_p is out of range", "0.0"),
    ({f"{ROLLOUT}.top_p": 1.5}, f"{ROLLOUT}.top_p is out of range", "1.5"),
    ({"validation.temperature": -1.0}, "validation.temperature is out of range", "-1.0"),
    ({"validation.top_p": 1.5}, "validation.top_p is out of range", "1.5"),
    ({f"{ACTOR}.optim.lr": 0.0}, f"{ACTOR}.optim.lr is out of range", "0.0"),
    ({"run.seed": -1}, "run.seed is out of range", "-1"),
    ({"validation.n": 0}, "validation.n is out of range", "0"),
    ({"validation.num_questions": 0, "dump.num_heldout_prompts": 0}, "validation.num_questions is out of range", "0"),
    ({"validation.every": 0}, "validation.every is out of range", "0"),
    ({"checkpoint.every": -2}, "checkpoint.every is out of range", "-2"),
    ({"checkpoint.every": 4}, "validated steps would not be saved", "validation.every=10, checkpoint.every=4"),
    ({"checkpoint.every": 20}, "validated steps would not be saved", "checkpoint.every=20"),
    ({"checkpoint.keep": 0}, "checkpoint.keep is out of range", "0"),
    ({"dump.num_heldout_prompts": 65}, "more held-out prompts are dumped than validated", "65"),
    ({"dump.num_train_rollouts": -1}, "dump.num_train_rollouts is out of range", "-1"),
    ({"trainer.total_epochs": 0, "trainer.total_training_steps": None}, "trainer.total_epochs is out of range", "0"),
    ({"trainer.total_training_steps": 0}, "trainer.total_training_steps is out of range", "0"),
    ({"trainer.total_training_steps": 1281}, "the data end before the last step", "1281"),  # 2048 // 8 x 5 = 1280
    ({"dataset.num_train": 7}, "dataset.num_train is too small", "7"),
    ({"dataset.num_validation": 63}, "dataset.num_validation is too small", "63"),
    ({"dataset.num_test": None}, "dataset.num_test is too small", "null"),
    ({"validation.splits": ["test_ood"], "validation.num_questions": 513}, "dataset.num_test is too small", "512"),
    ({"dataset.min_pixels": 5, "dataset.max_pixels": 4}, "no image size is left", "dataset.min_pixels=5"),
    ({"data.train_files": "absent.parquet"}, "no such data file (data.train_files)", "absent.parquet"),
    ({"data.val_files": ["absent.parquet"], "validation.splits": ["absent"]}, "(data.val_files)", "absent.parquet"),
    ({"student.path": "/nowhere/at/all", "teacher.path": "/nowhere"}, "the student is not there", "no such directory"),
    ({"algorithm.filter_groups.enable": True}, "algorithm.filter_groups.enable cannot be changed", "true"),
    ({"trainer.v1.sampler.sync_refill_failed_groups": True}, "sync_refill_failed_groups cannot be changed", "true"),
    ({"ray_kwargs.ray_init.address": "auto"}, "cannot be told its resources", "num_gpus=1, address auto"),
    ({"algorithm.adv_estimator": "gae"}, "a critic would be built", "gae"),
    ({"critic.enable": True}, "a critic would be built", "critic.enable=true"),
]


@pytest.mark.parametrize("values", SOUND, ids=str)
def test_what_is_sound(values, problems):
    assert problems(CPU, values) == []


@pytest.mark.parametrize(("values", "what", "got"), BROKEN, ids=lambda case: str(case)[:60])
def test_what_is_broken(values, what, got, problems):
    found = problems(CPU, values)
    named = [problem for problem in found if what in problem.splitlines()[0]]
    assert len(named) == 1, found
    lines = named[0].splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:4]] == ["got", "expected", "fix"]
    assert got in lines[1]
    assert all(line.split(":", 1)[1].strip() for line in lines[1:])


@pytest.mark.parametrize("key", FIXED)
def test_what_cannot_be_changed(key, problems):
    value = FIXED[key][0]
    other = (not value) if isinstance(value, bool) else 2 if isinstance(value, int) else "left"
    assert any(f"{key} cannot be changed" in problem for problem in problems(CPU, {key: other}))


@pytest.mark.parametrize("key", NOT_IN_THE_LOSS)
def test_terms_that_the_loss_does_not_have(key, problems):
    change = {key: 0.01 if key.endswith("coeff") else True}
    assert any(f"{key} cannot be changed" in problem for problem in problems(CPU, change))
    # Another engine (a method of its own) may have them.
    assert problems(CPU, {**change, "actor_rollout_ref.model.model_type": "language_model"}) == []


def test_every_problem_is_reported_at_once(problems):
    found = problems(CPU, {K: 0, "vaopd.high_frac": 2.0, "teacher.placement": "pool", "validation.every": 15})
    assert len(found) == 4
    with pytest.raises(ConfigError, match=r"^4 problems\n1\. "):
        cfg = compose([*CPU, f"{K}=0", "vaopd.high_frac=2", "teacher.placement=pool", "validation.every=0"])
        validate(cfg, hardware_probe=no_gpus)


def test_a_removed_key_is_an_error_not_a_crash():
    cfg = compose([*CPU, "~trainer.nnodes"])
    with pytest.raises(ConfigError, match="is gone or cannot be resolved"):
        validate(cfg, hardware_probe=no_gpus)


class TestNumberOfGpus:
    def test_a100x8_needs_eight(self, problems):
        assert problems(PAPER, {}, eight_gpus) == []
        (problem,) = problems(PAPER, {}, no_gpus)
        assert "got:      0 GPUs on this machine\n" in problem
        assert "expected: 8 GPUs" in problem
        assert "fix:      hardware=cpu" in problem
        (problem,) = problems(PAPER, {}, lambda: eight_gpus()[:7])
        assert "got:      7 GPUs on this machine: NVIDIA A100-SXM4-80GB (80 GiB)" in problem

    def test_a_pool_needs_its_own(self, problems):
        pool = {"teacher.placement": "pool", "teacher.n_gpus": 2}
        assert problems(PAPER, {**pool, "trainer.n_gpus_per_node": 4}) == []
        assert problems(PAPER, {**pool, "trainer.n_gpus_per_node": 8})[0].startswith("the job asks for more GPUs")

    def test_several_nodes_need_a_cluster(self, problems):
        nodes = {"trainer.nnodes": 2}
        assert problems(PAPER, nodes)[0].startswith("several machines need a running Ray cluster")
        assert problems(PAPER, {**nodes, "ray_kwargs.ray_init.address": "auto"}, no_gpus) == []
        pool = {"teacher.placement": "pool", "teacher.n_gpus": 1, "teacher.nnodes": 2, "trainer.n_gpus_per_node": 1}
        assert problems(PAPER, pool)[0].startswith("several machines need a running Ray cluster")

    def test_a_cpu_job_needs_the_cpu_build_of_vllm(self, problems, monkeypatch):
        monkeypatch.setattr(hardware, "has_cpu_vllm", lambda: False)
        (problem,) = problems(CPU, {})
        assert "VAOPD_HARDWARE=cpu" in problem
        assert problems(PAPER, {}) == []

    def test_a_cpu_job_and_a_cluster_job_ask_no_machine(self, problems):
        def fail() -> list[Gpu]:
            raise AssertionError("probed")

        assert problems(CPU, {}, fail) == []
        assert problems(PAPER, {"ray_kwargs.ray_init.address": "10.0.0.1:6379"}, fail) == []

    def test_a_job_inside_a_cluster(self, problems, monkeypatch):
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # as `ray job submit` sets it
        assert problems(PAPER, {"trainer.nnodes": 4}, no_gpus) == []
        (problem,) = problems(CPU, {})
        assert "fix:      ray_kwargs.ray_init.num_cpus=null ray_kwargs.ray_init.num_gpus=null" in problem
        assert problems(CPU, {"ray_kwargs.ray_init.address": "local"}) == []  # one of its own all the same

    def test_a_dashboard_is_no_cluster_to_join(self, problems, monkeypatch):
        monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")  # as launch/ray_job.sh takes it
        (problem,) = problems(PAPER, {}, no_gpus)
        assert "got:      http://10.0.0.1:8265, by RAY_ADDRESS" in problem and "launch/ray_job.sh" in problem


class TestDataFiles:
    def test_tinygeo_is_made_on_demand_but_only_its_own_files(self, problems):
        assert problems(CPU, {"dataset.root": "not/there/yet"}) == []
        found = problems(CPU, {"data.train_files": "elsewhere/train.parquet"})
        assert [problem.splitlines()[0] for problem in found] == ["no such data file (data.train_files)"]

    def test_a_real_data_set_must_be_there(self, problems):
        found = problems(PAPER, {"dataset.root": "/nowhere"})
        assert [problem.splitlines()[1].split()[-1] for problem in found] == [
            "/nowhere/train.parquet",
            "/nowhere/validation.parquet",
        ]
        assert all("dataset=tinygeo student=tiny teacher=tiny" in problem.splitlines()[3] for problem in found)

    def test_files_must_have_what_training_reads(self, problems, workplace):
        write_data(workplace / "datasets/geo3k/train.parquet", reward_model=None, extra_info=None)
        (workplace / "datasets/geo3k/validation.parquet").write_text("no parquet")
        train, validation = problems(PAPER, {})
        assert "a data file lacks columns (data.train_files)" in train and "no reward_model among prompt" in train
        assert "a data file cannot be read (data.val_files)" in validation

    def test_a_prepared_file_is_as_it_was_prepared(self, problems, workplace):
        root = workplace / "datasets/geo3k"
        files = {name: {"sha256": sha256_of(root / name)} for name in ("train.parquet", "validation.parquet")}
        manifest = {"dataset": "geo3k", "request": {}, "sources": [], "splits": {}, "files": files}
        (root / "manifest.json").write_text(json.dumps(manifest))
        assert problems(PAPER, {}) == []
        write_data(root / "train.parquet", 99)
        (problem,) = problems(PAPER, {})
        assert problem.startswith("a prepared data file was changed") and "train.parquet" in problem
        (root / "manifest.json").unlink()  # the fix
        assert problems(PAPER, {}) == []

    def test_a_public_data_set_in_its_own_place_is_prepared_on_demand(self, problems, workplace):
        shutil.rmtree(workplace / "datasets/geo3k")
        assert problems(PAPER, {}) == []
        (problem, _) = problems(PAPER, {"dataset.root": "mistyped"})
        assert "vaopd prepare geo3k --out mistyped" in problem

    @pytest.mark.parametrize(
        ("num_rows", "values", "what", "fix"),
        [
            (15, {}, "fewer rows than a batch", "data.train_batch_size=15"),
            (0, {}, "a data file has no rows (data.train_files)", "write it again"),
            (47, {"trainer.total_training_steps": 11}, "the data end before", "trainer.total_epochs=6, or fewer steps"),
            (47, {"trainer.total_training_steps": 10}, None, None),
            (99, {"trainer.total_training_steps": 11, "data.train_max_samples": 33}, "the data end", "total_epochs=6"),
        ],
    )
    def test_there_are_rows_for_every_step(self, problems, workplace, num_rows, values, what, fix):
        write_data(workplace / "datasets/geo3k/train.parquet", num_rows)
        found = problems(PAPER, values)
        assert len(found) == (what is not None)
        if what is not None:
            assert found[0].startswith(what) and fix in found[0].splitlines()[-1]

    def test_there_are_questions_to_hold_out(self, problems, workplace):
        write_data(workplace / "datasets/geo3k/validation.parquet", 7)
        (problem,) = problems(PAPER, {})
        assert "a held-out file has too few rows" in problem and "fix:      validation.num_questions=7" in problem

    def test_held_out_files_say_which_split_they_are(self, problems, workplace):
        write_data(workplace / "elsewhere.parquet")
        (problem,) = problems(PAPER, {"data.val_files": ["elsewhere.parquet"]})
        assert "named after their splits" in problem and "validation.splits=[elsewhere]" in problem

    def test_remote_files_cannot_be_checked(self, problems):
        (problem,) = problems(PAPER, {"data.train_files": "hdfs://x/train.parquet"})
        assert problem.startswith("no such data file") and "a disk that all machines share" in problem
