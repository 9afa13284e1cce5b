"""What the package takes for granted of verl 0.9.1 and TransferQueue: the parts of it that are no public interface.

A failure here says which seam has moved and who stands on it; the other tests then tell whether it still holds. That
gradients are summed over micro-batches and averaged over ranks, which no signature shows, is test_invariance.py's.
"""

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import verl_vaopd
from tests.engine import harness
from verl_vaopd.platform.vllm_engine import placeholder_ids

PACKAGE = Path(verl_vaopd.__file__).parent
TRAINER = "verl.trainer.ppo.v1.trainer_sync:PPOTrainerSync"
AGENT_LOOP_WORKER = "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ.__ray_actor_class__"
ENGINE = "verl.workers.engine.fsdp.transformer_impl:FSDPEngineWithLMHead"

# Class, who stands on it, and the methods that are overridden or called on an instance; annotations left out.
METHODS: list[tuple[str, str, dict[str, str]]] = [
    (
        TRAINER,
        "trainer/trainer.py, trainer/main.py",
        {
            "__init__": "(self, config)",
            "init": "(self)",
            "fit": "(self, agent_loop_manager)",
            "get_llm_client": "(self)",
            "get_reward_handles": "(self)",
            "on_sample_end": "(self)",
            "on_step_begin": "(self)",
            "on_step_end": "(self)",
            "_setup": "(self)",
            "_init_resource_pool_mgr": "(self)",
            "_init_tokenizer": "(self)",
            "_init_dataloader": "(self)",
            "_step_once": "(self, metrics, timing_raw, sample_batch_size)",
            "_balance_batch": "(self, batch, metrics, logging_prefix='global_seqlen', keep_minibatch=False)",
            "_update_actor": "(self, batch, metrics)",
            "_compute_metrics": "(self, batch, metrics, timing_raw, global_steps, epoch)",
            "_validate": "(self)",
            "_save_checkpoint": "(self)",
            "_load_checkpoint": "(self)",
        },
    ),
    (
        AGENT_LOOP_WORKER,
        "rollout/agent_loop.py",
        {
            "__init__": "(self, *args, **kwargs)",
            "_run_prompt": "(self, prompt, sampling_params, trajectory, trace=False)",
            "_run_agent_loop": "(self, sampling_params, trajectory, *, agent_name, trace=True, **kwargs)",
            "_agent_loop_postprocess": "(self, output, validate, **kwargs)",
            "_compute_multi_modal_inputs": "(self, output, input_ids)",
            "_compute_position_ids": (
                "(self, input_ids, attention_mask, multi_modal_inputs, mm_processor_kwargs=None)"
            ),
            "_compute_score": "(self, outputs, kwargs)",
        },
    ),
    (
        "verl.utils.dataset.rl_dataset:RLHFDataset",
        "rollout/dataset.py, which stands in for it",
        {
            "__init__": "(self, data_files, tokenizer, config, processor=None, max_samples=-1)",
            "process_multi_modal_info": "(messages, image_patch_size, config)",
        },
    ),
    (
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopManagerTQ",
        "rollout/agent_loop.py, trainer/main.py, trainer/validation.py",
        {
            "__init__": "(self, *args, **kwargs)",
            "create": "(*args, **kwargs)",
            "generate_sequences": "(self, prompts)",
        },
    ),
    (
        ENGINE,
        "engine/response_engine.py, actor/engine.py, teacher/engine.py, teacher/worker.py",
        {
            "__init__": "(self, model_config, engine_config, optimizer_config, checkpoint_config)",
            "_build_module": "(self)",
            "_build_fsdp_module": "(self, module)",
            "prepare_model_inputs": "(self, micro_batch)",
            "prepare_model_outputs": "(self, output, output_args, micro_batch, logits_processor_func)",
            "forward_step": "(self, micro_batch, loss_function, forward_only)",
            "train_batch": "(self, data, loss_function)",
            "infer_batch": "(self, data, loss_function=None)",
            "eval_mode": "(self, **kwargs)",
        },
    ),
    (
        "verl.workers.engine_workers:ActorRolloutRefWorker",
        "actor/worker.py",
        {
            "__init__": "(self, config, role, distillation_config=None, **kwargs)",
            "init_model": "(self)",
            "update_actor": "(self, data)",
            "set_dispatch_collect": "(self, mesh_name, dispatch_dp_rank, collect_dp_rank)",
        },
    ),
    (
        "verl.workers.engine_workers:TrainingWorker",
        "actor/worker.py, teacher/worker.py",
        {
            "__init__": "(self, config)",
            "reset": "(self)",
            "set_loss_fn": "(self, loss_fn)",
            "infer_batch": "(self, data)",
            "get_dispatch_collect": "(self)",
        },
    ),
    (
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer",
        "trainer/sampler.py, trainer/trainer.py, trainer/validation.py",
        {
            "__init__": (
                "(self, trainer_mode, trainer_config, max_off_policy_threshold, max_off_policy_strategy, "
                "sampler_kwargs, poll_interval=2.0, refill_fn=None, filter_groups_metric=None, train_batch_size=None, "
                "gen_batch_size=None, max_inflight_gen_batches=1, sync_refill_failed_groups=False)"
            ),
            "sample": "(self, global_steps, partition_id, batch_size)",
        },
    ),
    (
        "verl.checkpoint_engine:CheckpointEngineManager",
        "trainer/validation.py",
        {"sleep_replicas": "(self)", "update_weights": "(self, global_steps=None)"},
    ),
    (
        "verl.single_controller.ray.base:ResourcePoolManager",
        "trainer/trainer.py",
        {"get_resource_pool": "(self, role)"},
    ),
]

