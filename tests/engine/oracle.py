"""VA-OPD's equations (arXiv:2605.21924) in plain transformers: python oracle.py DIRECTORY, run in a process of its own.

One rollout at a time, whole logits, loops. Shares nothing with the package: verl patches transformers' classes, so it
must not even be imported here. Reads the models and prompts.json of DIRECTORY, writes DIRECTORY/oracle.pt.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from verl_vaopd.platform import activate

activate()  # torchvision beside a CPU build of torch; imports nothing else
from transformers import AutoProcessor, AutoTokenizer, Qwen3VLForConditionalGeneration  # noqa: E402


def pixelated(image: Image.Image) -> Image.Image:
    small = image.resize((max(1, image.width // 10), max(1, image.height // 10)), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.NEAREST)


def transposed(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.TRANSPOSE)


VIEWS = {"pixelate": pixelated, "transpose": transposed}


def encode(processor: Any, prompt: dict[str, Any], images: list[Image.Image], response: list[int]) -> dict[str, Any]:
    """The model's inputs for prompt and response; position ids are left to the model."""
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": prompt["question"]}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    inputs = dict(processor(text=[text], images=images or None, return_tensors="pt"))
    tail = torch.tensor([response])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(tail)], dim=1)
    return inputs


def forward(model: Any, inputs: dict[str, Any], num_tokens: int, vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs [T, V] float64 over the tokenizer's ids and final hidden states [T, d] that predict the response."""
    hidden = model.model(**inputs).last_hidden_state[0, -num_tokens - 1 : -1]
    logits = model(**inputs).logits[0, -num_tokens - 1 : -1, :vocab_size]
    return torch.log_softmax(logits.double(), dim=-1), hidden


def mean(values: list) -> Any:
    return sum(values) / len(values)


def rollout_weights(advantages: list[list[float]]) -> list[float]:
    """Eq. 3-4 over the siblings of one prompt; tau = 1, eps = 1e-6."""
    means = [mean(advantage) for advantage in advantages]
    centre = mean(means)
    std = math.sqrt(mean([(value - centre) ** 2 for value in means]))
    exponentials = [math.exp((value - centre) / (std + 1e-6)) for value in means]
    return [value / sum(exponentials) for value in exponentials]


def grouped_loss(advantage: list[float], kls: list[torch.Tensor]) -> torch.Tensor:
    """Eq. 5: the 20 % of tokens with the highest advantage against the rest, lambda = 0.5."""
    num_high = -(-len(kls) // 5)
    order = sorted(range(len(kls)), key=lambda t: (-advantage[t], t))
    high, low = [kls[t] for t in order[:num_high]], [kls[t] for t in order[num_high:]]
    return 0.5 * mean(high) + 0.5 * mean(low) if low else mean(high)


def load(directory: Path) -> Any:
    return Qwen3VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def main(directory: Path) -> None:
    """{"rows": the teacher's part of every rollout, "students": loss, gradients and rows of each}."""
    teacher = load(directory / "teacher")
    students = {name: load(directory / name) for name in ("student", "untied_student")}
    processor = AutoProcessor.from_pretrained(directory / "student")
    vocab_size = len(AutoTokenizer.from_pretrained(directory / "student"))
    rows: list[dict[str, Any]] = []
    student_rows: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in students}
    prompt_losses: dict[tuple[str, str], list[torch.Tensor]] = defaultdict(list)
    for prompt in json.loads((directory / "prompts.json").read_text()):
        clean = [Image.open(directory / name).convert("RGB") for name in prompt["images"]]
        degraded = [VIEWS[prompt["view"]](image) for image in clean]
        siblings: list[dict[str, Any]] = []
        kls: dict[str, list[list[torch.Tensor]]] = {name: [] for name in students}
        for response in prompt["responses"]:
            size = (len(response), vocab_size)
            sampled = torch.tensor(response)[:, None]
            inputs = encode(processor, prompt, clean, response)
            with torch.no_grad():
                log_t, hidden = forward(teacher, inputs, *size)
                log_d, _ = forward(teacher, encode(processor, prompt, degraded, response), *size)
            clean_log_probs, degraded_log_probs = log_t.gather(1, sampled)[:, 0], log_d.gather(1, sampled)[:, 0]
            siblings.append(
                {
                    "input_ids": inputs["input_ids"][0],
                    "teacher_log_probs": clean_log_probs,
                    "degraded_teacher_log_probs": degraded_log_probs,
                    "teacher_hidden_states": hidden,
                    # Eq. 2
                    "visual_advantage": [
                        max(c - d, 0.0)
                        for c, d in zip(clean_log_probs.tolist(), degraded_log_probs.tolist(), strict=True)
                    ],
                }
            )
            for name, student in students.items():
                log_s, _ = forward(student, inputs, *size)
                kl = (log_s.exp() * (log_s - log_t)).sum(-1)
                kls[name].append(list(kl))
                statistics = {
                    "reverse_kl": kl,
                    "student_log_probs": log_s.gather(1, sampled)[:, 0],
                    "student_entropy": -(log_s.exp() * log_s).sum(-1),
                    "teacher_entropy": -(log_t.exp() * log_t).sum(-1),
                }
                student_rows[name].append({key: value.detach() for key, value in statistics.items()})
        weights = rollout_weights([row["visual_advantage"] for row in siblings])
        for row, weight in zip(siblings, weights, strict=True):
            row["rollout_weight"] = weight
        for name in students:
            losses = [grouped_loss(row["visual_advantage"], kl) for row, kl in zip(siblings, kls[name], strict=True)]
            # Eq. 6 and Eq. 1, before the mean over prompts
            prompt_losses[name, "vaopd"].append(sum(w * loss for w, loss in zip(weights, losses, strict=True)))
            prompt_losses[name, "opd"].append(mean([mean(kl) for kl in kls[name]]))
        rows += siblings
    results: dict[str, Any] = {name: {"rows": student_rows[name], "loss": {}, "gradients": {}} for name in students}
    for (name, method), losses in prompt_losses.items():
        loss = mean(losses)
        students[name].zero_grad()
        loss.backward(retain_graph=True)
        results[name]["loss"][method] = loss.item()
        results[name]["gradients"][method] = {key: p.grad.clone() for key, p in students[name].named_parameters()}
    assert "verl" not in sys.modules, "verl patches the classes that are the oracle"
    torch.save({"rows": rows, "students": results}, directory / "oracle.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
