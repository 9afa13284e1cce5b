"""Host memory of `vaopd eval` over 10-megapixel images with vLLM itself.

    python -m benchmarks.evaluation_memory_vllm [--questions N N] [--output FILE]

evaluation_memory.py measures thousands of questions with a stand-in for the engine; here few are asked for real: vLLM
on the CPU, images of 4 megapixels (the default limit) at 16 pixels a patch as Qwen3-VL has them, so 4,096 tokens each,
n = 8. The model is tinygeo's student with larger patches and random weights, a few MB; the key-value cache
takes 0.27 GB. Responses are cut at 32 tokens. The file has more questions than are asked: one whole row group is read.

Memory is the proportional set size of all processes, in which what they share counts once, read every half second. With
real models, a GPU's driver comes on top, and the weights while they are loaded.

Writes benchmarks/results/evaluation_memory_vllm_cpu.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.evaluation_memory import HEIGHT, NUM_SAMPLES, ROW_GROUP, WIDTH, encoded_images, write_file
from benchmarks.machine import describe_machine, require_own_result, write_result

RESULT = Path(__file__).parent / "results" / "evaluation_memory_vllm_cpu.json"
PATCH_SIZE = 16
ENGINE = {
    "max_model_len": 8192,
    "max_num_batched_tokens": 8192,
    "max_num_seqs": 80,  # so that pixels bound what is in the engine, not samples
    "kv_cache_memory_bytes": 2**28,
}
SECONDS_BETWEEN_READINGS = 0.5


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", nargs="+", type=int, default=[12])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    require_own_result(options.output)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "image_pixels": WIDTH * HEIGHT,
        "samples_per_question": NUM_SAMPLES,
        "engine": ENGINE,
        "results": [],
    }
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_model(root / "model")
        file = root / "mmstar.parquet"
        write_file(file, encoded_images("processed"), ROW_GROUP)
        for number in options.questions:
            found = {"questions": number, **measure(root / "model", file, number)}
            result["results"].append(found)
            write_result(options.output, result)
            print(f"{number} questions, {found['seconds']:.0f} s: {found['peak_bytes'] / 1e9:.2f} GB", flush=True)


def write_model(path: Path) -> None:
    """The student of tinygeo with patches as large as Qwen3-VL's, and weights by chance."""
    import torch

    import verl_vaopd
    from verl_vaopd.platform import activate, cpu_environment

    os.environ.update(cpu_environment())
    activate()  # before transformers' vision classes
    from transformers import AutoConfig, Qwen3VLForConditionalGeneration

    student = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo" / "student"
    shutil.copytree(student, path, ignore=shutil.ignore_patterns("*.safetensors"))
    processor_file = path / "processor_config.json"
    processor = json.loads(processor_file.read_text())
    for name in ("image_processor", "video_processor"):
        processor[name]["patch_size"] = PATCH_SIZE
    processor_file.write_text(json.dumps(processor))
    config = AutoConfig.from_pretrained(path)
    config.vision_config.patch_size = PATCH_SIZE
    config.text_config.max_position_embeddings = ENGINE["max_model_len"]
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(config).save_pretrained(path)


def measure(model: Path, file: Path, number: int) -> dict[str, Any]:
    """Runs `vaopd eval` on the first questions and reads its memory until it ends."""
    words = [f"model={model}", "benchmarks=mmstar", f"files.mmstar={file}", f"out={file.parent / str(number)}"]
    words += [
        f"limit={number}",
        f"n={NUM_SAMPLES}",
        "max_tokens=32",
        *(f"engine.{name}={value}" for name, value in ENGINE.items()),
    ]
    log = file.parent / f"{number}.log"
    start, peak = time.perf_counter(), 0
    with log.open("wb") as output:
        command = [sys.executable, "-m", "verl_vaopd.cli", "eval", *words]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=Path(__file__).parents[1])
        while process.poll() is None:
            peak = max(peak, proportional_bytes(process.pid))
            time.sleep(SECONDS_BETWEEN_READINGS)
    if process.returncode:
        raise RuntimeError(f"vaopd eval ended with {process.returncode}:\n{log.read_text()[-5000:]}")
    return {"peak_bytes": peak, "seconds": time.perf_counter() - start}


def proportional_bytes(pid: int) -> int:
    """Of a process and all below it."""
    size = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                size += process.memory_full_info().pss
    return size


if __name__ == "__main__":
    main()
