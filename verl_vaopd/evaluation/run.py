"""`vaopd eval model=...`: ask every question n times, store the responses, score them."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from verl_vaopd.config import probe_gpus
from verl_vaopd.data.stored_settings import weights_fingerprint
from verl_vaopd.evaluation import questions, scoring
from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.chat_client import ChatClient, require_endpoint
from verl_vaopd.evaluation.endpoint import EndpointSource
from verl_vaopd.evaluation.imported import ImportedSource
from verl_vaopd.evaluation.judge import CachedJudge
from verl_vaopd.evaluation.requests import Request, Source, row_of
from verl_vaopd.evaluation.sampling import VllmSource, pixel_limits
from verl_vaopd.evaluation.settings import benchmark_names, out_directory
from verl_vaopd.evaluation.storage import Journal, fingerprint, read_rows
from verl_vaopd.platform.vllm_engine import request_seed, set_cpu_environment
from verl_vaopd.trainer.run_dir import CHECKPOINTS, CONFIG

_JUDGE_CACHE = "judge-cache.jsonl"


@dataclass(frozen=True)
class Model:
    """What answers: `path` for vLLM, `identity` for the journal."""

    path: str | None
    identity: str


def run(settings: DictConfig) -> tuple[Path, int]:
    """Do what is missing of an evaluation.

    Args:
        settings: settings.parse.
    Returns: the run's directory, and how many responses failed (run again to make them again).
    Raises:
        ValueError: before anything is sampled, if something is missing or the directory holds another evaluation.
    """
    names = benchmark_names(settings)
    paths = questions.require_data(settings, names)
    judge = _judge(settings)
    model = _model(settings)
    out = out_directory(settings)
    source = _Lazy(lambda: _source(settings, model, names))
    num_failed = 0
    try:
        for name in names:
            num_failed += _evaluate(settings, BENCHMARKS[name], paths[name], out / name, model, source)
    finally:
        source.close()
    for name in names:
        _score(settings, BENCHMARKS[name], out / name, judge)
    if judge is not None:
        print(judge.describe(), file=sys.stderr)
    return out, num_failed


def _evaluate(
    settings: DictConfig, benchmark: Benchmark, path: Path, directory: Path, model: Model, source: _Lazy
) -> int:
    """Sample what is missing of one benchmark; returns how many responses failed."""
    staged = directory / f".{scoring.QUESTIONS}.{os.getpid()}"
    try:
        asked = questions.write_questions(benchmark, path, settings.limit, staged)
        sampling = _sampling(settings, benchmark.name)
        identity = {
            "benchmark": benchmark.name,
            "model": model.identity,
            "sampling": sampling,
            "seed": settings.seed,
            "num_questions": asked.num_questions,
            "questions": asked.digest,
        }
        with Journal(directory / scoring.RESPONSES, identity) as journal:
            staged.replace(directory / scoring.QUESTIONS)
            done = _done(journal.path)
            wanted = asked.num_questions * settings.n
            present = sum(sample < settings.n for _, sample in done)
            if present == wanted:
                return 0
            requests = _requests(settings, benchmark, path, done)
            config_hash = fingerprint(identity)
            answers = source.get().responses(requests)
            num_failed = 0
            with _bar(benchmark.name, wanted, present) as bar:
                rate = _TokenRate(bar)
                for group in answers:
                    journal.append(row_of(response, sampling, config_hash) for response in group)
                    num_failed += sum(response.text is None for response in group)
                    rate.add(sum(response.num_tokens or 0 for response in group))
                    bar.update(len(group))
            return num_failed
    finally:
        staged.unlink(missing_ok=True)


def _requests(settings: DictConfig, benchmark: Benchmark, path: Path, done: set[tuple[str, int]]) -> Iterator[Request]:
    for number, question in enumerate(benchmark.load(path)):
        if number == settings.limit:
            return
        samples = tuple(sample for sample in range(settings.n) if (question.id, sample) not in done)
        if samples:
            seed = request_seed(settings.seed, f"{benchmark.name} {question.id}")
            yield Request(benchmark.name, question, samples, seed)


def _done(path: Path) -> set[tuple[str, int]]:
    """Question and sample of every response; failed calls are made again."""
    return {(row["question"], row["sample"]) for row in read_rows(path) if row["response"] is not None}


def _score(settings: DictConfig, benchmark: Benchmark, directory: Path, judge: CachedJudge | None) -> None:
    asks = judge if settings.protocol == "official" else None
    num_responses = sum(1 for _ in scoring.read_questions(directory)) * settings.n
    with _bar(f"{benchmark.name} scores", num_responses, 0) as bar:
        concurrency = settings.judge.concurrency if asks else 1
        scoring.score_responses(benchmark, directory, settings.protocol, settings.n, asks, concurrency, bar.update)


def _sampling(settings: DictConfig, benchmark: str) -> dict[str, Any]:
    """What decides the distribution of the responses, besides the model."""
    if settings.responses:
        return {}
    chosen = {name: settings[name] for name in ("temperature", "top_p", "max_tokens")}
    return chosen if settings.endpoint else chosen | pixel_limits(settings, benchmark)


def _model(settings: DictConfig) -> Model:
    if settings.responses:
        path = Path(settings.responses).expanduser()
        if not path.is_file():
            raise ValueError(f"responses: got {path}, expected a JSONL file that exists")
        with path.open("rb") as file:
            return Model(None, hashlib.file_digest(file, "sha256").hexdigest())
    if settings.endpoint:
        require_endpoint("endpoint", settings.endpoint)
        return Model(None, f"{settings.model} at {settings.endpoint}")
    path = Path(settings.model).expanduser()
    if (path / CONFIG).is_file() and (path / CHECKPOINTS).is_dir():
        path = _exported(path)
    elif path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: got {path}, which has no config.json; expected a Hugging Face or a run directory")
    found = str(path) if path.is_dir() else settings.model
    return Model(found, weights_fingerprint(found))


def _exported(run: Path) -> Path:
    """The best checkpoint of a run as a Hugging Face directory, made if it is not there yet."""
    if not probe_gpus():
        set_cpu_environment()
    from verl_vaopd.trainer.export import export, resolve_checkpoint

    out = run / "export" / resolve_checkpoint(run, "best").name
    return out if out.is_dir() else export(run)


def _source(settings: DictConfig, model: Model, names: tuple[str, ...]) -> Source:
    if settings.responses:
        return ImportedSource(Path(settings.responses).expanduser(), names)
    if settings.endpoint:
        client = ChatClient(settings.endpoint, settings.key_env, settings.timeout, settings.attempts)
        return EndpointSource(client, settings.model, _sampling(settings, names[0]), settings.concurrency)
    assert model.path is not None
    return VllmSource(settings, model.path, on_cpu=not probe_gpus())


def _judge(settings: DictConfig) -> CachedJudge | None:
    chosen = settings.judge
    if chosen.model is None:
        return None
    if settings.protocol != "official":
        raise ValueError(f"judge.model: got one for protocol={settings.protocol}, which asks none; leave it out")
    require_endpoint("judge.endpoint", chosen.endpoint)
    cache = Path(chosen.cache).expanduser() if chosen.cache else out_directory(settings) / _JUDGE_CACHE
    return CachedJudge(chosen, cache, ChatClient(chosen.endpoint, chosen.key_env, chosen.timeout, chosen.attempts))


def _bar(name: str, total: int, initial: int) -> tqdm:
    # A file is not redrawn: it gets a line every half minute.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=initial, desc=name, unit=" responses", mininterval=interval, file=sys.stderr)


class _TokenRate:
    """Tokens per second since the first responses were asked for, on a progress bar."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._start, self._tokens = bar, time.monotonic(), 0

    def add(self, num_tokens: int) -> None:
        self._tokens += num_tokens
        self._bar.set_postfix_str(f"{self._tokens / (time.monotonic() - self._start):.0f} tokens/s", refresh=False)


class _Lazy:
    """A source that is made when it is first needed: a finished run starts no engine."""

    def __init__(self, make: Callable[[], Source]) -> None:
        self._make, self._source = make, None

    _source: Source | None

    def get(self) -> Source:
        if self._source is None:
            self._source = self._make()
        return self._source

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
