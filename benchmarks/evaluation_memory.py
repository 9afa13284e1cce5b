"""Host memory of `vaopd eval` over a benchmark of 10-megapixel images, from its file to the table.

    python -m benchmarks.evaluation_memory [--formats tsv parquet] [--questions N N] [--all-questions N] [--output FILE]

A file in a published layout (MMStar's) is made and deleted afterwards. Its images are of noise: a few dozen, repeated
with some bytes of its own after the end of each. Each measurement is a fresh process that does what `vaopd eval
model=... n=8` does: it has imported vLLM, reads the questions twice (digest, requests), decodes the images, bounds what
is in the engine, stores the responses, scores them and makes the table. Only the engine is a stand-in, which holds of
every unfinished question what vLLM holds, the processed images, and which ends one question in every step. It answers
at once, with texts of 4 KB (some 1000 tokens).

processed  images are decoded, and processed by the models' own image processor; files of 4 MB (JPEG) and 18 MB (PNG,
           every 24th)
read       as many questions as the paper's benchmarks have together; to save hours, image files are small (JPEG,
           0.3 MB) and are read but not decoded, and the engine holds none: what is left must not grow with questions

Memory is the peak of the resident set, as the kernel counts it, up to the end of each stage. That the engine is in the
process and not beside it adds its images to the peak; a GPU's driver and the weights are not in it.

Writes benchmarks/results/evaluation_memory_cpu.json.
"""

from __future__ import annotations

import argparse
import base64
import csv
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

import verl_vaopd
from benchmarks.machine import describe_machine, require_own_result, resident_bytes, write_result

RESULT = Path(__file__).parent / "results" / "evaluation_memory_cpu.json"
MODEL = Path(verl_vaopd.__file__).parent / "assets" / "tinygeo" / "student"
TARGET_BYTES = 4_000_000_000
WIDTH, HEIGHT = 3872, 2592
NUM_IMAGES, PNG_EVERY = 24, 24
ROW_GROUP = 100  # rows, as data sets of images are published
NUM_SAMPLES = 8
NUM_SLOTS = 256  # samples that vLLM runs at a time, its default on most GPUs
RESPONSE = "Each figure shows a line that is longer than the one before it. " * 63
KINDS = ("processed", "read")