# Class, who reads or replaces them, and the attributes that its instances have.
ATTRIBUTES: list[tuple[str, str, list[str]]] = [
    (
        TRAINER,
        "trainer/trainer.py, trainer/session.py",
        [
            *("config", "tokenizer", "logger", "global_steps", "total_training_steps", "val_dataloader"),
            *("replay_buffer", "agent_loop_manager", "checkpoint_manager", "actor_rollout_wg"),
            *("mapping", "role_worker_mapping", "resource_pool_manager", "llm_server_manager"),
        ],
    ),
    ("verl.workers.rollout.llm_server:LLMServerManager", "trainer/session.py", ["global_load_balancer"]),
    (
        AGENT_LOOP_WORKER,
        "rollout/agent_loop.py",
        ["config", "tokenizer", "processor", "llm_client", "reward_loop_worker_handles"],
    ),
    (
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopManagerTQ",
        "rollout/agent_loop.py",
        ["agent_loop_workers_class", "agent_loop_workers", "llm_client", "reward_loop_worker_handles"],
    ),
    (ENGINE, "actor/, teacher/", ["model_config", "engine_config", "module"]),
    ("verl.workers.engine_workers:ActorRolloutRefWorker", "actor/worker.py", ["actor"]),
    ("verl.workers.engine_workers:TrainingWorker", "actor/worker.py, teacher/worker.py", ["engine", "engine_config"]),
]

SUBCLASSES = {
    "verl_vaopd.trainer.trainer:DistillationTrainer": TRAINER,
    "verl_vaopd.trainer.sampler:PromptReplayBuffer": "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer",
    "verl_vaopd.rollout.agent_loop:ViewAgentLoopWorker": AGENT_LOOP_WORKER,
    "verl_vaopd.rollout.agent_loop:ViewAgentLoopManager": "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopManagerTQ",
    "verl_vaopd.engine.response_engine:ResponseEngine": ENGINE,
    "verl_vaopd.actor.engine:StudentEngine": ENGINE,
    "verl_vaopd.teacher.engine:TeacherEngine": ENGINE,
    "verl_vaopd.actor.worker:StudentWorker": "verl.workers.engine_workers:ActorRolloutRefWorker",
    "verl_vaopd.teacher.worker:TeacherWorker": "verl.workers.engine_workers:TrainingWorker",
}


def resolve(target: str):
    """The object that `module:dotted.name` names."""
    module, _, name = target.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def signature(function) -> inspect.Signature:
    """Without annotations, and without what Ray adds to an actor's methods."""
    full = inspect.signature(function)
    kept = [p.replace(annotation=p.empty) for p in full.parameters.values() if not p.name.startswith("_ray_")]
    return full.replace(parameters=kept, return_annotation=full.empty)


@pytest.mark.parametrize(("distribution", "version"), [("verl", "0.9.1"), ("TransferQueue", "0.1.11")])
def test_version(distribution, version):
    installed = importlib.metadata.version(distribution)
    assert installed == version, (
        f"{distribution} {installed} is installed; the package was written against {version}. Go through the failures "
        "of tests/engine and tests/e2e before changing the version here and in setup.py."
    )


@pytest.mark.parametrize(
    ("target", "users", "expected"),
    [(f"{owner}.{name}", users, text) for owner, users, methods in METHODS for name, text in methods.items()],
)
def test_method(target, users, expected):
    assert str(signature(resolve(target))) == expected, f"{target} has changed; {users} override or call it"


@pytest.mark.parametrize(("owner", "users", "names"), ATTRIBUTES)
def test_attributes(owner, users, names):
    classes = [cls for cls in resolve(owner).__mro__ if cls.__module__.startswith("verl.")]
    source = "\n".join(inspect.getsource(cls) for cls in classes)
    missing = [name for name in names if not re.search(rf"self\.{name}(, self\.\w+)*\b[^=\n(]* = ", source)]
    assert not missing, f"{owner} no longer sets {missing}; {users} use them"


