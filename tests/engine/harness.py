"""Real student and teacher engines on CPU, on rollouts made by verl's own agent-loop functions.

Tiny Qwen3-VLs with random float32 weights: numbers are compared, not judged. Heads are tied and untied, and padded
differently. The eight rollouts cover what differs in a real batch:

    square  3 siblings, one image, one response of a single token
    wide    2 siblings, two images; the degraded view is transposed, so that its position ids differ, too
    text    2 siblings, no image
    alone   1 sibling, one image
"""

from __future__ import annotations

import functools
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from PIL import Image
from tensordict import NonTensorStack, TensorDict
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.trainer.config import CheckpointConfig
from verl.trainer.ppo.padding_utils import construct_minimal_padding_template
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.utils.losses import ppo_loss

from verl_vaopd import images
from verl_vaopd.actor.engine import StudentEngine
from verl_vaopd.actor.loss import student_loss
from verl_vaopd.algorithms.divergences import ReverseKL
from verl_vaopd.algorithms.token_weights import token_weights
from verl_vaopd.algorithms.visual_advantage import visual_advantage
from verl_vaopd.config import compose
from verl_vaopd.config.objective import Objective
from verl_vaopd.data.tinygeo import models
from verl_vaopd.data.tinygeo.dataset import generate_examples
from verl_vaopd.engine import fields
from verl_vaopd.engine.nested import rows
from verl_vaopd.rollout import agent_loop
from verl_vaopd.rollout.agent_loop import ViewAgentLoopWorker
from verl_vaopd.teacher.engine import TeacherEngine
from verl_vaopd.teacher.head import load_output_head


class Transposed:
    """A view with other position ids than the clean one, which pixelation never has; stands for agent_loop.View."""

    def of(self, pictures: list[Image.Image], **prompt: Any) -> list[Image.Image]:
        return [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]


MODELS = (
    # name, architecture, seed, rows of embedding and head that belong to no token, tied
    ("teacher", models.TEACHER, 1, 8, False),
    ("student", models.STUDENT, 2, 24, True),
    ("untied_student", models.STUDENT, 3, 0, False),
)
STUDENTS = ("student", "untied_student")

Row = dict[str, Any]
"""Fields of one rollout, as verl's agent loop puts them into the queue."""


# ---- models and rollouts


def save_models(directory: Path) -> None:
    """`directory`/{teacher,student,untied_student}: random weights, but predictions that differ and see the image.

    Visual advantages must be tenths of a nat: Eq. 3 divides the rounding of log-probs (2e-6 in float32) by their spread
    over siblings, and rollout weights follow.
    """
    tokenizer = models.build_tokenizer()
    processor = models.build_processor(tokenizer)
    for name, architecture, seed, padded_rows, tied in MODELS:
        model = models.build_model(tokenizer, architecture, seed=seed)
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(4.0)
            model.model.visual.patch_embed.proj.weight.mul_(4.0)
            for layer in model.model.language_model.layers:
                layer.self_attn.v_proj.weight.mul_(3.0)
                layer.self_attn.o_proj.weight.mul_(3.0)
        model.resize_token_embeddings(len(tokenizer) + padded_rows, mean_resizing=False)
        if not tied:
            untie_head(model)
        model.save_pretrained(directory / name)
        processor.save_pretrained(directory / name)


def untie_head(model: Any) -> None:
    """Give the model an LM head of its own."""
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    head = model.get_input_embeddings().weight.detach().clone()
    model.lm_head.weight = torch.nn.Parameter(head + 0.1 * torch.randn_like(head))


