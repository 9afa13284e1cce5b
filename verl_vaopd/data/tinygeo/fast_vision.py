"""Faster forward passes for training the tiny models on a CPU; the numbers stay equal to transformers' own.

Used only while building. Two of transformers' vision modules are slow for many small images: the Conv3d patch
embedding (a matrix product, since stride equals kernel) and the vision attention, which loops over images in Python
(all grids are equal here, so one batched call does).

Axes: B images, I visual tokens per image, L levels (merged output, then deepstack outputs), d hidden, T tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from verl_vaopd.data.tinygeo.models import GRID, MERGE_SIZE, NUM_VISUAL_TOKENS, PATCH_SIZE, TEMPORAL_PATCH_SIZE
from verl_vaopd.platform import activate

activate()
from transformers.models.qwen3_vl import modeling_qwen3_vl  # noqa: E402


@contextmanager
def fast_vision() -> Iterator[None]:
    """Within the context, Qwen3-VL's vision tower uses the fast modules; every image of a batch must have one grid."""
    patch_embed, attention = modeling_qwen3_vl.Qwen3VLVisionPatchEmbed, modeling_qwen3_vl.Qwen3VLVisionAttention
    originals = patch_embed.forward, attention.forward
    patch_embed.forward, attention.forward = _patch_embed, _vision_attention
    try:
        yield
    finally:
        patch_embed.forward, attention.forward = originals


