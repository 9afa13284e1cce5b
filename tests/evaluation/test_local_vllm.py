"""What is given to vLLM, seen from an engine of our own that answers with the number of the request."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.evaluation.vllm_engine import Engine, StandInSource
from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.images import ImageFile
from verl_vaopd.evaluation.settings import Settings
from verl_vaopd.evaluation.sources import local_vllm
from verl_vaopd.evaluation.sources.local_vllm import cpu_recipe_options, pixel_limits
from verl_vaopd.evaluation.sources.source import Request
from verl_vaopd.image_sizes import DO_NOT_RESIZE
from verl_vaopd.platform import activate


@pytest.fixture
def make_source():
    activate()  # an image processor is loaded
    return lambda in_groups: StandInSource(Engine(), in_groups)


def requests(num, samples=(0, 1), parts=("text",), benchmark="mmstar"):
    return [Request(benchmark, Question(f"q{i}", tuple(parts), {}, "c"), tuple(samples), 1000 * i) for i in range(num)]


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


def test_the_engine_is_full_when_few_samples_of_each_question_are_missing(make_source):
    source = make_source(in_groups=False)
    assert len(list(source.responses(requests(20, samples=(1,))))) == 20
    assert source._engine.most_running == 6


def test_a_group_is_of_one_benchmark_and_a_full_engine_of_any(make_source):
    """Two questions of one, then two of the other: room for three at a time."""
    asked = [*requests(2), *requests(2, benchmark="ai2d")]
    groups = list(make_source(in_groups=True).responses(asked))
    assert [[one.benchmark for one in group] for group in groups] == [["mmstar"] * 4, ["ai2d"] * 4]
    source = make_source(in_groups=False)
    assert len(list(source.responses(asked))) == 4 and source._engine.most_running == 3


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


@pytest.fixture
def image_part(tmp_path):
    Image.new("RGB", (1000, 500)).save(tmp_path / "image.png")
    return lambda: ImagePart(ImageFile(tmp_path / "image.png"))


def test_large_images_wait_until_there_is_room(make_source, image_part, monkeypatch):
    monkeypatch.setattr(local_vllm, "_PIXELS_IN_ENGINE", 1_200_000)
    source = make_source(in_groups=False)
    assert len(list(source.responses(requests(5, parts=(image_part(), "text"))))) == 5
    assert source._engine.most_running == 2  # of 500,000 pixels each
    monkeypatch.setattr(local_vllm, "_PIXELS_IN_ENGINE", 10)
    source = make_source(in_groups=False)
    assert len(list(source.responses(requests(3, parts=(image_part(), "text"))))) == 3
    assert source._engine.most_running == 1  # one is always let in
    prompt, _ = source._engine.asked[0]
    assert prompt["prompt"] == "user<IMAGE><text>"
    assert [image.size for image in prompt["multi_modal_data"]["image"]] == [(992, 496)]
    assert prompt["mm_processor_kwargs"] == DO_NOT_RESIZE


@pytest.mark.parametrize(("least", "most", "num_running"), [(700_000, None, 1), (None, 400_000, 3), (None, None, 3)])
def test_an_image_counts_as_large_as_it_is_processed(make_source, image_part, monkeypatch, least, most, num_running):
    monkeypatch.setattr(local_vllm, "_PIXELS_IN_ENGINE", 1_200_000)
    source = make_source(in_groups=False)
    source._settings.min_pixels, source._settings.max_pixels = least, most
    list(source.responses(requests(4, parts=(image_part(), "text"))))
    assert source._engine.most_running == num_running


def test_images_are_resized_unless_the_benchmark_says_no():
    settings = OmegaConf.structured(Settings(model="m", min_pixels=None))
    found = {name: pixel_limits(settings, name) for name in BENCHMARKS}
    assert found == {name: {} if name == "tinygeo" else {"max_pixels": 4_194_304} for name in BENCHMARKS}


def test_options_on_the_cpu_are_those_of_the_recipe():
    assert cpu_recipe_options() == {
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 67_108_864,
        "distributed_executor_backend": "uni",
    }
