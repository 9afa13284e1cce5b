import pytest

from tests.evaluation.chat_server import completion, serve
from verl_vaopd.evaluation.chat_client import CallFailed, ChatClient, Completion, require_endpoint


def client_of(url, pauses=None, attempts=4, timeout=10.0):
    return ChatClient(url, "TEST_KEY", timeout, attempts, sleep=(pauses if pauses is not None else []).append)


def test_a_reply_is_read_and_the_key_is_sent(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "secret")
    with serve(lambda asked, number: (200, completion("yes"))) as (url, log):
        assert client_of(url + "/").complete({"model": "m"}) == Completion("yes", "stop", 10, 3)
    assert log.asked == [{"model": "m"}]
    assert log.headers[0]["path"] == "/v1/chat/completions"
    assert log.headers[0]["Authorization"] == "Bearer secret"


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    with serve(lambda asked, number: (200, completion(None))) as (url, log):
        assert client_of(url).complete({}).text == ""
    assert "Authorization" not in log.headers[0]


def test_failures_that_may_pass_are_tried_again_with_growing_pauses():
    """500: 1 s; 429 asks for 7 s; no completion: 4 s."""
    answers = [(500, {}), (429, {}), (200, {"error": "busy"}), (200, completion("at last"))]
    pauses: list[float] = []
    with serve(lambda asked, number: answers[number]) as (url, log):
        assert client_of(url, pauses).complete({}).text == "at last"
    assert pauses == [1.0, 7.0, 4.0] and len(log.asked) == 4


def test_after_the_last_attempt_it_has_failed():
    pauses: list[float] = []
    failed = pytest.raises(CallFailed, match="HTTP 503: overloaded, after 4 attempts")
    with serve(lambda asked, number: (503, b"overloaded")) as (url, log), failed:
        client_of(url, pauses).complete({})
    assert pauses == [1.0, 2.0, 4.0] and len(log.asked) == 4


def test_what_the_server_refuses_is_not_asked_again():
    failed = pytest.raises(CallFailed, match="HTTP 400: too long")
    with serve(lambda asked, number: (400, b"too long")) as (url, log), failed:
        client_of(url).complete({})
    assert len(log.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_setting_stops_everything(status):
    failed = pytest.raises(ValueError, match=f"HTTP {status}: no.*TEST_KEY")
    with serve(lambda asked, number: (status, b"no")) as (url, log), failed:
        client_of(url).complete({})
    assert len(log.asked) == 1


def test_a_server_that_is_not_there_is_a_failed_call():
    with serve(lambda asked, number: (200, {})) as (url, _):
        pass
    with pytest.raises(CallFailed, match="after 2 attempts"):
        client_of(url, attempts=2).complete({})


def test_a_url_is_expected():
    require_endpoint("endpoint", "https://host/v1")
    with pytest.raises(ValueError, match=r"judge\.endpoint: got 'host:80'"):
        require_endpoint("judge.endpoint", "host:80")
