"""Counts against transformers' own models and against the totals that the hub publishes."""

import dataclasses
import json

import pytest
import torch

from verl_vaopd.config.paths import ASSETS_DIR
from verl_vaopd.planning.memory import activations, layer_values
from verl_vaopd.planning.shapes import PUBLISHED, Shape, shape_from, shape_of
from verl_vaopd.platform import activate

activate()  # torchvision beside a CPU build of torch

from transformers import AutoModelForImageTextToText, Qwen3VLConfig, Qwen3VLForConditionalGeneration  # noqa: E402
from transformers.models.qwen3_vl.modeling_qwen3_vl import (  # noqa: E402
    Qwen3VLTextDecoderLayer,
    Qwen3VLVisionBlock,
)

TINY = ASSETS_DIR / "tinygeo" / "student"
# Parameters of the safetensors files, as the hub shows them (bytes of the weights / 2 in bf16).
TOTALS = {
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    "Qwen/Qwen3-VL-32B-Instruct": 33_357_390_064,
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def config_of(shape: Shape, **text) -> Qwen3VLConfig:
    """transformers' configuration of a shape."""
    t, v = shape.text, shape.vision
    return Qwen3VLConfig(
        text_config={
            "hidden_size": t.hidden,
            "intermediate_size": t.intermediate,
            "num_hidden_layers": t.layers,
            "num_attention_heads": t.heads,
            "num_key_value_heads": t.kv_heads,
            "head_dim": t.head_dim,
            "vocab_size": t.vocab,
            "attention_bias": t.attention_bias,
            **text,
        },
        vision_config={
            "hidden_size": v.hidden,
            "intermediate_size": v.intermediate,
            "depth": v.depth,
            "out_hidden_size": v.out_hidden,
            "deepstack_visual_indexes": list(range(v.num_deepstack)),
            "num_heads": 16,
        },
        tie_word_embeddings=t.tied,
    )


def test_published_totals():
    assert {name: shape.parameters for name, shape in PUBLISHED.items()} == TOTALS


@pytest.mark.parametrize("size", ["2B", "8B"])
def test_the_models_that_transformers_builds(size):
    """Part by part: one with the small tower and a tied head, one with the large tower and a head of its own."""
    shape = PUBLISHED[f"Qwen/Qwen3-VL-{size}-Instruct"]
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config_of(shape))
    assert count(model) == shape.parameters
    assert count(model.model.visual) == shape.vision.parameters
    assert count(model.model.visual.blocks[0]) == shape.vision.block
    assert count(model.model.language_model.layers[0]) == shape.text.layer
    assert count(model.lm_head) == shape.text.head


def test_biases_of_attention():
    text = dataclasses.replace(PUBLISHED["Qwen/Qwen3-VL-2B-Instruct"].text, layers=1, attention_bias=True)
    shape = Shape(text, PUBLISHED["Qwen/Qwen3-VL-2B-Instruct"].vision)
    with torch.device("meta"):
        assert count(Qwen3VLForConditionalGeneration(config_of(shape))) == shape.parameters


def test_the_tiny_student_from_its_directory():
    model = AutoModelForImageTextToText.from_pretrained(TINY)
    assert shape_of(str(TINY)).parameters == count(model)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the shape of someone/else is not known.*hf download"):
        shape_of("someone/else")
    config = json.loads((TINY / "config.json").read_text())
    with pytest.raises(ValueError, match="'qwen2_5_vl', expected 'qwen3_vl'"):
        shape_from({**config, "model_type": "qwen2_5_vl"}, tmp_path)


def kept_values(layer, *args, **kwargs):
    """Numbers in bfloat16 that autograd keeps of one forward pass, weights aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(*args, **kwargs)
    return sum(kept.values()) / 2


def test_activations_of_a_layer_are_what_autograd_keeps():
    """Within 15 %, and not less: an estimate that is too small would let a job run out of memory."""
    shape, tokens = PUBLISHED["Qwen/Qwen3-VL-2B-Instruct"], 32
    small = Shape(
        dataclasses.replace(shape.text, hidden=512, intermediate=1536, heads=4, kv_heads=2),
        dataclasses.replace(shape.vision, hidden=256, intermediate=1024),
    )
    config = config_of(small)
    config.text_config._attn_implementation = config.vision_config._attn_implementation = "sdpa"
    layer = Qwen3VLTextDecoderLayer(config.text_config, 0).bfloat16()
    hidden = torch.randn(1, tokens, 512, dtype=torch.bfloat16, requires_grad=True)
    rotation = torch.randn(1, tokens, 128, dtype=torch.bfloat16)
    kept = kept_values(layer, hidden, position_embeddings=(rotation, rotation))
    assert kept <= tokens * layer_values(small.text) <= 1.15 * kept

    block = Qwen3VLVisionBlock(config.vision_config).bfloat16()
    patches = torch.randn(tokens, 256, dtype=torch.bfloat16, requires_grad=True)
    rotation = torch.randn(tokens, 16, dtype=torch.bfloat16)
    ends = torch.tensor([0, tokens])
    kept = kept_values(block, patches, cu_seqlens=ends, position_embeddings=(rotation, rotation))
    # All tokens are of an image, nothing else is kept, and the text of the same model needs less.
    vision_only = Shape(dataclasses.replace(small.text, hidden=1, intermediate=1, heads=1, kv_heads=1), small.vision)
    predicted = activations(vision_only, tokens // 4, 1.0, 2, True, 1, stored=False)
    predicted = (predicted - 4 * tokens * small.vision.patch_values) / 2
    assert kept <= predicted <= 1.2 * kept