def save_prompts(directory: Path) -> None:
    """`directory`/prompts.json, equal_lengths.json and the images they name; responses are random tokens."""
    rng = random.Random(0)
    examples = generate_examples("train", 4, seed=0)
    images = {f"figure{i}.png": Image.fromarray(example.figure.image) for i, example in enumerate(examples)}
    images["wide.png"] = images["figure2.png"].resize((96, 48))
    for name, image in images.items():
        image.save(directory / name)
    tokenizer = models.build_tokenizer()
    ordinary = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))

    def prompt(uid: str, view: str, files: list[str], lengths: list[int]) -> dict[str, Any]:
        # The end of the response is a response token.
        responses = [[*rng.choices(ordinary, k=length - 1), tokenizer.eos_token_id] for length in lengths]
        question = f"{uid}: {examples[len(uid) % 4].question.text}"
        return {"uid": uid, "question": question, "images": files, "view": view, "responses": responses}

    prompts = [
        prompt("square", "pixelate", ["figure0.png"], [12, 1, 7]),
        prompt("wide", "transpose", ["wide.png", "figure1.png"], [9, 5]),
        prompt("text", "pixelate", [], [6, 10]),
        prompt("alone", "pixelate", ["figure3.png"], [11]),
    ]
    (directory / "prompts.json").write_text(json.dumps(prompts))
    (directory / "equal_lengths.json").write_text(json.dumps([prompt("equal", "pixelate", ["figure0.png"], [6] * 4)]))


def load_rows(directory: Path, prompts: str = "prompts.json") -> list[Row]:
    """The rollouts of a file of prompts, prompt by prompt, as the agent loop worker queues them."""
    config = model_config(directory / "student")  # verl binds the model's get_rope_index to the processor
    worker = ViewAgentLoopWorker.__new__(ViewAgentLoopWorker)
    worker.processor, worker.tokenizer, worker.mm_processor_kwargs = config.processor, config.tokenizer, {}
    result = []
    for prompt in json.loads((directory / prompts).read_text()):
        pictures = [Image.open(directory / name).convert("RGB") for name in prompt["images"]]
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": prompt["question"]}]
        text = config.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        prompt_ids = config.processor(text=[text], images=pictures or None, return_tensors="pt")["input_ids"][
            0
        ].tolist()
        options = OmegaConf.create({"kind": "pixelate", "ratio": images.Corruption.ratio})
        pixelated = agent_loop.View(options, run_seed=0, files={})
        worker.degraded_view = Transposed() if prompt["view"] == "transpose" else pixelated
        agent_loop._prompt_cache.set({})
        for response in prompt["responses"]:
            output = AgentLoopOutput(
                prompt_ids=prompt_ids,
                response_ids=response,
                response_mask=[1] * len(response),
                multi_modal_data={"images": pictures} if pictures else {},
                metrics=AgentLoopMetrics(),
            )
            result.append({"uid": prompt["uid"], **queued_fields(worker, output)})
    return result


def queued_fields(worker: ViewAgentLoopWorker, output: AgentLoopOutput) -> Row:
    """Ours and verl's part of AgentLoopWorkerTQ._agent_loop_postprocess, without the queue."""
    prompt = {"split": "train", "index": "0", "step": 1}
    input_ids = torch.tensor([*output.prompt_ids, *output.response_ids])
    multi_modal_inputs = worker._compute_multi_modal_inputs(output, input_ids)
    position_ids = worker._compute_position_ids(input_ids[None], torch.ones_like(input_ids)[None], multi_modal_inputs)
    return {
        "input_ids": input_ids,
        "position_ids": position_ids[0],
        "response_mask": torch.tensor(output.response_mask),
        "loss_mask": torch.tensor(output.response_mask),
        "multi_modal_inputs": multi_modal_inputs,
        fields.DEGRADED_INPUTS: worker._view_inputs(output, worker.degraded_view, prompt),
    }


def padding_row(source: Row) -> Row:
    """The synthetic row that verl appends until a batch divides evenly."""
    return construct_minimal_padding_template(source, {}, eos_token_id=5)[0] | {"uid": "padding"}


