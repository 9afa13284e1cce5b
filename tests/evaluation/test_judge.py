import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from omegaconf import OmegaConf

from tests.evaluation.chat_server import completion, serve
from verl_vaopd.evaluation.chat_client import ChatClient
from verl_vaopd.evaluation.judge import CachedJudge
from verl_vaopd.evaluation.settings import JudgeSettings


def make_judge(url, cache, model="judge-1", **more):
    settings = OmegaConf.structured(JudgeSettings(model=model, endpoint=url, attempts=1, **more))
    return CachedJudge(settings, cache, ChatClient(url, "TEST_KEY", 10.0, 1))


def echo(asked, number):
    return 200, completion("about " + asked["messages"][0]["content"])


def test_a_prompt_is_asked_once_at_temperature_0(tmp_path):
    with serve(echo) as (url, log):
        judge = make_judge(url, tmp_path / "cache.jsonl", input_price=2.0, output_price=10.0)
        assert [judge("a"), judge("b"), judge("a")] == ["about a", "about b", "about a"]
    assert [asked["temperature"] for asked in log.asked] == [0.0, 0.0]
    assert log.asked[0]["model"] == "judge-1" and log.asked[0]["max_tokens"] == 256
    assert (judge.usage.calls, judge.usage.from_cache, judge.usage.failed) == (2, 1, 0)
    assert judge.cost() == pytest.approx((20 * 2.0 + 6 * 10.0) / 1e6)
    assert "2 calls, 1 replies known already, 0 failed; 20 + 6 tokens, cost 0.00" in judge.describe()


def test_replies_outlive_the_process_and_half_a_line(tmp_path):
    cache = tmp_path / "deep" / "cache.jsonl"
    with serve(echo) as (url, log):
        make_judge(url, cache)("a")
        with cache.open("ab") as file:
            file.write(b'\n{"judge": "half a li')
        make_judge(url, cache)("b")
        again = make_judge(url, cache)
        assert [again("a"), again("b")] == ["about a", "about b"]
        assert len(log.asked) == 2
        make_judge(url, cache, model="judge-2")("a")  # another judge is another opinion
        assert len(log.asked) == 3


def test_a_failed_call_is_no_reply_and_is_made_again_by_the_next_run(tmp_path):
    def fails_first(asked, number):
        return (500, {}) if number == 0 else echo(asked, number)

    cache = tmp_path / "cache.jsonl"
    with serve(fails_first) as (url, _):
        first = make_judge(url, cache)
        assert first("a") is None
        assert first("a") is None  # not asked twice in one run
        assert (first.usage.calls, first.usage.from_cache, first.usage.failed) == (0, 0, 1)
        assert make_judge(url, cache)("a") == "about a"


def test_an_empty_reply_is_a_failed_call(tmp_path):
    with serve(lambda asked, number: (200, completion(" "))) as (url, _):
        judge = make_judge(url, tmp_path / "cache.jsonl")
        assert judge("a") is None and judge.usage.failed == 1
    assert not (tmp_path / "cache.jsonl").exists()


def test_threads_that_want_the_same_wait_for_one_call(tmp_path):
    answer = threading.Event()

    def slow(asked, number):
        answer.wait(10)
        return echo(asked, number)

    with serve(slow) as (url, log), ThreadPoolExecutor(8) as pool:
        judge = make_judge(url, tmp_path / "cache.jsonl")
        replies = [pool.submit(judge, "a") for _ in range(8)]
        answer.set()
        assert {reply.result(10) for reply in replies} == {"about a"}
    assert len(log.asked) == 1 and judge.usage.from_cache == 7


def test_a_wrong_key_is_an_error_for_everyone(tmp_path):
    with serve(lambda asked, number: (401, b"no")) as (url, _):
        judge = make_judge(url, tmp_path / "cache.jsonl")
        for _ in range(2):
            with pytest.raises(ValueError, match="HTTP 401"):
                judge("a")
