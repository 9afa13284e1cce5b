"""Overlong prompts are an error before training starts: they are neither cut through image tokens nor dropped.

verl's agent loop refuses a multimodal prompt that is too long, which would lose the prompt in the middle of a run. Here
every prompt is measured by the check of the rows. How many tokens an image becomes follows from its size.
transformers is imported where a prompt is measured: the commands that have it done import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_vaopd.data.rows import Row, RowError, Verbatim
from verl_vaopd.data.stored import stored_responses
from verl_vaopd.image_sizes import ImageSizes
from verl_vaopd.platform import activate
from verl_vaopd.rollout.privilege import reference_tokens


@dataclass(frozen=True)
class Limits:
    """What measures prompts, and how long they may be: what a checking process is sent.

    Attributes:
        student: path of the model whose processor and chat template make the prompts.
        max_length: data.max_prompt_length, in tokens.
        max_privileged_length: of a prompt with a reference solution in it.
        privilege: `privilege` of the configuration; None where no teacher reads a reference.
        pixels: dataset.min_pixels and dataset.max_pixels.
        template: arguments of the chat template.
    """

    student: str
    max_length: int
    max_privileged_length: int
    privilege: dict[str, str] | None
    pixels: tuple[int | None, int | None]
    template: dict[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig, privileged: bool) -> Limits:
        """Of a job's configuration; privileged: whether the teacher reads a reference solution of these prompts."""
        data = config.data
        return cls(
            student=config.student.path,
            max_length=data.max_prompt_length,
            max_privileged_length=data.max_prompt_length + data.max_response_length,
            privilege=OmegaConf.to_container(config.privilege, resolve=True) if privileged else None,
            pixels=(data.rows.min_pixels, data.rows.max_pixels),
            template=OmegaConf.to_container(data.apply_chat_template_kwargs, resolve=True),
        )

    def measure(self) -> PromptMeasure:
        """What checks prompts against these limits. Raises ValueError if the student has no processor."""
        activate()
        from transformers import AutoProcessor

        try:
            return PromptMeasure(self, AutoProcessor.from_pretrained(self.student))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"student.path: got {self.student}, whose processor cannot be loaded; expected a Hugging Face id or a "
                f"directory with a model's processor and tokenizer; correct it ({' '.join(str(error).split())})"
            ) from None


class PromptMeasure:
    """Raises RowError for a prompt that has no room, called with a row and the (width, height) of its images."""

    def __init__(self, limits: Limits, processor: Any) -> None:
        self._limits, self._processor = limits, processor
        self._sizes = ImageSizes.of(processor.image_processor, *limits.pixels)

    def __call__(self, row: Row, sizes: Sequence[tuple[int, int]]) -> None:
        """See the class."""
        limits, length = self._limits, self.length(row, sizes)
        if length > limits.max_length:
            error = RowError(
                "prompt",
                "too long",
                Verbatim(f"{length} tokens, images included"),
                f"at most data.max_prompt_length={limits.max_length}",
                "raise it to that of the longest prompt" + (", or lower dataset.max_pixels" if sizes else ""),
            )
            error.num_tokens = length
            raise error
        if limits.privilege is None:
            return
        column = limits.privilege["reference"]
        inserted = reference_tokens(row, limits.privilege, self._processor.tokenizer)
        if length + len(inserted) > limits.max_privileged_length:
            raise RowError(
                column,
                "too long a reference solution",
                Verbatim(f"{length} + {len(inserted)} tokens with the prompt"),
                f"at most data.max_prompt_length + data.max_response_length = {limits.max_privileged_length}",
                "raise one of them",
            )

    def length(self, row: Row, sizes: Sequence[tuple[int, int]]) -> int:
        """Tokens of one prompt as the agent loop builds it: chat template, text, and every image's visual tokens."""
        text = self._rendered([_without_bytes(message) for message in row.messages])
        num_places = text.count(self._processor.image_token)
        if num_places != len(sizes):
            raise RowError(
                "prompt",
                "not as many places for images as images",
                Verbatim(f"{num_places} in the chat template's text for {len(sizes)} images"),
                "one for each image",
                f"take {self._processor.image_token} out of the text",
            )
        # The rendered text holds one placeholder token per image.
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + sum(
            self._visual_tokens(place, *size) - 1 for place, size in enumerate(sizes)
        )

    def _rendered(self, messages: list[dict[str, Any]]) -> str:
        from jinja2 import TemplateError

        try:
            return self._processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **self._limits.template
            )
        except TemplateError as error:
            got, expected = Verbatim(error), "messages that the student's chat template takes"
            raise RowError("prompt", "refused by the chat template", got, expected, "change their roles") from None

    def _visual_tokens(self, place: int, width: int, height: int) -> int:
        num_tokens = self._sizes.num_tokens(width, height)
        if num_tokens < 1:
            got = Verbatim("{} x {} after resizing".format(*self._sizes.fit(width, height)))
            raise RowError(f"images[{place}]", "no size is left", got, "at least 1 pixel", "raise dataset.max_pixels")
        return num_tokens


def _without_bytes(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as chat templates take it; they only ask where an image is."""
    content = message["content"]
    if isinstance(content, str):
        return dict(message)
    return {**message, "content": [{"type": "image"} if part["type"] == "image" else part for part in content]}


def require_responses_fit(config: DictConfig) -> None:
    """Check that every stored response has at most `data.max_response_length` tokens; they are never cut.

    Raises:
        ValueError: naming the longest; or what was collected with other settings than this job's.
    """
    stored = stored_responses(config.collect.path)
    stored.require_made_with(config)
    longest, limit = stored.max_length(), config.data.max_response_length
    if longest > limit:
        raise ValueError(
            f"{config.collect.path}: a stored response has {longest} tokens, expected at most "
            f"data.max_response_length={limit}; raise it, or collect with this limit into another collect.path"
        )
