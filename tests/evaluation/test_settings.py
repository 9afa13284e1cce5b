from pathlib import Path

import pytest

from verl_vaopd.config.data_schema import DatasetConfig
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.settings import benchmark_names, benchmark_of, defaults, out_directory, parse


def test_words_become_settings():
    settings = parse(
        ["model=m", "n=4", "judge.model=j", "protocol=official", "engine.max_model_len=9", "max_pixels=null"]
    )
    assert (settings.model, settings.n, settings.judge.model, settings.max_pixels) == ("m", 4, "j", None)
    assert settings.engine == {"max_model_len": 9}
    assert (settings.temperature, settings.top_p, settings.max_tokens) == (1.0, 1.0, 4096)
    assert benchmark_names(settings) == PAPER


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=m", "samples=4"], "'samples' not in 'Settings'; `vaopd eval --keys`"),
        (["model=m", "n=many"], "n: Value 'many'"),
        (["model=m", "n=0"], "n: got 0, expected at least 1"),
        (["model=m", "limit=0"], "limit: got 0"),
        (["model=m", "top_p=0"], "top_p: got 0.0, expected more than 0, at most 1"),
        (["model"], "got 'model', expected KEY=VALUE"),
        (["n=8"], "got neither of model= and responses="),
        (["model=m", "responses=r"], "got both of model= and responses="),
        (["model=m", "benchmarks=ai2d,mmlu"], "benchmarks: got mmlu, expected all, or some of wemath, "),
        (["model=m", "benchmarks="], "benchmarks: Incompatible value 'None'"),
        (["model=m", "benchmarks=,"], "eval: while parsing"),
        (["model=m", "benchmarks=' '"], "benchmarks: got none"),
        (["model=m", "benchmarks=ai2d", "files.mmmu=x"], "files.mmmu: expected one of the benchmarks asked for: ai2d"),
        (["model=m", "protocol=strict"], "protocol: got 'strict'"),
        (["model=m", "benchmarks=geo3k", "protocol=official"], "expected rule for geo3k"),
        (["model=m", "random_fallback=true"], "random_fallback: got it for protocol=rule"),
        (["model=m", "grouping=mine"], "grouping: got 'mine', expected 'official' or 'vlmevalkit'"),
    ],
)
def test_mistakes_are_told(words, message):
    with pytest.raises(ValueError) as error:
        parse(words)
    assert message in str(error.value)


def test_benchmarks_are_each_taken_once():
    assert benchmark_names(parse(["model=m", "benchmarks=geo3k, ai2d,all"])) == (
        "geo3k",
        "ai2d",
        *(name for name in PAPER if name != "ai2d"),
    )


def test_a_run_is_named_after_what_answers():
    assert out_directory(parse(["model=Qwen/Qwen3-VL-2B-Instruct"])) == Path("eval/Qwen3-VL-2B-Instruct")
    assert out_directory(parse(["responses=made/elsewhere.jsonl"])) == Path("eval/elsewhere")
    assert out_directory(parse(["model=m", "out=here"])) == Path("here")


def test_all_defaults_are_told():
    lines = defaults().splitlines()
    assert {"n=8", "model=null", "judge.concurrency=16", "files.NAME=VALUE"} <= set(lines)


def test_geo3k_ends_as_the_training_prompts_do():
    fields = {"problem": "<image>Find x."}
    asked = [
        benchmark_of(parse(["model=m", *words]), "geo3k").prompt(fields) for words in ([], ["prompt_suffix=' Why?'"])
    ]
    assert asked == [f"<image>Find x.{DatasetConfig.prompt_suffix}", "<image>Find x. Why?"]
    assert BENCHMARKS["geo3k"].prompt(fields) == asked[0]
