"""What lies on one GPU in each phase of a step, line by line, and how each line follows.

Phases, in the order of a run: `start` (models are loaded), then every step `rollout` (vLLM samples), `scoring` (the
teacher), `update` (the student learns), `weights` (they go to vLLM). A teacher with GPUs of its own has the phase
`pool` there. Counts of parameters are exact; activations are of the largest micro-batch that the settings allow.

Where it comes from: FSDP2 shards weights, gradients and moments over all ranks, gathers one layer after the other in
the compute dtype and reduces gradients in float32 (verl 0.9.1, workers/engine/fsdp); gradients are freed after a step;
a frozen FSDP2 teacher with param_offload is loaded to the GPU once and streams from main memory afterwards
(engine/response_engine.py); vLLM takes its share while it is awake; logits exist in chunks
(algorithms/chunked_pass.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.algorithms.chunk_sizes import BLOCK_ELEMENTS, CHUNK_SIZE
from verl_vaopd.planning.assumptions import Assumptions
from verl_vaopd.planning.gpus import GpuModel
from verl_vaopd.planning.shapes import Shape, Text
from verl_vaopd.planning.workload import WIDTHS, Workload, compute_width

START, ROLLOUT, SCORING, UPDATE, WEIGHTS, POOL = "start", "rollout", "scoring", "update", "weights", "pool"
PHASES = (START, ROLLOUT, SCORING, UPDATE, WEIGHTS, POOL)
_STEP = (ROLLOUT, SCORING, UPDATE, WEIGHTS)
_ALWAYS = (START, *_STEP)


@dataclass(frozen=True)
class Line:
    """One thing on a GPU: its bytes by phase, and how they follow."""

    name: str
    bytes: dict[str, float]
    how: str


@dataclass(frozen=True)
class Memory:
    """All lines, of one of the student's GPUs and, in the phase `pool`, of one of the teacher's.

    Attributes:
        limit: bytes that a GPU has.
        cache_tokens: tokens whose keys and values vLLM has room for, on one replica.
        longest: tokens of the longest rollout, which must fit there.
    """

    lines: tuple[Line, ...]
    limit: float
    cache_tokens: float
    longest: int

    @property
    def phases(self) -> tuple[str, ...]:
        """Those in which something is there, in order."""
        there = set(chain.from_iterable(line.bytes for line in self.lines))
        return tuple(phase for phase in PHASES if phase in there)

    def total(self, phase: str) -> float:
        """Bytes of a phase."""
        return sum(line.bytes.get(phase, 0.0) for line in self.lines)

    @property
    def peak(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=self.total)

    @property
    def fits(self) -> bool:
        """Whether every phase fits, and the longest rollout into vLLM's cache."""
        return self.total(self.peak) <= self.limit and self.cache_tokens >= self.longest


def memory_of(
    cfg: DictConfig, student: Shape, teacher: Shape, work: Workload, gpu: GpuModel, assumed: Assumptions
) -> Memory:
    """Of a composed configuration on such GPUs."""
    share, cache_bytes, share_how = _vllm_share(cfg, student, gpu, assumed)
    lines = [
        *state_lines(cfg, student, work),
        *_teacher_lines(cfg, student, teacher, work),
        *_pass_lines(cfg, student, teacher, work, assumed),
        _vllm(cfg, share, share_how, assumed),
        _transfer(cfg, student),
        _loading(cfg, student, teacher),
        Line(
            "processes",
            dict.fromkeys((*_ALWAYS, POOL) if _has_pool(cfg) else _ALWAYS, assumed.processes),
            "assumed: CUDA, NCCL, libraries",
        ),
    ]
    tokens = cache_bytes / (student.text.cache_bytes(WIDTHS[cfg.actor_rollout_ref.rollout.dtype]) or 1)
    tokens *= cfg.actor_rollout_ref.rollout.tensor_model_parallel_size
    longest = cfg.data.max_prompt_length + cfg.data.max_response_length
    return Memory(tuple(line for line in lines if line.bytes), gpu.memory, tokens, longest)


def state_lines(cfg: DictConfig, student: Shape, work: Workload) -> list[Line]:
    """The student's weights, gradients and AdamW's two moments: exact."""
    config = cfg.actor_rollout_ref.actor.fsdp_config
    width, shards = WIDTHS[config.model_dtype or "fp32"], _shards(config.fsdp_size, work.ranks)
    frozen = student.vision.parameters if cfg.actor_rollout_ref.actor.freeze_vision_tower else 0
    trained = student.parameters - frozen
    weights, moments = student.parameters * width / shards, 2 * trained * width / shards
    if config.offload_policy:
        return [Line("student's weights", {START: weights}, "then in main memory with gradients and moments")]
    scoring = (SCORING,) if work.objective.needs_gap else ()
    params = (START, *scoring, UPDATE) if config.param_offload else _ALWAYS
    optimizer = (UPDATE,) if config.optimizer_offload else _STEP
    over = _over(shards)
    return [
        Line("student's weights", dict.fromkeys(params, weights), f"{count(student.parameters)} x {width} {over}"),
        Line("AdamW's moments", dict.fromkeys(optimizer, moments), f"{count(trained)} x 2 x {width} {over}"),
        Line("gradients", {UPDATE: moments / 2}, f"{count(trained)} x {width} {over}; freed after the step"),
    ]


