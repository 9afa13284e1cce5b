"""Tokenizer, processor and the fast forward passes used for building, held against transformers' own."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from verl_vaopd.data.tinygeo import models
from verl_vaopd.data.tinygeo.acceptance import violations
from verl_vaopd.data.tinygeo.dataset import generate_examples, sample_figure
from verl_vaopd.data.tinygeo.fast_vision import (
    _RMSNorm,
    fast_vision,
    image_grid,
    patchify,
    text_hidden_states,
    visual_features,
)
from verl_vaopd.data.tinygeo.text_training import IGNORED, Exercises, full_prompt
from verl_vaopd.data.tinygeo.vision_training import NO_DIGIT, NO_SIDE, make_vision_data


@pytest.fixture(scope="module")
def tokenizer():
    return models.build_tokenizer()


@pytest.fixture(scope="module")
def processor(tokenizer):
    return models.build_processor(tokenizer)


@pytest.fixture(scope="module")
def model(tokenizer):
    return models.build_model(tokenizer, models.STUDENT, seed=0).eval()


@pytest.fixture(scope="module")
def examples():
    return generate_examples("test", 3, seed=0)


def test_vocabulary_is_small_and_the_same_on_every_call(tokenizer):
    assert len(tokenizer) < 1000
    assert models.build_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_digits_and_special_tokens_are_single_tokens(tokenizer):
    assert [tokenizer.decode([i]) for i in tokenizer("AB = 407").input_ids][-3:] == ["4", "0", "7"]
    for token in models.SPECIAL_TOKENS:
        assert tokenizer(token).input_ids == [tokenizer.convert_tokens_to_ids(token)]
    assert tokenizer.eos_token == "<|im_end|>"
    text = "Any bytes: \u00e9 \u4e2d \\frac{1}{2}\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_prompts_and_patches_equal_the_processors(processor, examples):
    for example in examples:
        content = [{"type": "image"}, {"type": "text", "text": example.prompt}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        image = Image.fromarray(example.figure.image)
        inputs = processor(text=[text], images=[image], return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == processor.tokenizer(full_prompt(example.prompt)).input_ids
        assert inputs["image_grid_thw"].tolist() == image_grid(1).tolist()
        torch.testing.assert_close(patchify(example.figure.image[None]), inputs["pixel_values"], rtol=0, atol=1e-6)


def test_fast_forward_equals_transformers(model, tokenizer, examples):
    """Hidden states of prompt and response, and the gradient of a weight on every path, in float32."""
    images = np.stack([example.figure.image for example in examples])
    rows = [tokenizer(full_prompt(e.prompt) + e.response.text).input_ids for e in examples]
    length = min(map(len, rows))
    input_ids = torch.tensor([row[:length] for row in rows])
    reference = model.model(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        mm_token_type_ids=(input_ids == model.config.image_token_id).int(),
        pixel_values=patchify(images),
        image_grid_thw=image_grid(len(images)),
    ).last_hidden_state
    with fast_vision():
        hidden = text_hidden_states(model, input_ids, visual_features(model, images), torch.float32)
    torch.testing.assert_close(hidden, reference, rtol=1e-4, atol=1e-4)
    text = model.model.language_model
    weights = [
        model.model.visual.patch_embed.proj.weight,
        model.model.visual.deepstack_merger_list[0].linear_fc2.weight,
        text.layers[0].self_attn.k_norm.weight,
        text.layers[1].input_layernorm.weight,
        text.layers[2].mlp.gate_proj.weight,
        text.embed_tokens.weight,
    ]
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(
        torch.autograd.grad((hidden * direction).sum(), weights),
        torch.autograd.grad((reference * direction).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


def test_fast_vision_restores_transformers(model):
    tower = model.model.visual
    before = type(tower.patch_embed).forward, type(tower.blocks[0].attn).forward
    with pytest.raises(KeyboardInterrupt), fast_vision():
        assert type(tower.patch_embed).forward is not before[0]
        raise KeyboardInterrupt
    assert (type(tower.patch_embed).forward, type(tower.blocks[0].attn).forward) == before


def test_rms_norm_gradient():
    x = torch.randn(3, 5, 8, requires_grad=True)
    weight = torch.randn(8, requires_grad=True)

    def plain(x, weight):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight

    direction = torch.randn(3, 5, 8)
    ours = torch.autograd.grad((_RMSNorm.apply(x, weight, 1e-6) * direction).sum(), (x, weight))
    theirs = torch.autograd.grad((plain(x, weight) * direction).sum(), (x, weight))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_exercises_label_the_response_and_its_end(tokenizer):
    rng = random.Random(0)
    figures = [sample_figure(rng, "train")[0] for _ in range(4)]
    names = {side for figure in figures for side in figure.sides}
    exercises = Exercises(figures, tokenizer, seed=0, word_weight=0.3)
    for kind in ("read", "drill", "brief", "response", "given"):
        batch = next(exercises.batches(kind, 4, group=1))
        for ids, labels, weights, row in zip(batch.input_ids, batch.labels, batch.weights, batch.rows, strict=True):
            places = (labels != IGNORED).nonzero().flatten()
            assert (places.diff() == 1).all()
            response = labels[places].tolist()
            assert response[-1] == tokenizer.eos_token_id
            assert ids[places[1:]].tolist() == response[:-1]
            assert tokenizer.decode(ids[: places[0] + 1]).endswith("<|im_start|>assistant\n")
            pieces = [tokenizer.decode([i]).strip() for i in response]
            # Of given lengths the image shows another figure.
            sides = names if kind == "given" else figures[row].sides
            content = torch.tensor([piece.isdigit() or piece in sides for piece in pieces])
            assert (weights[places] == torch.where(content, 1.0, 0.3)).all()
            text = tokenizer.decode(response[:-1])
            if kind == "read":
                assert sorted(text.split(", ")) == sorted(f"{s} = {figures[row].length(s)}" for s in figures[row].sides)
            else:
                assert "\\boxed{" in text
            has_image = bool((ids == tokenizer.convert_tokens_to_ids(models.IMAGE_TOKEN)).any())
            assert has_image is (kind != "drill")


def test_vision_targets_name_every_digit_once():
    data = make_vision_data(random.Random(0), "train", 30, scattered_frac=0.0)
    for digits, sides in zip(data.digits, data.sides, strict=True):
        assert ((digits == NO_DIGIT) == (sides == NO_SIDE)).all()
        for place in (0, 1):
            named = sorted(sides[:, place][sides[:, place] != NO_SIDE].tolist())
            assert named == list(range(len(named)))
            assert 3 <= len(named) <= 6


def test_violations_name_each_bound_that_is_missed():
    good = {"clean": {"n": 512, "accuracy": 0.95}, "pixelated": {"n": 512, "accuracy": 0.02}}
    assert violations("teacher", good) == []
    assert len(violations("teacher", good | {"pixelated": {"n": 512, "accuracy": 0.2}})) == 1
    assert len(violations("teacher", good | {"clean": {"n": 100, "accuracy": 0.8}})) == 2
    student = {
        "clean": {"n": 512, "accuracy": 0.5, "well_formed": 0.9},
        "given": {"n": 512, "accuracy": 0.85, "well_formed": 1.0},
    }
    assert len(violations("student", student)) == 3
