"""Corrupted views of a prompt: the same for its rollouts, other ones at another step, made once."""

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.engine import harness
from verl_vaopd.config import compose
from verl_vaopd.rollout.agent_loop import View
from verl_vaopd.rollout.views import FIELD, other_view

PROMPT = {"split": "train", "index": "7", "step": 3}


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (42, 56, 3), dtype=np.uint8))


def papo_view(seed=0):
    config = compose(["method=papo", "student=tiny", "teacher=tiny", "dataset=tinygeo", "hardware=cpu"])
    return View(config.papo.view, seed, {})


def pixels(images):
    return [np.asarray(picture).tolist() for picture in images]


def test_a_mask_belongs_to_prompt_step_and_seed(image):
    view = papo_view()
    first = pixels(view.of([image, image], **PROMPT))
    assert first == pixels(papo_view().of([image, image], **PROMPT)), "any worker makes the same"
    assert first[0] != first[1], "two images of a prompt are masked independently"
    others = [{"index": "8"}, {"step": 4}, {"split": "val"}]
    assert all(pixels(view.of([image, image], **PROMPT | other)) != first for other in others)
    assert pixels(papo_view(seed=1).of([image, image], **PROMPT)) != first


def test_options_of_other_kinds_are_not_passed_on(image):
    options = OmegaConf.create({"kind": "blank", "ratio": 0.1, "radius": 0.1, "block": 14, "mask_prob": 0.6})
    [blank] = View(options, 0, {}).of([image], **PROMPT)
    assert blank.size == image.size
    assert len(set(map(tuple, np.asarray(blank).reshape(-1, 3)))) == 1


def test_a_view_replaces_images_and_their_positions(batch):
    """`wide` is seen transposed: other patches, another grid, other positions; text stays as it is."""
    data = harness.pack(batch)
    view = other_view(data, FIELD)
    positions = list(zip(data["position_ids"].unbind(), view["position_ids"].unbind(), strict=True))
    changed = [not bool((clean == other).all()) for clean, other in positions]
    assert changed == [row["uid"] == "wide" for row in batch]
    for number, row in enumerate(batch):
        inputs = view["multi_modal_inputs"][number]
        inputs = getattr(inputs, "data", inputs)
        assert "position_ids" not in inputs
        if row["uid"] == "text":
            assert not inputs
        else:
            assert not (inputs["pixel_values"] == row["multi_modal_inputs"]["pixel_values"]).all()
