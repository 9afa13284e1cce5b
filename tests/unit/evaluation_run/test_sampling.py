"""What is given to vLLM, seen from an engine of our own that answers with the number of the request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from PIL import Image

from verl_vaopd.evaluation import sampling
from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.parsing.published import ImageFile
from verl_vaopd.evaluation.requests import Request
from verl_vaopd.evaluation.sampling import VllmSource, cpu_recipe_options, pixel_limits
from verl_vaopd.evaluation.settings import Settings


class Engine:
    """Ends one request in every step, the latest first."""

    def __init__(self) -> None:
        self.llm_engine = self
        self.running: list[str] = []
        self.asked: list[tuple] = []
        self.most_running = self.num_forgotten = 0

    def get_tokenizer(self):
        return self

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert add_generation_prompt and not tokenize
        (message,) = messages
        return message["role"] + "".join(f"<{part.get('text', 'IMAGE')}>" for part in message["content"])

    def enqueue(self, prompts, params, use_tqdm):
        self.running.append(str(len(self.asked)))
        self.asked.append((*prompts, *params))
        self.most_running = max(self.most_running, len(self.running))
        return [f"{self.running[-1]}-0123abcd"]

    def step(self):
        number = self.running.pop()
        _, params = self.asked[int(number)]
        outputs = [
            SimpleNamespace(index=i, text=f"{number}/{i}", finish_reason="stop", token_ids=[1] * (i + 1))
            for i in reversed(range(params.n))
        ]
        return [SimpleNamespace(finished=True, request_id=number, outputs=outputs)]

    def reset_prefix_cache(self):
        assert not self.running
        self.num_forgotten += 1

    def reset_mm_cache(self):
        assert not self.running


@pytest.fixture
def make_source(monkeypatch):
    def make(in_groups: bool, max_questions: int = 3) -> VllmSource:
        source = object.__new__(VllmSource)  # without an engine of vLLM's
        source._engine = Engine()
        source._settings = OmegaConf.structured(Settings(model="m"))
        source._in_groups, source._max_questions = in_groups, max_questions
        return source

    monkeypatch.setattr(VllmSource, "_params", lambda self, request: _params(request))
    return make


def _params(request):
    return SimpleNamespace(n=len(request.samples), seed=request.seed + request.samples[0])


def requests(num, samples=(0, 1), parts=("text",)):
    return [Request("mmstar", Question(f"q{i}", tuple(parts), {}, "c"), tuple(samples), 1000 * i) for i in range(num)]


@pytest.mark.parametrize("in_groups", [True, False])
def test_every_sample_comes_back_with_its_seed(make_source, in_groups):
    responses = [one for group in make_source(in_groups).responses(requests(7)) for one in group]
    assert sorted((r.question, r.sample, r.seed, r.text, r.num_tokens) for r in responses) == [
        (f"q{i}", s, 1000 * i + s, f"{i}/{s}", s + 1) for i in range(7) for s in range(2)
    ]


def test_the_engine_is_kept_full_and_no_fuller(make_source):
    source = make_source(in_groups=False)
    groups = list(source.responses(requests(7)))
    assert [len(group) for group in groups] == [2] * 7  # stored as soon as they are there
    assert source._engine.most_running == 3 and source._engine.num_forgotten == 0


def test_groups_are_sampled_to_their_end_from_nothing(make_source):
    source = make_source(in_groups=True)
    groups = list(source.responses(requests(7)))
    assert [sorted({one.question for one in group}) for group in groups] == [
        ["q0", "q1", "q2"],
        ["q3", "q4", "q5"],
        ["q6"],
    ]
    assert source._engine.num_forgotten == 3


def test_a_gap_in_the_samples_makes_two_requests(make_source):
    source = make_source(in_groups=False)
    responses = [one for group in source.responses(requests(1, samples=(0, 2, 3))) for one in group]
    assert sorted((one.sample, one.seed) for one in responses) == [(0, 0), (2, 2), (3, 3)]
    assert source._engine.asked[0][0] == {"prompt": "user<text>"}  # no image
    assert [(params.n, params.seed) for _, params in source._engine.asked] == [(1, 0), (2, 2)]


def test_questions_are_read_only_as_they_are_needed(make_source):
    taken = []

    def endless():
        for request in requests(1000):
            taken.append(request)
            yield request

    next(make_source(in_groups=False).responses(endless()))
    assert len(taken) <= 4  # three in the engine, one ahead


def test_large_images_wait_until_there_is_room(make_source, tmp_path, monkeypatch):
    Image.new("RGB", (100, 50)).save(tmp_path / "image.png")
    part = ImagePart(ImageFile(tmp_path / "image.png"))
    monkeypatch.setattr(sampling, "_PIXELS_IN_ENGINE", 12_000)
    source = make_source(in_groups=False)
    assert len(list(source.responses(requests(5, parts=(part, "text"))))) == 5
    assert source._engine.most_running == 2  # of 5000 pixels each
    monkeypatch.setattr(sampling, "_PIXELS_IN_ENGINE", 10)
    source = make_source(in_groups=False)
    assert len(list(source.responses(requests(3, parts=(part, "text"))))) == 3
    assert source._engine.most_running == 1  # one is always let in
    prompt, _ = source._engine.asked[0]
    assert prompt["prompt"] == "user<IMAGE><text>"
    assert [image.size for image in prompt["multi_modal_data"]["image"]] == [(100, 50)]
    assert prompt["mm_processor_kwargs"] == {"min_pixels": 262_144, "max_pixels": 4_194_304}


def test_images_of_tinygeo_are_not_resized():
    settings = OmegaConf.structured(Settings(model="m", min_pixels=None))
    assert pixel_limits(settings, "tinygeo") == {}
    assert pixel_limits(settings, "ai2d") == {"max_pixels": 4_194_304}


def test_options_on_the_cpu_are_those_of_the_recipe():
    assert cpu_recipe_options() == {
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 67_108_864,
        "distributed_executor_backend": "uni",
    }
