"""`vaopd eval model=...`: ask every question n times, store the responses, score them."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from verl_vaopd import hub
from verl_vaopd.config.checks.weights import require_whole_weights
from verl_vaopd.evaluation import questions, scoring
from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.chat_client import ChatClient, require_endpoint
from verl_vaopd.evaluation.judge import CachedJudge
from verl_vaopd.evaluation.origin import ORIGIN, note, origin_of
from verl_vaopd.evaluation.questions import QuestionSet
from verl_vaopd.evaluation.settings import benchmark_names, benchmark_of, out_directory
from verl_vaopd.evaluation.sources.endpoint import EndpointSource
from verl_vaopd.evaluation.sources.file import ImportedSource
from verl_vaopd.evaluation.sources.local_vllm import VllmSource, pixel_limits
from verl_vaopd.evaluation.sources.source import Request, Response, Source, row_of
from verl_vaopd.evaluation.speed import SPEED, Speed, require_own_speed
from verl_vaopd.evaluation.storage import Journal, fingerprint, read_rows, stored_identity
from verl_vaopd.evaluation.tables import TABLES
from verl_vaopd.files import require_own_results, sha256_of, write_text
from verl_vaopd.model_weights import fetch_models, is_hub_id
from verl_vaopd.platform import probe_gpus, use_cpu
from verl_vaopd.platform.temporary import own_temporary_files
from verl_vaopd.platform.vllm_engine import request_seed
from verl_vaopd.progress import Bar
from verl_vaopd.provenance import weights_fingerprint
from verl_vaopd.runs.run_dir import CHECKPOINTS, CONFIG

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
    imported = _imported(settings, paths) if settings.responses else None
    if imported is not None:
        settings = settings.copy()
        settings.n = imported.num_samples(settings.n, settings.limit)
        print(imported.describe(settings.n, settings.limit), file=sys.stderr)
    require_own_results(out, TABLES)
    require_own_speed(out / SPEED)
    num_failed = _sample(settings, paths, out, model, imported)
    for name in names:
        _score(settings, benchmark_of(settings, name), out / name, judge)
    if judge is not None:
        print(judge.describe(), file=sys.stderr)
    return out, num_failed


def _sample(
    settings: DictConfig, paths: Mapping[str, Path], out: Path, model: Model, imported: ImportedSource | None
) -> int:
    """Sample what is missing of all benchmarks, in one stream; returns how many responses failed."""
    asked = {name: _asked(settings, benchmark_of(settings, name), path) for name, path in paths.items()}
    with ExitStack() as stack:
        parts = {
            name: stack.enter_context(
                _opened(settings, benchmark_of(settings, name), path, asked[name], out / name, model)
            )
            for name, path in paths.items()
        }
        wanted = sum(part.num_questions * settings.n for part in parts.values())
        present = sum(sample < settings.n for part in parts.values() for _, sample in part.done)
        if present == wanted:
            return 0  # and no engine was started
        stack.enter_context(own_temporary_files())
        source = imported or _source(settings, model, tuple(paths))
        stack.callback(source.close)
        requests = itertools.chain.from_iterable(part.requests(settings) for part in parts.values())
        num_failed = 0
        with (
            Speed(out / SPEED, source.occupancy, source.num_gpus) as speed,
            Bar("sampling", wanted, " responses", done=present) as bar,
        ):
            for group in source.responses(requests):
                for name, part in parts.items():
                    part.store([response for response in group if response.benchmark == name])
                speed.add(group)
                num_failed += sum(response.text is None for response in group)
                bar.set_postfix_str(speed.rate(), refresh=False)
                bar.update(len(group))
        if source.occupancy is not None:
            print(speed, file=sys.stderr)
        return num_failed


@dataclass(frozen=True)
class _Part:
    """One benchmark of the run, its journal open."""

    benchmark: Benchmark
    path: Path
    num_questions: int
    sampling: dict[str, Any]
    config_hash: str
    journal: Journal
    done: set[tuple[str, int]]

    def requests(self, settings: DictConfig) -> Iterator[Request]:
        """For the samples that are missing."""
        for question in itertools.islice(self.benchmark.load(self.path), settings.limit):
            samples = tuple(sample for sample in range(settings.n) if (question.id, sample) not in self.done)
            if samples:
                seed = request_seed(settings.seed, f"{self.benchmark.name} {question.id}")
                yield Request(self.benchmark.name, question, samples, seed)

    def store(self, responses: list[Response]) -> None:
        """In one write; nothing for none."""
        self.journal.append(row_of(response, self.sampling, self.config_hash) for response in responses)


def _asked(settings: DictConfig, benchmark: Benchmark, path: Path) -> QuestionSet:
    """The questions of a part, and on stderr what is noteworthy about them."""
    asked = questions.read_questions(benchmark, path, settings.limit)
    if not settings.responses:
        asked.require_images(path)
    print(asked.notes(path, benchmark), end="", file=sys.stderr)
    return asked


@contextmanager
def _opened(
    settings: DictConfig, benchmark: Benchmark, path: Path, asked: QuestionSet, directory: Path, model: Model
) -> Iterator[_Part]:
    """A part of the run, other processes kept out of it. Raises ValueError if other responses are there."""
    staged = directory / f".{scoring.QUESTIONS}.{os.getpid()}"
    origin = origin_of(path, benchmark.splits)
    print(note(origin), end="", file=sys.stderr)
    try:
        sampling = _sampling(settings, benchmark.name)
        identity = {
            "benchmark": benchmark.name,
            "model": model.identity,
            "sampling": sampling,
            "seed": settings.seed,
            "num_questions": len(asked.lines),
            "questions": asked.digest,
        }
        _require_same_files(settings, path, directory, identity)
        scoring.require_own_scores(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_text(staged, "".join(asked.lines))
        if not (directory / scoring.RESPONSES).exists():  # otherwise it says what is different
            _require_questions(staged, directory / scoring.QUESTIONS)
        with Journal(directory / scoring.RESPONSES, identity) as journal:
            _require_questions(staged, directory / scoring.QUESTIONS)
            staged.replace(directory / scoring.QUESTIONS)
            write_text(directory / ORIGIN, json.dumps(origin, indent=1) + "\n")
            done = _done(journal.path)
            yield _Part(benchmark, path, len(asked.lines), sampling, fingerprint(identity), journal, done)
    finally:
        staged.unlink(missing_ok=True)


def _require_same_files(settings: DictConfig, questions_file: Path, directory: Path, now: Mapping[str, Any]) -> None:
    """Check that what is there is of the same responses, and of the same questions where nothing else is different.

    Raises:
        ValueError: a file that has changed. All other differences are told by the journal.
    """
    path = directory / scoring.RESPONSES
    there = stored_identity(path) or now
    fix = f"name another directory with out=, or remove {directory} to begin anew"
    if settings.responses and there["model"] != now["model"]:
        what = "responses of a model" if there["sampling"] else "other ones (the file has changed, or is another)"
        raise ValueError(f"responses: got {settings.responses}, but {path} holds {what}; expected the same ones; {fix}")
    if [key for key in now if now[key] != there[key]] == ["questions"]:
        raise ValueError(
            f"{questions_file}: got as many questions as {path} answers, but with other ids, texts, images or fields; "
            f"expected the file as it was; {fix}"
        )


def _require_questions(staged: Path, path: Path) -> None:
    """Raise ValueError if other questions than those of this run are there."""
    if path.exists() and path.read_bytes() != staged.read_bytes():
        raise ValueError(
            f"{path}: got other questions than this run's, expected the same or no such file; move it away, or name "
            "another directory with out="
        )


def _done(path: Path) -> set[tuple[str, int]]:
    """Question and sample of every response; failed calls are made again."""
    return {(row["question"], row["sample"]) for row in read_rows(path) if row["response"] is not None}


def _score(settings: DictConfig, benchmark: Benchmark, directory: Path, judge: CachedJudge | None) -> None:
    asks = judge if settings.protocol == "official" else None
    num_responses = sum(1 for _ in scoring.read_questions(directory)) * settings.n
    with Bar(f"{benchmark.name} scores", num_responses, " responses") as bar:
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
            raise ValueError(f"responses: got {path}, expected a file that exists")
        return Model(None, sha256_of(path))
    if settings.endpoint:
        require_endpoint("endpoint", settings.endpoint)
        return Model(None, f"{settings.model} at {settings.endpoint}")
    path = Path(settings.model).expanduser()
    if (path / CONFIG).is_file() and (path / CHECKPOINTS).is_dir():
        path = _exported(path)
    elif path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: got {path}, which has no config.json; expected a Hugging Face or a run directory")
    if path.is_dir():
        require_whole_weights("model", path)
    found = str(path) if path.is_dir() else settings.model
    with hub.told(found, "model"):
        return Model(found, weights_fingerprint(found))


def _exported(run: Path) -> Path:
    """The best checkpoint of a run as a Hugging Face directory, made if it is not there yet."""
    use_cpu(not probe_gpus())
    from verl_vaopd.runs.export import export, resolve_checkpoint

    out = run / "export" / resolve_checkpoint(run, "best").name
    return out if out.is_dir() else export(run)


def _imported(settings: DictConfig, paths: Mapping[str, Path]) -> ImportedSource:
    ids = {name: questions.question_ids(benchmark_of(settings, name), path) for name, path in paths.items()}
    return ImportedSource(Path(settings.responses).expanduser(), ids)


def _source(settings: DictConfig, model: Model, names: tuple[str, ...]) -> Source:
    if settings.endpoint:
        client = ChatClient(settings.endpoint, settings.key_env, settings.timeout, settings.attempts)
        return EndpointSource(client, settings.model, _sampling(settings, names[0]), settings.concurrency)
    assert model.path is not None
    if is_hub_id(model.path):
        fetch_models({model.path: "model"})
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
