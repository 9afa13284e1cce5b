"""Time and memory of the fused reverse KL against the materialised form, forward and backward.

    python -m benchmarks.fused_reverse_kl [--tokens N] [--student-dim D] [--teacher-dim D] [--vocab V] ...

Materialised: logits by one matrix product per side, algorithms/divergence.py on them, backward by autograd.
Fused: algorithms/fused_divergence.py. Both end with the gradients of sum(weights * reverse_kl) in the student's hidden
states and head, with random weights; the fused form gets them as a hint (`expected_grad`), as in the actor. It is
also measured without the hint, when it has to go over the vocabulary a second time.

Time: the forms take turns in one process; medians of wall-clock seconds after one round of warm-up.
Memory: each form alone in a fresh process, peak minus what the inputs take. On a CPU the peak is that of the resident
set, as the kernel counts it; with CUDA that of torch's allocator. It includes the gradients to return, which are the
same size in both forms and are also given by themselves.

Writes benchmarks/results/fused_reverse_kl_<device>.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine, require_own_result, resident_bytes, write_result
from verl_vaopd.algorithms import divergence
from verl_vaopd.algorithms.chunk_sizes import CHUNK_SIZE
from verl_vaopd.algorithms.divergences import ReverseKL
from verl_vaopd.algorithms.fused_divergence import fused_divergence

RESULTS = Path(__file__).parent / "results"
TARGETS = {"memory_ratio": 1 / 8, "time_ratio": 1.15}
FORMS = ("materialised", "fused", "fused_without_hint")
# Tokens, student's and teacher's hidden size, tokens per chunk, dtypes. With CUDA a micro-batch of 8192 tokens at the
# sizes of Qwen3-VL-2B and 8B; on a CPU an eighth of each, as the materialised form needs 6 to 7 tensors [N, V] of
# float32.
SIZES = {
    "cpu": (1024, 256, 512, 128, ["float32", "bfloat16"]),
    "cuda": (8192, 2048, 4096, CHUNK_SIZE, ["bfloat16"]),
}


def main() -> None:
    """Measures, prints a table and writes the result; or, as a child process, measures one form's memory."""
    options = parse_options()
    if options.memory_of:
        print(json.dumps(peak_memory(options, options.memory_of, options.dtypes[0])))
        return
    path = options.output or RESULTS / f"fused_reverse_kl_{options.device}.json"
    require_own_result(path)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "sizes": {
            key: getattr(options, key) for key in ("tokens", "vocab", "student_dim", "teacher_dim", "chunk_size")
        },
        "repeats": options.repeats,
        "targets": TARGETS,
        "results": {dtype: measure(options, dtype) for dtype in options.dtypes},
    }
    write_result(path, result)
    for dtype, numbers in result["results"].items():
        print(
            f"{options.device} {dtype}: time {numbers['time_ratio']:.2f} x (target <= {TARGETS['time_ratio']}), "
            f"memory 1/{1 / numbers['memory_ratio']:.1f} (target <= 1/8)"
        )


def parse_options() -> argparse.Namespace:
    """The command line, with the sizes that fit the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=SIZES, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--vocab", type=int, default=151_936, help="Qwen3-VL's head")
    for name in ("--tokens", "--student-dim", "--teacher-dim", "--chunk-size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--memory-of", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, size in zip(
        ("tokens", "student_dim", "teacher_dim", "chunk_size", "dtypes"), SIZES[options.device], strict=True
    ):
        if getattr(options, name) is None:
            setattr(options, name, size)
    return options


def measure(options: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """All numbers of one dtype."""
    memory = {form: memory_in_own_process(options, form, dtype) for form in ("materialised", "fused")}
    seconds = times(options, dtype)
    medians = {form: statistics.median(values) for form, values in seconds.items()}
    return {
        "time_ratio": medians["fused"] / medians["materialised"],
        "time_ratio_without_hint": medians["fused_without_hint"] / medians["materialised"],
        "memory_ratio": memory["fused"]["peak_bytes"] / memory["materialised"]["peak_bytes"],
        "seconds_median": medians,
        "seconds": seconds,
        "memory": memory,
    }


def build(options: argparse.Namespace, dtype: str) -> tuple[dict[str, Callable[[], torch.Tensor]], list[torch.Tensor]]:
    """The forms, each a function that returns the loss, and the tensors that get gradients."""
    torch.manual_seed(0)
    place = {"dtype": getattr(torch, dtype), "device": options.device}

    def normal(rows: int, columns: int, std: float) -> torch.Tensor:
        return torch.empty(rows, columns, **place).normal_(0, std)  # in place: a float32 copy would count as memory

    # Logits of standard deviation 2 on both sides.
    student = [
        normal(options.tokens, options.student_dim, 1),
        normal(options.vocab, options.student_dim, 2 / options.student_dim**0.5),
    ]
    teacher = [
        normal(options.tokens, options.teacher_dim, 1),
        normal(options.vocab, options.teacher_dim, 2 / options.teacher_dim**0.5),
    ]
    weights = torch.rand(options.tokens, device=options.device)
    for tensor in student:
        tensor.requires_grad_()

    def materialised() -> torch.Tensor:
        values = divergence.reverse_kl(student[0] @ student[1].T, teacher[0] @ teacher[1].T)
        return (weights * values).sum()

    def fused(hint: bool) -> torch.Tensor:
        given = {"chunk_size": options.chunk_size, "expected_grad": weights if hint else None}
        return (weights * fused_divergence(ReverseKL(), *student, *teacher, **given).divergence).sum()

    return {
        "materialised": materialised,
        "fused": lambda: fused(True),
        "fused_without_hint": lambda: fused(False),
    }, student


def times(options: argparse.Namespace, dtype: str) -> dict[str, list[float]]:
    """Seconds of forward and backward, the forms in turns."""
    forms, leaves = build(options, dtype)
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for repeat in range(options.repeats + 1):
        for form, loss in forms.items():
            synchronize(options)
            start = time.perf_counter()
            loss().backward()
            synchronize(options)
            if repeat:
                seconds[form].append(time.perf_counter() - start)
            for leaf in leaves:
                leaf.grad = None
    return seconds


def synchronize(options: argparse.Namespace) -> None:
    """Waits for the GPU, if any."""
    if options.device == "cuda":
        torch.cuda.synchronize()


def memory_in_own_process(options: argparse.Namespace, form: str, dtype: str) -> dict[str, int]:
    """peak_memory in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.fused_reverse_kl", "--memory-of", form, "--dtypes", dtype]
    for name in ("device", "vocab", "tokens", "student_dim", "teacher_dim", "chunk_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)


def peak_memory(options: argparse.Namespace, form: str, dtype: str) -> dict[str, int]:
    """Bytes beyond the inputs at the peak of one forward and backward, and those of the gradients among them."""
    tiny = argparse.Namespace(**vars(options) | {"tokens": 4, "vocab": 64})
    build(tiny, dtype)[0][form]().backward()  # loads libraries
    forms, leaves = build(options, dtype)
    cuda = options.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else resident_bytes("VmRSS")
    forms[form]().backward()
    # The highest point is that of this call: building the inputs needs no more than the inputs.
    peak = torch.cuda.max_memory_allocated() if cuda else resident_bytes("VmHWM")
    gradients = sum(leaf.grad.nbytes for leaf in leaves if leaf.grad is not None)
    return {"peak_bytes": peak - before, "of_which_gradients_bytes": gradients}


if __name__ == "__main__":
    main()