def pack(batch: Sequence[Row], **per_token: list[torch.Tensor]) -> TensorDict:
    """The TensorDict that a worker gets from the queue, which packs every tensor field alike.

    Rows of one length make position ids jagged along the wrong axis: that is what the queue does, too.
    """
    tensors = {field: [row[field] for row in batch] for field in fields.FORWARD} | per_token
    data: dict[str, Any] = {
        field: torch.nested.as_nested_tensor(values, layout=torch.jagged) for field, values in tensors.items()
    }
    extra = {fields.IMAGES, fields.DEGRADED_INPUTS, fields.MASKED_INPUTS, fields.PRIVILEGED_INPUTS}
    for field in extra & batch[0].keys():
        data[field] = NonTensorStack(*[dict(row[field]) for row in batch])
    data[fields.ROW_INDEX] = torch.arange(len(batch))
    return TensorDict(data, batch_size=[len(batch)])


# ---- engines


def init_process_group(store: Path, rank: int = 0, world_size: int = 1) -> None:
    torch.set_num_threads(1)
    # verl's workers read all of these; the addresses only to pass them on.
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)


def model_config(path: Path, **settings: Any) -> HFModelConfig:
    return HFModelConfig(
        path=str(path),
        override_config={"attn_implementation": "sdpa"},
        **{"enable_gradient_checkpointing": False, **settings},
    )


