"""Responses sampled with vLLM on this machine, every sample with a seed of its own.

On GPUs the engine is kept full: as soon as a question is done the next one comes in, of whichever benchmark. On the
CPU, where the tests need the very same responses after a restart, a group of questions is sampled to its end before the
next one, and stored as one: the last digits of the logits depend on what else is in a batch.

A question's images are decoded and processed once, for all its samples, which share the prompt in vLLM's prefix cache.
Decoded images are dropped as soon as vLLM has processed them, and how many questions are in the engine is bounded by
their images as well, so that host memory does not grow with the size of a benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.config import recipes_dir
from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.sources.occupancy import Occupancy
from verl_vaopd.evaluation.sources.source import Request, Response
from verl_vaopd.image_sizes import DO_NOT_RESIZE, ImageSizes
from verl_vaopd.platform import use_cpu
from verl_vaopd.platform.vllm_engine import cpu_engine_options, forget, start_engine

if TYPE_CHECKING:
    from PIL.Image import Image
    from vllm import RequestOutput, SamplingParams

_PIXELS_IN_ENGINE = 40_000_000
"""Of the images of unfinished questions. A pixel takes 24 bytes of host memory when it is processed (2 frames of 3
float32): 1 GB."""
_IMAGE_CACHE_GIB = 0.5
"""For questions about the same image that follow each other; vLLM's default of 4 GiB would be twice the rest."""


class VllmSource:
    """vLLM's offline engine.

    Args:
        settings: settings.Settings.
        model: Hugging Face directory or id.
        on_cpu: whether to run without GPU, with the options of recipes/hardware/cpu.yaml.
    """

    def __init__(self, settings: DictConfig, model: str, on_cpu: bool) -> None:
        options: dict[str, Any] = {"seed": settings.seed, "mm_processor_cache_gb": _IMAGE_CACHE_GIB}
        use_cpu(on_cpu)
        if on_cpu:
            options |= cpu_recipe_options() | cpu_engine_options()
        options |= OmegaConf.to_container(settings.engine)
        self._engine = start_engine(model=model, **options)
        self._settings, self._model, self._in_groups = settings, model, on_cpu
        config = self._engine.llm_engine.vllm_config
        num_slots = config.scheduler_config.max_num_seqs
        # Beside those that run, as many wait, so that the engine never does.
        self._max_samples = num_slots if on_cpu else 2 * num_slots
        self.num_gpus = 0 if on_cpu else config.parallel_config.world_size_across_dp
        self.occupancy = Occupancy(num_slots)

    def responses(self, requests: Iterable[Request]) -> Iterator[list[Response]]:
        """See source.Source."""
        self._note_occupancy()
        waiting = _Ahead(requests)
        running: dict[str, _Running] = {}
        group: list[Response] = []
        while running or waiting:
            if not (running and self._in_groups):
                if self._in_groups:
                    forget(self._engine)
                self._fill(waiting, running)
            for output in self._engine.llm_engine.step():
                if output.finished:
                    group += _responses(running.pop(output.request_id), output)
            self._note_occupancy()
            if group and not (running and self._in_groups):
                yield group
                group = []

    def close(self) -> None:
        """Stop the engine's processes."""
        self._engine.llm_engine.engine_core.shutdown()

    def _note_occupancy(self) -> None:
        self.occupancy.note(self._engine.llm_engine.get_num_unfinished_requests())

    def _fill(self, waiting: _Ahead, running: dict[str, _Running]) -> None:
        while waiting and self._has_room(waiting.next, running.values()):
            request = waiting.take()
            running[self._enqueue(request)] = _Running(
                request.benchmark, request.question.id, request.samples, request.seed, self._pixels(request)
            )
            self._note_occupancy()

    def _has_room(self, request: Request, running: Collection[_Running]) -> bool:
        if not running:
            return True
        if self._in_groups and any(one.benchmark != request.benchmark for one in running):
            return False  # a group is stored as one, so in one file
        num_samples = len(request.samples) + sum(len(one.samples) for one in running)
        return num_samples <= self._max_samples and (
            self._pixels(request) + sum(one.pixels for one in running) <= _PIXELS_IN_ENGINE
        )

    def _enqueue(self, request: Request) -> str:
        prompt = self._prompt(request)
        try:
            (key,) = self._engine.enqueue([prompt], [self._params(request)], use_tqdm=False)
        except ValueError as error:
            raise ValueError(f"{request.benchmark}: question {request.question.id}: {error}") from error
        # vLLM gives back its own name of the request, our number with a suffix; outputs have the number.
        return key.partition("-")[0]

    def _prompt(self, request: Request) -> dict[str, Any]:
        """The user's message in the model's chat template, one placeholder per image, and the images."""
        messages = [{"role": "user", "content": message_content(request.question)}]
        tokenizer = self._engine.get_tokenizer()
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt: dict[str, Any] = {"prompt": text}
        if images := images_of(request.question):
            sizes = self._sizes(request.benchmark)
            resized = [sizes.resize(image) for image in images]
            prompt |= {"multi_modal_data": {"image": resized}, "mm_processor_kwargs": DO_NOT_RESIZE}
        return prompt

    def _params(self, request: Request) -> SamplingParams:
        from vllm import SamplingParams

        return SamplingParams(
            n=len(request.samples),
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            max_tokens=self._settings.max_tokens,
            seed=request.seed + request.samples[0],
        )

    def _pixels(self, request: Request) -> int:
        """Of its images as they are read."""
        images = images_of(request.question)
        return sum(math.prod(self._sizes(request.benchmark).fit(*image.size)) for image in images)

    def _sizes(self, benchmark: str) -> ImageSizes:
        limits = pixel_limits(self._settings, benchmark)
        return ImageSizes.of_model(self._model, limits.get("min_pixels"), limits.get("max_pixels"))


