"""`vaopd collect`: responses of the teacher to every training prompt, sampled with vLLM, verified and stored.

A part (collect.prompts_per_part prompts) is sampled in one go, with one seed per prompt and nothing left over from the
part before. So an interrupted collection, run again, ends with the same responses as one that was not. On GPUs nearly
so: vLLM's batches depend on timing there, and the last digits of the logits on the batches.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf

from verl_vaopd.data.generated import generate
from verl_vaopd.data.scoring import Verifier, tell_unscored
from verl_vaopd.data.stored import Collection, StoredPrompt, StoredResponses, is_collected, require_collection
from verl_vaopd.data.stored_settings import made_with, training_file
from verl_vaopd.limited_process import Limits
from verl_vaopd.platform import use_cpu, verify_registration
from verl_vaopd.platform.temporary import own_temporary_files
from verl_vaopd.platform.vllm_engine import cpu_engine_options, forget, request_seed, start_engine
from verl_vaopd.progress import Bar
from verl_vaopd.provenance import package_versions, source_version
from verl_vaopd.rollout.row_check import require_made_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import LLM, CompletionOutput

    from verl_vaopd.rollout.prompts import Prompt

ENGINE_SETTINGS = ("enforce_eager", "max_num_seqs", "max_num_batched_tokens", "max_model_len")
"""Settings of the rollout engine (actor_rollout_ref.rollout) that hold for the teacher's too."""


@dataclass(frozen=True)
class Sample:
    """One sampled response and its verdict."""

    token_ids: list[int]
    text: str
    """Without special tokens."""
    ended: bool
    """By an end token, not by the length limit."""
    well_formed: bool
    correct: bool


def main(argv: Sequence[str] | None = None) -> None:
    """`python -m verl_vaopd.rollout.collect CONFIG`: what a training on stored responses runs before it starts.

    A complete collection is used whatever its seed, so that runs that differ in theirs train on the same responses.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the job's configuration, resolved")
    cfg = OmegaConf.load(parser.parse_args(argv).config)
    assert isinstance(cfg, DictConfig)
    if not is_collected(cfg):
        collect(cfg)


def collect(cfg: DictConfig) -> Path:
    """Collect what is missing in `collect.path`, and print what there is.

    Args:
        cfg: the job's configuration, validated.
    Returns: the directory (data/stored.py describes it).
    Raises:
        ValueError: if the directory was made with other settings, or is being written.
    """
    directory, train_file = Path(cfg.collect.path).expanduser(), training_file(cfg)
    require_collection(directory)
    use_cpu(cfg.trainer.device == "cpu")
    generate(cfg)
    require_made_rows(cfg)
    provenance = {
        "teacher": cfg.teacher.path,
        "train_file": str(train_file),
        "packages": package_versions(),
        "source": source_version(),
    }
    num_prompts = pq.read_metadata(train_file).num_rows
    with Collection(directory, made_with(cfg), num_prompts, provenance) as collection:
        if collection.missing():
            with own_temporary_files():
                _collect_missing(cfg, train_file, collection, num_prompts)
    print(summary_text(StoredResponses(directory).summary()))
    return directory


def select(index: str, samples: Sequence[Sample], keep: int) -> StoredPrompt:
    """The first `keep` different samples that ended, are well-formed and correct; and what became of the others."""
    usable = [sample for sample in samples if sample.ended and sample.well_formed]
    correct = [sample for sample in usable if sample.correct]
    different: dict[tuple[int, ...], Sample] = {}
    for sample in correct:
        different.setdefault(tuple(sample.token_ids), sample)
    kept = list(different.values())[:keep]
    num_ended = sum(sample.ended for sample in samples)
    return StoredPrompt(
        index=index,
        responses=[sample.token_ids for sample in kept],
        texts=[sample.text for sample in kept],
        num_sampled=len(samples),
        num_correct=len(correct),
        num_malformed=num_ended - len(usable),
        num_truncated=len(samples) - num_ended,
        num_duplicates=len(correct) - len(different),
        pass_rate=len(correct) / len(samples),
    )


def verify(output: CompletionOutput, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, verifier: Verifier) -> Sample:
    """The verdict on one response, by the rule of the prompt's data set."""
    token_ids = list(output.token_ids)
    ended = output.finish_reason == "stop"
    text = tokenizer.decode(token_ids, skip_special_tokens=True)
    verdict = verifier.verify(solution_str=text, **prompt.verification)
    # Such as the start of another turn, of an image that is not there, or a row of padding in the head: it would break
    # training.
    content = token_ids[:-1] if ended else token_ids
    is_plain = max(content, default=0) < len(tokenizer) and not set(content) & set(tokenizer.all_special_ids)
    return Sample(
        token_ids=token_ids,
        text=text,
        ended=ended,
        well_formed=is_plain and bool(verdict["well_formed"]),
        correct=bool(verdict["acc"]),
    )