def engine_config(dtype: str, **settings: Any) -> FSDPEngineConfig:
    """`dtype`: what is computed in. Parameters are float32 unless `model_dtype` says otherwise."""
    mixed_precision = {"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    settings = {"strategy": "fsdp2", "model_dtype": "fp32", "use_torch_compile": False, **settings}
    return FSDPEngineConfig(mixed_precision=mixed_precision, **settings)


def build_teacher(path: Path, dtype: str = "fp32") -> TeacherEngine:
    config = engine_config(dtype, model_dtype=dtype, forward_only=True)
    engine = TeacherEngine(model_config(path), config, None, CheckpointConfig())
    engine.initialize()
    engine.vocab_size = len(engine.model_config.tokenizer)
    return engine


def build_student(
    path: Path, teacher_path: Path, lr: float = 0.0, dtype: str = "fp32", **model_settings: Any
) -> StudentEngine:
    """With lr 0 every update starts from the same parameters. Gradients are never clipped."""
    optimizer = FSDPOptimizerConfig(lr=lr, clip_grad=1e9, total_training_steps=10)
    engine = StudentEngine(model_config(path, **model_settings), engine_config(dtype), optimizer, CheckpointConfig())
    engine.initialize()
    engine.vocab_size = len(engine.model_config.tokenizer)
    engine.teacher_head = load_output_head(str(teacher_path), PrecisionType.to_dtype(dtype), "cpu")
    engine.objective = Objective(divergence=ReverseKL())
    return engine


# ---- passes


@dataclass(frozen=True)
class Batching:
    """How a rank's rows are cut into micro-batches: rows per micro-batch, or a token budget; padded or packed."""

    rows: int | None = None
    tokens: int | None = None
    packed: bool = False

    def __str__(self) -> str:
        size = f"{self.tokens} tokens" if self.rows is None else f"{self.rows} rows"
        return f"{size}, {'packed' if self.packed else 'padded'}"

    def settings(self) -> dict[str, Any]:
        """What verl's worker writes beside the batch."""
        return {
            "use_dynamic_bsz": self.rows is None,
            "micro_batch_size_per_gpu": self.rows,
            "max_token_len_per_gpu": self.tokens,
            "use_remove_padding": self.packed,
            "use_fused_kernels": False,
        }


def score(
    teacher: TeacherEngine,
    batch: Sequence[Row],
    batching: Batching,
    degraded_view: bool = True,
    keep_hidden_states: bool = True,
) -> dict[str, list[torch.Tensor]]:
    """The teacher's outputs, each a list with one tensor per row."""
    data = pack(batch)
    tu.assign_non_tensor(
        data,
        keep_hidden_states=keep_hidden_states,
        degraded_view=degraded_view,
        temperature=1.0,
        **batching.settings(),
    )
    with teacher.eval_mode():
        outputs = teacher.infer_batch(data)["model_output"]
    return {name: rows(value) for name, value in outputs.items()}


def weigh(batch: Sequence[Row], scores: dict[str, list[torch.Tensor]], **options: Any) -> list[torch.Tensor]:
    """What the driver does with the scores of the whole batch: token weights, one tensor per row."""
    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    mask = pad([row["response_mask"] for row in batch])
    advantage = visual_advantage(pad(scores["teacher_log_probs"]), pad(scores["degraded_teacher_log_probs"]), mask)
    weights = token_weights(advantage, mask, uid=[row["uid"] for row in batch], **options)
    return [row[: len(m["response_mask"])] for row, m in zip(weights, batch, strict=True)]


PAPO = Objective(reward_coef=1.0, policy_temperature=0.7, perception_coef=0.02, entropy_coef=0.05, masked_gradient=True)


def policy_loss() -> Any:
    """verl's own, with the configuration of a real job."""
    config = compose(
        ["method=grpo", "student=tiny", "teacher=tiny", "dataset=tinygeo", "hardware=cpu", "run.dir=unused"]
    )
    OmegaConf.resolve(config.actor_rollout_ref.actor)
    return functools.partial(ppo_loss, config=omega_conf_to_dataclass(config.actor_rollout_ref.actor))


def with_masked_view(batch: Sequence[Row]) -> list[Row]:
    """PAPO's second view; any view will do."""
    return [{**row, fields.MASKED_INPUTS: row[fields.DEGRADED_INPUTS]} for row in batch]


def row_advantages(batch: Sequence[Row]) -> list[torch.Tensor]:
    """Positive, one per rollout: as token weights of a log-likelihood they give GRPO's gradient."""
    return [torch.full((len(row["response_mask"]),), 0.1 * (1 + number)) for number, row in enumerate(batch)]


@dataclass
class Update:
    """One optimizer step: the global loss, the global gradient of every parameter, outputs per row of this rank."""

    loss: float
    gradients: dict[str, torch.Tensor]
    token_outputs: dict[str, list[torch.Tensor]]


def update(
    student: StudentEngine,
    batch: Sequence[Row],
    hidden: list[torch.Tensor] | None,
    weights: list[torch.Tensor] | None,
    batching: Batching,
    policy_loss: Any = None,
    **per_token: list[torch.Tensor],
) -> Update:
    """The engine's own training step on this rank's rows."""
    data = pack(batch, **({} if weights is None else {"token_weights": weights}), **per_token)
    # verl's trainer sends the sampling temperature along; the exact KL is taken at 1 all the same.
    tu.assign_non_tensor(data, temperature=0.7, **batching.settings())
    student.teacher_hidden_states = hidden
    loss = functools.partial(student_loss, objective=student.objective, policy_loss=policy_loss)
    with student.train_mode():
        outputs = student.train_batch(data, loss)
        gradients = {name: p.grad.full_tensor().clone() for name, p in student.module.named_parameters()}
    # As verl's worker reduces it: sum over micro-batches, mean over ranks.
    loss = torch.tensor(sum(outputs["loss"]), dtype=torch.float64)
    torch.distributed.all_reduce(loss)
    loss /= torch.distributed.get_world_size()
    return Update(loss.item(), gradients, {name: rows(value) for name, value in student.token_outputs.items()})


def step(
    teacher: TeacherEngine, student: StudentEngine, batch: Sequence[Row], batching: Batching, **options: Any
) -> Update:
    """A whole training step on one rank: score both views, weigh the tokens, update."""
    scores = score(teacher, batch, batching)
    return update(student, batch, scores["teacher_hidden_states"], weigh(batch, scores, **options), batching)


def relative_errors(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> dict[str, float]:
    """|actual - expected| / |expected| of every parameter's gradient, in the Euclidean norm."""
    assert actual.keys() == expected.keys()
    return {name: ((actual[name] - value).norm() / value.norm()).item() for name, value in expected.items()}