def message_content(question: Question) -> list[dict[str, str]]:
    """The parts of a user message as chat templates take them: images as placeholders."""
    return [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in question.content]


def images_of(question: Question) -> list[Image]:
    """Its images, in order, RGB. Raises ValueError for one that is none (image_files.load_image)."""
    try:
        return [part.image for part in question.content if isinstance(part, ImagePart)]
    except ValueError as error:
        raise ValueError(f"question {question.id}: {error}") from None


def pixel_limits(settings: DictConfig, benchmark: str) -> dict[str, int]:
    """Of a benchmark's images, without those that the model's image processor has of its own."""
    if not BENCHMARKS[benchmark].resizes:
        return {}
    limits = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    return {name: value for name, value in limits.items() if value is not None}


def cpu_recipe_options() -> dict[str, Any]:
    """Arguments of vllm.LLM for the tiny models on the CPU."""
    rollout = OmegaConf.load(recipes_dir() / "hardware" / "cpu.yaml").actor_rollout_ref.rollout
    names = ("dtype", "enforce_eager", "max_num_seqs")
    return {name: rollout[name] for name in names} | OmegaConf.to_container(rollout.engine_kwargs.vllm)


@dataclass(frozen=True)
class _Running:
    """A request in the engine, without its decoded images."""

    benchmark: str
    question: str
    samples: tuple[int, ...]
    seed: int
    pixels: int


class _Ahead:
    """An iterator of which the next item can be looked at; true while there is one."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._rest = (part for request in requests for part in _contiguous(request))
        self._next = next(self._rest, None)

    def __bool__(self) -> bool:
        return self._next is not None

    @property
    def next(self) -> Request:
        assert self._next is not None
        return self._next

    def take(self) -> Request:
        request, self._next = self.next, next(self._rest, None)
        return request


def _contiguous(request: Request) -> Iterator[Request]:
    """Requests for samples without a gap: vLLM counts seeds up from the first one's."""
    runs: list[list[int]] = []
    for sample in request.samples:
        if runs and sample == runs[-1][-1] + 1:
            runs[-1].append(sample)
        else:
            runs.append([sample])
    for run in runs:
        yield Request(request.benchmark, request.question, tuple(run), request.seed)


def _responses(request: _Running, output: RequestOutput) -> list[Response]:
    return [
        Response(
            benchmark=request.benchmark,
            question=request.question,
            sample=sample,
            seed=request.seed + sample,
            text=completion.text,
            finish_reason=completion.finish_reason,
            num_tokens=len(completion.token_ids),
        )
        for sample, completion in zip(request.samples, sorted(output.outputs, key=lambda o: o.index), strict=True)
    ]