def summary_text(summary: dict[str, int | float]) -> str:
    """What was collected, for a reader."""
    return "\n".join(
        [
            f"prompts    {summary['num_prompts']}, {summary['num_prompts_without']} of them without a kept response",
            f"responses  {summary['num_kept']} kept of {summary['num_sampled']} sampled, "
            f"{100 * summary['pass_rate']:.1f} % passed",
            "dropped    "
            + ", ".join(
                f"{summary[f'num_{reason}']} {name}"
                for reason, name in (
                    ("truncated", "truncated"),
                    ("malformed", "malformed"),
                    ("wrong", "wrong"),
                    ("duplicates", "duplicates"),
                    ("surplus", "beyond collect.keep"),
                )
            ),
        ]
    )


def _collect_missing(cfg: DictConfig, train_file: Path, collection: Collection, num_prompts: int) -> None:
    from verl_vaopd.rollout.prompts import TrainingPrompts

    verify_registration()
    prompts = TrainingPrompts(cfg, train_file)
    assert len(prompts) == num_prompts
    engine = _engine(cfg)
    parts = collection.missing()
    with (
        contextlib.closing(Verifier(Limits(**cfg.verification))) as verifier,
        Bar("collecting", num_prompts, " prompts", done=parts[0].start) as bar,
    ):
        for part in parts:
            batch = prompts.build(part)
            samples = _sample(cfg, engine, batch, bar)
            collection.append(
                [
                    select(
                        prompt.index,
                        [verify(output, prompt, prompts.tokenizer, verifier) for output in outputs],
                        cfg.collect.keep,
                    )
                    for prompt, outputs in zip(batch, samples, strict=True)
                ]
            )
    if told := tell_unscored(verifier.take_unscored(), "collection"):
        print(told)


def _engine(cfg: DictConfig) -> LLM:
    rollout = cfg.actor_rollout_ref.rollout
    options = {key: rollout[key] for key in ENGINE_SETTINGS}
    if cfg.trainer.device == "cpu":
        options |= {"gpu_memory_utilization": rollout.gpu_memory_utilization, **cpu_engine_options()}
    else:  # the engine has the GPUs to itself: rollout.gpu_memory_utilization leaves room for training
        options["tensor_parallel_size"] = cfg.trainer.n_gpus_per_node
    options |= OmegaConf.to_container(rollout.engine_kwargs.vllm, resolve=True)
    return start_engine(model=cfg.teacher.path, dtype=cfg.teacher.dtype, seed=cfg.run.seed, **options)


def _sample(cfg: DictConfig, engine: LLM, prompts: Sequence[Prompt], bar: Bar) -> list[list[CompletionOutput]]:
    """`collect.n` responses to each prompt."""
    from vllm import SamplingParams

    settings = cfg.collect
    params = [
        SamplingParams(
            n=settings.n,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=cfg.data.max_response_length,
            seed=request_seed(cfg.run.seed, prompt.index),
            detokenize=False,
        )
        for prompt in prompts
    ]
    forget(engine)
    engine.enqueue([prompt.engine_input for prompt in prompts], params, use_tqdm=False)
    outputs = []
    while engine.llm_engine.has_unfinished_requests():
        done = [output for output in engine.llm_engine.step() if output.finished]
        outputs += done
        bar.update(len(done))
    outputs.sort(key=lambda output: int(output.request_id))  # vLLM numbers requests as they come
    for prompt, output in zip(prompts, outputs, strict=True):
        assert output.prompt_token_ids == prompt.token_ids, "vLLM and the trainer expand the images differently"
    return [output.outputs for output in outputs]


if __name__ == "__main__":
    main()