def main() -> None:
    """Measures, prints and writes the result; or, as a child process, measures one file."""
    options = parse_options()
    if options.measure:
        print(json.dumps(measure(options.measure, Path(options.file))))
        return
    require_own_result(options.output)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "image_pixels": WIDTH * HEIGHT,
        "samples_per_question": NUM_SAMPLES,
        "target_peak_bytes": TARGET_BYTES,
        "results": [],
    }
    plan = [("processed", number) for number in options.questions]
    plan += [("read", options.all_questions)] if options.all_questions else []
    for layout, (kind, number) in itertools.product(options.formats, plan):
        found = {"format": layout, "kind": kind, "questions": number, **measure_in_own_process(layout, kind, number)}
        result["results"].append(found)
        write_result(options.output, result)
        peaks = ", ".join(f"{stage} {size / 1e9:.2f} GB" for stage, size in found["peak_bytes"].items())
        print(f"{layout}, {kind}, {number} questions, file of {found['file_bytes'] / 1e9:.1f} GB: {peaks}", flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=["tsv", "parquet"], default=["tsv", "parquet"])
    parser.add_argument("--questions", nargs="*", type=int, default=[100, 200], help="of kind `processed`")
    parser.add_argument("--all-questions", type=int, default=14_119, help="of kind `read`; 0: none")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_in_own_process(layout: str, kind: str, number: int) -> dict[str, Any]:
    """measure in a fresh process, of a file made for it."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"mmstar.{layout}"
        write_file(file, encoded_images(kind), number)
        command = [sys.executable, "-m", "benchmarks.evaluation_memory", "--measure", kind, "--file", str(file)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
        return {"file_bytes": file.stat().st_size, **json.loads(done.stdout.splitlines()[-1])}


def encoded_images(kind: str) -> list[bytes]:
    """Files of coarse noise, with fine noise on top where they may be large."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(NUM_IMAGES):
        coarse = rng.integers(0, 256, (HEIGHT // 64, WIDTH // 64, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        file = BytesIO()
        if kind == "read":
            image.save(file, "jpeg", quality=20)
        else:
            pixels = np.asarray(image, dtype=np.int16) + rng.integers(-16, 17, (HEIGHT, WIDTH, 1), dtype=np.int16)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            kept = {"format": "jpeg", "quality": 90} if number % PNG_EVERY else {"format": "png", "compress_level": 1}
            image.save(file, **kept)
        files.append(file.getvalue())
    return files


def write_file(path: Path, images: list[bytes], number: int) -> None:
    """The questions, every image a row's own."""
    rows = (
        {"index": i, "question": f"What is in figure {i}?", "answer": "ABCD"[i % 4], "category": f"kind {i % 6}"}
        | {letter: f"thing {letter}" for letter in "ABCD"}
        for i in range(number)
    )
    if path.suffix == ".tsv":
        with path.open("w", newline="") as file:
            table = csv.writer(file, dialect="excel-tab")
            for i, row in enumerate(rows):
                if i == 0:
                    table.writerow([*row, "image"])
                table.writerow([*row.values(), base64.b64encode(own_image(images, i)).decode()])
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    while group := list(itertools.islice(rows, ROW_GROUP)):
        cells = [{"bytes": own_image(images, row["index"]), "path": None} for row in group]
        image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.Table.from_pylist(group).append_column("image", pa.array(cells, image_type))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def own_image(images: list[bytes], row: int) -> bytes:
    """Of this row only, so that a dictionary of values saves nothing; decoders stop before the bytes at the end."""
    return images[row % len(images)] + row.to_bytes(8)


def measure(kind: str, file: Path) -> dict[str, Any]:
    """Peaks in bytes and seconds of every stage."""
    from vllm import LLM  # noqa: F401  as VllmSource has it

    from verl_vaopd.evaluation import run as run_module
    from verl_vaopd.evaluation.benchmark import ImagePart
    from verl_vaopd.evaluation.settings import parse
    from verl_vaopd.evaluation.tables import make_tables
    from verl_vaopd.image_sizes import ImageSizes

    if kind == "read":
        # Of the size that the file says; nothing is decoded before the pixels are asked for.
        ImagePart.image = property(lambda part: Image.open(BytesIO(part.encoded())))
        ImageSizes.resize = lambda sizes, image: image
    process = image_processor() if kind == "processed" else None
    peaks, seconds = {"before": resident_bytes("VmHWM")}, {}
    start = time.perf_counter()

    def ended(stage: str) -> None:
        nonlocal start
        peaks[stage] = resident_bytes("VmHWM")
        seconds[stage], start = time.perf_counter() - start, time.perf_counter()

    source = stand_in_source(process, lambda: ended("sampled"))
    run_module._source = lambda *_: source
    run_module.weights_fingerprint = lambda _: "stand-in"
    words = ["model=stand-in", "benchmarks=mmstar", f"files.mmstar={file}", f"out={file.parent / 'out'}"]
    out, _ = run_module.run(parse([*words, f"n={NUM_SAMPLES}"]))
    ended("scored")
    make_tables([out], "rule", out)
    ended("tabled")
    return {"peak_bytes": peaks, "seconds": seconds, "most_questions_in_engine": source._engine.most_running}


def image_processor() -> Callable[..., np.ndarray]:
    """That of the models' family: an image's patches, float32."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(MODEL)
    return lambda image, options: processor([image], **options, return_tensors="np")["pixel_values"]


def stand_in_source(process: Callable[..., np.ndarray] | None, closed: Callable[[], object]) -> Any:
    """sources.local_vllm.VllmSource around a stand-in engine."""
    from omegaconf import OmegaConf

    from verl_vaopd.evaluation.settings import Settings
    from verl_vaopd.evaluation.sources.local_vllm import VllmSource
    from verl_vaopd.evaluation.sources.occupancy import Occupancy

    class Source(VllmSource):
        def __init__(self) -> None:
            self._engine = Engine(process)
            self._settings, self._model = OmegaConf.structured(Settings(model="stand-in")), str(MODEL)
            self._in_groups, self._max_samples, self.num_gpus = False, 2 * NUM_SLOTS, 0
            self.occupancy = Occupancy(NUM_SLOTS)

        def close(self) -> None:
            self._engine.held.clear()
            closed()

    return Source()


class Engine:
    """In place of vllm.LLM: holds the processed images of unfinished questions, and ends the oldest in every step."""

    def __init__(self, process: Callable[..., np.ndarray] | None) -> None:
        self.llm_engine = self
        self.held: dict[str, tuple[Any, list[np.ndarray]]] = {}
        self.most_running = self._num_asked = 0
        self._process = process

    def get_tokenizer(self) -> Engine:
        return self

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return str(messages)

    def enqueue(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[str]:
        (prompt,), (param,) = prompts, params
        images = []
        if self._process is not None:
            options = prompt["mm_processor_kwargs"]
            images = [self._process(image, options) for image in prompt["multi_modal_data"]["image"]]
        key, self._num_asked = str(self._num_asked), self._num_asked + 1
        self.held[key] = (param, images)
        self.most_running = max(self.most_running, len(self.held))
        return [f"{key}-stand-in"]

    def step(self) -> Iterator[Any]:
        key = next(iter(self.held))
        param, _ = self.held.pop(key)
        texts = (f"{RESPONSE} {key}. The answer is {'ABCD'[i % 4]}." for i in range(param.n))
        outputs = [
            SimpleNamespace(index=i, text=text, finish_reason="stop", token_ids=[0] * 1000)
            for i, text in enumerate(texts)
        ]
        yield SimpleNamespace(finished=True, request_id=key, outputs=outputs)

    def get_num_unfinished_requests(self) -> int:
        return sum(param.n for param, _ in self.held.values())


if __name__ == "__main__":
    main()