@pytest.mark.parametrize(("ours", "theirs"), SUBCLASSES.items())
def test_overrides(ours, theirs):
    """Every method of verl's that a class of ours replaces is in METHODS, and takes the same arguments."""
    listed = {f"{owner}.{name}" for owner, _, methods in METHODS for name in methods}
    base = resolve(theirs)
    for name, method in vars(resolve(ours)).items():
        if not inspect.isfunction(method) or not hasattr(base, name) or name == "__init__":
            continue
        assert f"{theirs}.{name}" in listed, f"{ours} overrides {name}: add its signature to METHODS"
        assert (
            list(signature(method).parameters)
            == list(signature(getattr(base, name)).parameters)[: len(signature(method).parameters)]
        ), f"{ours}.{name} cannot stand in for verl's"


def test_queue_metadata():
    from transfer_queue import KVBatchMeta

    assert list(signature(KVBatchMeta).parameters) == ["keys", "tags", "partition_id", "fields", "extra_info"]


def test_ids_that_are_never_sampled():
    """platform/vllm_engine.py refuses in collect and eval what verl refuses in the rollouts."""
    from transformers import AutoConfig, AutoProcessor
    from verl.workers.rollout.utils import get_vision_placeholder_token_ids
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    path = PACKAGE / "assets" / "tinygeo" / "student"
    ours = placeholder_ids(AutoConfig.from_pretrained(path))
    assert ours == get_vision_placeholder_token_ids(AutoProcessor.from_pretrained(path)) and len(ours) == 2
    source = inspect.getsource(vLLMHttpServer.run_server)
    assert 'method="monkey_patch_model"' in source and '"vocab_size": len(self.model_config.tokenizer)' in source


def test_padding_rows(batch):
    """What trainer/rows.py, engine/views.py and the weights of zero take for granted about verl's synthetic rows."""
    from verl.trainer.ppo.padding_utils import construct_minimal_padding_template

    row, tag = construct_minimal_padding_template(batch[0], {"is_padding": False}, eos_token_id=5)
    assert tag["is_padding"] is True and tag["response_len"] == 1
    assert row["response_mask"].tolist() == [0] and row["multi_modal_inputs"] == {}
    assert harness.padding_row(batch[0])["input_ids"].shape == (128,)


# ---- every name that the package imports from them, and every direct call of one


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> `module` or `module:name`, of what comes from verl or TransferQueue."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("verl", "transfer_queue"):
                    names[alias.asname or alias.name] = alias.name
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0]
            in (
                "verl",
                "transfer_queue",
            )
        ):
            for alias in node.names:
                is_module = importlib.util.find_spec(
                    node.module
                ).submodule_search_locations and importlib.util.find_spec(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = f"{node.module}{'.' if is_module else ':'}{alias.name}"
    return names


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` of a chain of attributes on a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return None


def target_of(node: ast.expr, names: dict[str, str]) -> str | None:
    chain = dotted(node)
    if chain is None or chain.split(".")[0] not in names:
        return None
    first, *rest = chain.split(".")
    base = names[first]
    return ".".join([base, *rest]) if ":" in base or not rest else f"{base}:{'.'.join(rest)}"


def uses() -> list[tuple[str, str]]:
    """(target, file) of every imported name and every attribute taken from one."""
    found = set()
    for file, tree in sources():
        names = imported_names(tree)
        found |= {(name, file) for name in names.values() if ":" in name}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (target := target_of(node, names)) and ":" in target:
                found.add((target, file))
    return sorted(found)


def calls() -> list[tuple[str, str, ast.Call]]:
    """(target, file and line, call) of every direct call."""
    found = []
    for file, tree in sources():
        names = imported_names(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (target := target_of(node.func, names)) and ":" in target:
                found.append((target, f"{file}:{node.lineno}", node))
    return found


@pytest.mark.parametrize(("target", "file"), uses())
def test_name(target, file):
    resolve(target)


@pytest.mark.parametrize(
    ("target", "place", "call"), [pytest.param(*call, id=f"{call[0]}-{call[1]}") for call in calls()]
)
def test_call(target, place, call):
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
    parameters = signature(resolve(target))
    bind = parameters.bind_partial if starred or len(keywords) < len(call.keywords) else parameters.bind
    bind(*(None for argument in call.args if not isinstance(argument, ast.Starred)), **keywords)


def test_the_search_finds_something():
    targets = {target for target, _ in uses()} | {target for target, _, _ in calls()}
    assert {
        f"{ENGINE}",
        "verl.workers.engine:EngineRegistry.register",
        "verl.utils.tensordict_utils:assign_non_tensor",
        "transfer_queue:kv_batch_get",
        "verl.trainer.ppo.padding_utils:upsample_batch_to_divisible_size",
    } <= targets