def _teacher_lines(cfg: DictConfig, student: Shape, teacher: Shape, work: Workload) -> list[Line]:
    width = WIDTHS[cfg.teacher.dtype]
    weights = teacher.parameters * width / work.teacher_ranks
    how = f"{count(teacher.parameters)} x {width} {_over(work.teacher_ranks)}"
    phases: tuple[str, ...]
    if _has_pool(cfg):
        phases, where = (POOL,), " of the pool"
    elif not cfg.teacher.param_offload:
        phases, where = _ALWAYS, ""
    elif cfg.teacher.strategy == "fsdp2":
        phases, where = (START,), ", then streams from main memory"
    else:
        phases, where = (START, SCORING), ", else in main memory"
    head = Line(
        "teacher's head",
        dict.fromkeys(_ALWAYS, teacher.text.head * width),
        f"{teacher.text.vocab:,} x {teacher.text.hidden:,} x {width} bytes on every rank",
    )
    lines = [Line("teacher's weights", dict.fromkeys(phases, weights), how + where), head]
    if work.objective.scores_rollouts:
        rows, longest = -(-work.rollouts // work.ranks), cfg.data.max_response_length
        views = 2 if work.objective.needs_gap else 1
        kept = rows * longest * teacher.text.hidden * width * views
        there = [UPDATE] if _has_pool(cfg) else [SCORING, UPDATE]
        how = f"{rows} rows x {longest:,} tokens x {teacher.text.hidden:,}"
        lines.append(Line("teacher's states", dict.fromkeys(there, kept), how))
    return lines


def _pass_lines(cfg: DictConfig, student: Shape, teacher: Shape, work: Workload, assumed: Assumptions) -> list[Line]:
    """What exists during forward and backward passes only."""
    actor, model = cfg.actor_rollout_ref.actor, cfg.actor_rollout_ref.model
    own, theirs = compute_width(cfg), WIDTHS[cfg.teacher.dtype]
    scoring = POOL if _has_pool(cfg) else SCORING
    device = "cpu" if cfg.trainer.device == "cpu" else "cuda"
    block = BLOCK_ELEMENTS[device] * 4 * assumed.softmax_copies
    chunk = CHUNK_SIZE * student.text.vocab
    distils = work.objective.needs_teacher
    image = cfg.data.max_prompt_length / (cfg.data.max_prompt_length + cfg.data.max_response_length)
    views = 2 if work.objective.needs_masked_view and work.objective.masked_gradient else 1
    checkpointed = model.enable_gradient_checkpointing
    trained = views * activations(student, work.tokens_trained, image, own, checkpointed, assumed.backward)
    scored = activations(teacher, work.tokens_scored, image, theirs, True, 1, stored=False)
    gathered = {UPDATE: 2.0 * _largest_unit(student) * own, scoring: 2.0 * _largest_unit(teacher) * theirs}
    if not actor.fsdp_config.reshard_after_forward:
        gathered[UPDATE] = float(student.parameters * own)
    # The head gathered, its gradient summed over chunks in float32, and cast for autograd.
    head = {UPDATE: student.text.head * (2.0 * own + 4), scoring: 1.0 * teacher.text.head * theirs}
    logits = {UPDATE: chunk * own + (chunk * theirs if distils else 0) + block, scoring: chunk * theirs + block / 2}
    kernels = {
        UPDATE: (OmegaConf.select(model, "override_config.attn_implementation"), work.tokens_trained),
        scoring: (cfg.teacher.attn_implementation, work.tokens_scored),
    }
    packed = model.use_remove_padding
    mask = {phase: 1.0 * tokens**2 for phase, (kernel, tokens) in kernels.items() if kernel == "sdpa" and packed}
    passes = ({UPDATE: trained, scoring: scored}, logits, mask)
    unused = {phase: assumed.unused * sum(each.get(phase, 0.0) for each in passes) for phase in (UPDATE, scoring)}
    kind = "layers' inputs, one layer" if checkpointed else "all layers (no gradient checkpointing)"
    tokens = f"{work.tokens_trained:,} tokens, {work.tokens_scored:,} scored"
    return [
        Line("gathered layers", gathered, "the largest unit of FSDP and the next"),
        Line("head in passes", head, "gathered; in the update with its gradient"),
        Line("activations", passes[0], f"{kind}: {tokens}"),
        Line("logits", logits, f"{CHUNK_SIZE} tokens at a time, and softmax"),
        *([Line("attention mask", mask, "sdpa: tokens x tokens of a micro-batch")] if mask else []),
        Line("allocator", unused, "assumed: lost between blocks"),
    ]


def activations(
    shape: Shape, tokens: int, image: float, width: int, checkpointed: bool, backward: float, stored: bool = True
) -> float:
    """Bytes of a packed micro-batch at the worst moment: inputs of all layers, and one layer that is being worked on.

    Args:
        image: share of the tokens that are visual.
        width: bytes of a number.
        checkpointed: only inputs of layers are kept; else whole layers are.
        backward: how many times one layer's activations it takes to work on it.
        stored: whether inputs are kept at all: not without gradient.
    """
    text, vision = shape.text, shape.vision
    patches = tokens * image * vision.patches_per_token
    of_text, of_vision = tokens * layer_values(text), patches * (14 * vision.hidden + 2 * vision.intermediate)
    if not checkpointed:
        return float(width * (of_text * text.layers + of_vision * vision.depth))
    inputs = tokens * text.hidden * text.layers + patches * vision.hidden * vision.depth if stored else 0
    # The two towers are not worked on at the same time. Pixels come in float32.
    return float(width * (inputs + backward * max(of_text, of_vision)) + 4 * patches * vision.patch_values)


def layer_values(text: Text) -> int:
    """Numbers per token in one decoder layer: norms (float32 inside), projections with norm and rotation, the MLP."""
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    return 8 * text.hidden + 6 * queries + 7 * keys + 4 * text.intermediate


def _largest_unit(shape: Shape) -> int:
    """Parameters of the largest thing that FSDP gathers at a time, the embedding and the head aside."""
    return max(shape.text.layer, shape.vision.block, shape.vision.mergers)


def _vllm_share(cfg: DictConfig, student: Shape, gpu: GpuModel, assumed: Assumptions) -> tuple[float, float, str]:
    """Bytes of vLLM while it is awake, those of its cache, and how they follow."""
    rollout = cfg.actor_rollout_ref.rollout
    weights = student.parameters * WIDTHS[rollout.dtype] / rollout.tensor_model_parallel_size
    given = OmegaConf.select(rollout, "engine_kwargs.vllm.kv_cache_memory_bytes")
    if given is not None:
        return weights + given, given, "weights and kv_cache_memory_bytes"
    share = rollout.gpu_memory_utilization * gpu.memory
    cache = max(share - weights - assumed.vllm_work, 0.0)
    return share, cache, f"{rollout.gpu_memory_utilization:g} of the GPU (gpu_memory_utilization)"


def _vllm(cfg: DictConfig, share: float, how: str, assumed: Assumptions) -> Line:
    if not cfg.actor_rollout_ref.rollout.free_cache_engine:
        return Line("vLLM", dict.fromkeys(_ALWAYS, share), f"{how}; never asleep")
    asleep = dict.fromkeys((START, SCORING, UPDATE, WEIGHTS), assumed.vllm_asleep)
    return Line("vLLM", {**asleep, ROLLOUT: share}, f"{how}, else asleep")


def _transfer(cfg: DictConfig, student: Shape) -> Line:
    """Weights on their way to vLLM, which has room for them again by then, but not yet for its cache."""
    rollout = cfg.actor_rollout_ref.rollout
    width = WIDTHS[cfg.actor_rollout_ref.actor.fsdp_config.model_dtype or "fp32"]
    bucket = rollout.checkpoint_engine.update_weights_bucket_megabytes * 2**20
    awake = student.parameters * WIDTHS[rollout.dtype] / rollout.tensor_model_parallel_size
    if not rollout.free_cache_engine:
        awake = 0
    needed = bucket + student.text.head * width + awake
    return Line("weights to vLLM", {WEIGHTS: needed}, "vLLM's copy, a bucket, the largest tensor whole")


def _loading(cfg: DictConfig, student: Shape, teacher: Shape) -> Line:
    own = student.text.head * WIDTHS[cfg.actor_rollout_ref.actor.fsdp_config.model_dtype or "fp32"]
    theirs = teacher.text.head * WIDTHS[cfg.teacher.dtype]
    largest = own if _has_pool(cfg) else max(own, theirs)
    return Line("loading", {START: largest}, "the largest tensor, on its way to all ranks")


def _has_pool(cfg: DictConfig) -> bool:
    return bool(cfg.teacher.placement == "pool")


def count(parameters: int) -> str:
    """`2.13e9`, `1.08e6`: for a reader."""
    return f"{parameters / 1e9:.2f}e9" if parameters >= 1e8 else f"{parameters / 1e6:.2f}e6"


def _over(ranks: int) -> str:
    return f"bytes / {ranks} ranks" if ranks > 1 else "bytes"


def _shards(size: int, ranks: int) -> int:
    return ranks if size < 1 else min(size, ranks)