def _patch_embed(self: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    weight = self.proj.weight
    return F.linear(pixels.to(weight.dtype), weight.flatten(1), self.proj.bias)


def _vision_attention(
    self: torch.nn.Module,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    rotary_pos_emb: torch.Tensor | None = None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    **kwargs: object,
) -> torch.Tensor:
    num_images, length = cu_seqlens.numel() - 1, int(cu_seqlens[1])
    assert num_images * length == hidden_states.shape[0], "images of different sizes"
    query, key, value = self.qkv(hidden_states).view(num_images * length, 3, self.num_heads, -1).unbind(1)
    query, key = modeling_qwen3_vl.apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    query, key, value = (x.view(num_images, length, self.num_heads, -1).transpose(1, 2) for x in (query, key, value))
    # written out: the backward pass of torch's fused CPU kernel takes three times as long at this length
    output = (query * self.scaling @ key.transpose(-1, -2)).softmax(-1) @ value
    return self.proj(output.transpose(1, 2).reshape(num_images * length, -1))


def patchify(images: np.ndarray) -> torch.Tensor:
    """What the shipped processor makes of tinygeo images.

    Args:
        images: [B, 96, 96, 3] uint8.
    Returns: [B * 144, 3 * 2 * 8 * 8] float32 patches in the processor's order.
    """
    x = torch.from_numpy(images).float().div_(127.5).sub_(1.0)
    batch, blocks = len(x), GRID // MERGE_SIZE
    x = x.view(batch, blocks, MERGE_SIZE, PATCH_SIZE, blocks, MERGE_SIZE, PATCH_SIZE, 3)
    x = x.permute(0, 1, 4, 2, 5, 7, 3, 6).unsqueeze(
        6
    )  # image, block row, block column, row, column, channel, time, y, x
    x = x.expand(*x.shape[:6], TEMPORAL_PATCH_SIZE, *x.shape[7:])
    return x.reshape(batch * GRID * GRID, -1)


def image_grid(batch: int) -> torch.Tensor:
    """[B, 3] int64: time, height and width of every image, in patches."""
    return torch.tensor([[1, GRID, GRID]]).expand(batch, 3)


def visual_features(model: torch.nn.Module, images: np.ndarray) -> torch.Tensor:
    """[L, B, I, d] outputs of the vision tower for images [B, 96, 96, 3] uint8; gradient flows."""
    output = model.model.visual(patchify(images), grid_thw=image_grid(len(images)))
    levels = torch.stack([output.pooler_output, *output.deepstack_features])
    return levels.view(len(levels), len(images), NUM_VISUAL_TOKENS, -1)


@torch.no_grad()
def cached_features(model: torch.nn.Module, images: np.ndarray, batch_size: int = 128) -> torch.Tensor:
    """`visual_features` of many images in bfloat16, without gradient."""
    chunks = []
    for start in range(0, len(images), batch_size):
        with torch.autocast("cpu", torch.bfloat16):
            chunks.append(visual_features(model, images[start : start + batch_size]).bfloat16())
    return torch.cat(chunks, 1)


def text_hidden_states(
    model: torch.nn.Module, input_ids: torch.Tensor, features: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """Final hidden states [B, T, d] of right-padded prompts and responses, given the features of their images.

    The text model of Qwen3-VL written out for what training needs: one image at the same place in every row, causal
    attention without padding mask (only places before the padding are read), activations in `dtype`.

    Args:
        input_ids: [B, T] int64.
        features: [L, B, I, d]; gradient flows. None where the prompts have no image.
    """
    text, row = model.model.language_model, input_ids[:1]
    is_image = row == model.config.image_token_id
    start, length = int(is_image[0].int().argmax()), input_ids.shape[1]
    grid = None if features is None else image_grid(1)
    positions = model.model.get_rope_index(row, is_image.int(), grid)[0]
    hidden = text.embed_tokens(input_ids).to(dtype)
    cos, sin = (x[:, None, :, : x.shape[-1] // 2].to(dtype) for x in text.rotary_emb(hidden[:1], positions))
    levels = [] if features is None else list(features.to(dtype))
    parts = start, NUM_VISUAL_TOKENS, length - start - NUM_VISUAL_TOKENS
    if levels:
        before, _, after = hidden.split(parts, 1)
        hidden = torch.cat((before, levels[0], after), 1)
    for k, layer in enumerate(text.layers):
        hidden = hidden + _attention(layer.self_attn, _rms_norm(hidden, layer.input_layernorm), cos, sin)
        x, mlp = _rms_norm(hidden, layer.post_attention_layernorm), layer.mlp
        gate, up = F.linear(x, mlp.gate_proj.weight.to(dtype)), F.linear(x, mlp.up_proj.weight.to(dtype))
        hidden = hidden + F.linear(F.silu(gate) * up, mlp.down_proj.weight.to(dtype))
        if k + 1 < len(levels):
            before, image, after = hidden.split(parts, 1)
            hidden = torch.cat((before, image + levels[k + 1], after), 1)
    return _rms_norm(hidden, text.norm)


def _attention(attention: torch.nn.Module, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    batch, length, _ = x.shape
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    heads = [projection.weight.shape[0] // attention.head_dim for projection in projections]
    weight = torch.cat([projection.weight for projection in projections]).to(x.dtype)
    query, key, value = F.linear(x, weight).view(batch, length, -1, attention.head_dim).split(heads, 2)
    query = _rotate(_rms_norm(query, attention.q_norm).transpose(1, 2), cos, sin)
    key = _rotate(_rms_norm(key, attention.k_norm).transpose(1, 2), cos, sin)
    key, value = (y.repeat_interleave(heads[0] // heads[1], 1) for y in (key, value.transpose(1, 2)))
    # float32: the backward pass of torch's fused CPU kernel is slower in bfloat16
    output = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), is_causal=True)
    return F.linear(output.to(x.dtype).transpose(1, 2).reshape(batch, length, -1), attention.o_proj.weight.to(x.dtype))


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _rms_norm(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    return _RMSNorm.apply(x, norm.weight, norm.variance_epsilon)


class _RMSNorm(torch.autograd.Function):
    """x / rms(x) * weight over the last axis with few passes over memory; statistics in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(norm.square() / x.shape[-1] + eps).to(x.dtype)
        ctx.save_for_backward(x, weight, inverse)
        return x * inverse * weight.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        normed = x * inverse
        weight_grad = (grad * normed).flatten(0, -2).sum(0, dtype=torch.float32)
        grad = grad * weight.to(grad.dtype)
        return (grad - normed * (grad * normed).mean(-1, keepdim=True)) * inverse, weight_grad, None
