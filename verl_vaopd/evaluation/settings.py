"""What `vaopd eval` is asked for: KEY=VALUE words, and the only home of their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from verl_vaopd.config.schema import DatasetConfig
from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER


@dataclass
class JudgeSettings:
    """The model that `protocol=official` asks where the published protocol asks one."""

    model: str | None = None
    """Its name at the endpoint; null: no judge, and what needs one stays unscored."""
    endpoint: str = "https://api.openai.com/v1"
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; none is sent if it is not set."""
    concurrency: int = 16
    """Calls at a time."""
    max_tokens: int = 256
    timeout: float = 120.0
    """Seconds for one attempt."""
    attempts: int = 5
    """Of one call; pauses between them double from one second on."""
    input_price: float | None = None
    """Price of a million prompt tokens; with output_price, the cost is told."""
    output_price: float | None = None
    cache: str | None = None
    """JSONL file of all replies; null: judge-cache.jsonl in the run's directory."""


@dataclass
class Settings:
    """One evaluation. Exactly one of model (sampled here), endpoint (with the model's name there) and responses."""

    model: str | None = None
    """Hugging Face directory or id, or a run directory (its best checkpoint)."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1."""
    responses: str | None = None
    """JSONL made elsewhere: benchmark, question, sample, response; finish_reason and num_tokens if known."""
    benchmarks: str = "all"
    """Names with commas between them; all: those of the paper."""
    data: str = "datasets"
    """Directory of the benchmarks' files."""
    files: dict[str, str] = field(default_factory=dict)
    """File or directory of a single benchmark: files.mathvista=PATH."""
    out: str | None = None
    """The run's directory; null: eval/NAME, after the model."""
    protocol: str = "rule"
    random_fallback: bool = False
    """With protocol=official: guess where the official parser does (MMMU; AI2D and MMStar behind a judge), seeded."""
    grouping: str = "official"
    """Of HallusionBench: official, or vlmevalkit."""
    n: int = 8
    """Samples per question."""
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 4096
    """Of a response."""
    seed: int = 0
    limit: int | None = None
    """Only the first so many questions of each benchmark."""
    min_pixels: int | None = DatasetConfig.min_pixels
    """Of an image; null: as the model's processor has it. (Some benchmarks' images are never resized.)"""
    max_pixels: int | None = DatasetConfig.max_pixels
    key_env: str = "OPENAI_API_KEY"
    """As judge.key_env, for endpoint."""
    concurrency: int = 32
    """Calls to endpoint at a time."""
    timeout: float = 600.0
    """Seconds for one attempt at the endpoint."""
    attempts: int = 5
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    engine: dict[str, Any] = field(default_factory=dict)
    """Further arguments of vllm.LLM: engine.tensor_parallel_size=2."""


def parse(words: Sequence[str]) -> DictConfig:
    """Settings from KEY=VALUE words, checked as far as that needs no file.

    Raises:
        ValueError: an unknown key, a value of the wrong type or out of range, an unknown benchmark, no or two sources.
    """
    not_pairs = [word for word in words if "=" not in word]
    if not_pairs:
        raise ValueError(f"eval: got {not_pairs[0]!r}, expected KEY=VALUE, such as model=DIR benchmarks=all n=8")
    try:
        settings = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(list(words)))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"eval: {_first_line(error)}; `vaopd eval --keys` lists them") from None
    assert isinstance(settings, DictConfig)
    _check(settings)
    return settings


def defaults() -> str:
    """All keys with their defaults, one KEY=VALUE per line."""
    lines = []
    for key, value in OmegaConf.to_container(OmegaConf.structured(Settings)).items():
        if isinstance(value, dict):
            lines += [f"{key}.{name}={_word(of_name)}" for name, of_name in value.items()] or [f"{key}.NAME=VALUE"]
        else:
            lines.append(f"{key}={_word(value)}")
    return "\n".join(lines) + "\n"


def benchmark_names(settings: DictConfig) -> tuple[str, ...]:
    """The benchmarks asked for, in their order, each once.

    Raises:
        ValueError: an unknown one, or none.
    """
    wanted = [name.strip() for name in settings.benchmarks.split(",") if name.strip()]
    names = tuple(dict.fromkeys(name for word in wanted for name in (PAPER if word == "all" else (word,))))
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or not names:
        raise ValueError(
            f"benchmarks: got {', '.join(unknown) or 'none'}, expected all, or some of {', '.join(BENCHMARKS)}"
        )
    return names


def benchmark_of(settings: DictConfig, name: str) -> Benchmark:
    """A benchmark with its switches as they are set. Raises ValueError for a value that it does not know."""
    return replace(BENCHMARKS[name], **{switch.name: settings[switch.name] for switch in fields(BENCHMARKS[name])})


def out_directory(settings: DictConfig) -> Path:
    """`out`, or eval/ and the name of the model or of the file of responses."""
    if settings.out:
        return Path(settings.out).expanduser()
    source = Path(settings.responses).stem if settings.responses else str(settings.model)
    return Path("eval") / (Path(source).name or source.replace("/", "-"))


def _check(settings: DictConfig) -> None:
    if bool(settings.model) == bool(settings.responses):
        got = "both" if settings.model else "neither"
        raise ValueError(
            f"eval: got {got} of model= and responses=; expected one: model=DIR to sample here, model=NAME "
            "endpoint=URL to ask a server, or responses=FILE made elsewhere"
        )
    if settings.endpoint and settings.responses:
        raise ValueError("eval: got endpoint= and responses=; expected one of them; leave one out")
    for key in ("n", "max_tokens", "concurrency", "attempts", "judge.concurrency", "judge.attempts", "limit"):
        value = OmegaConf.select(settings, key)
        if value is not None and value < 1:
            raise ValueError(f"{key}: got {value}, expected at least 1")
    if settings.temperature < 0 or not 0 < settings.top_p <= 1:
        raise ValueError(
            f"temperature, top_p: got {settings.temperature}, {settings.top_p}; expected at least 0, and in (0, 1]"
        )
    names = benchmark_names(settings)
    not_asked = [name for name in settings.files if name not in names]
    if not_asked:
        raise ValueError(f"files.{not_asked[0]}: expected one of the benchmarks asked for: {', '.join(names)}")
    if settings.random_fallback and settings.protocol != "official":
        raise ValueError(f"random_fallback: got it for protocol={settings.protocol}, which never guesses; leave it out")
    for name in names:
        benchmark_of(settings, name)
        if settings.protocol not in BENCHMARKS[name].protocols:
            raise ValueError(
                f"protocol: got {settings.protocol!r}, expected {' or '.join(BENCHMARKS[name].protocols)} for {name}"
            )


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _first_line(error: Exception) -> str:
    key = getattr(error, "full_key", None)
    return (f"{key}: " if key else "") + str(error).splitlines()[0]
