"""Images are decoded once per question, and what is held does not grow with the number of questions."""

from __future__ import annotations

import base64
import csv
import os
import subprocess
import sys
import tracemalloc
import weakref
from functools import cached_property
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile

from tests.evaluation.vllm_engine import ForgetfulEngine, StandInSource
from verl_vaopd.evaluation import run as run_module
from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.questions import read_questions
from verl_vaopd.evaluation.settings import parse
from verl_vaopd.evaluation.storage import read_rows

NUM_QUESTIONS, NUM_SAMPLES = 40, 2


def png(number):
    file = BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "png")
    return file.getvalue()


def write_tsv(path, images):
    with path.open("w", newline="") as file:
        table = csv.writer(file, dialect="excel-tab")
        table.writerow(["index", "image", "question", "answer", "category", "A", "B"])
        for number, image in enumerate(images):
            table.writerow([number, base64.b64encode(image).decode(), f"Question {number}?", "A", "math", "yes", "no"])


def write_parquet(path, images, row_group_size, use_dictionary=True):
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "index": list(range(len(images))),
            "question": [f"Question {number}? A: yes, B: no" for number in range(len(images))],
            "answer": ["A"] * len(images),
            "category": ["math"] * len(images),
            "image": pa.array([{"bytes": image, "path": None} for image in images], image_type),
        }
    )
    pq.write_table(table, path, row_group_size=row_group_size, use_dictionary=use_dictionary)


@pytest.fixture(params=["tsv", "parquet"])
def data(tmp_path, request):
    """Questions of MMStar, each with an image of its own."""
    images = [png(number) for number in range(NUM_QUESTIONS)]
    path = tmp_path / f"mmstar.{request.param}"
    if request.param == "tsv":
        write_tsv(path, images)
    else:
        write_parquet(path, images, row_group_size=10)
    return path


@pytest.fixture
def num_decoded(monkeypatch):
    """Calls: how many image files have been decoded so far."""
    decoded = []
    load = ImageFile.ImageFile.load

    def counted(self):
        if self.tile:  # there is something left to decode
            decoded.append(self)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    return lambda: len(decoded)


class Alive:
    """Objects that are still in use, and how many at most at a time."""

    def __init__(self):
        self._seen, self.most = [], 0

    def add(self, thing):
        self._seen = [seen for seen in self._seen if seen() is not None] + [weakref.ref(thing)]
        self.most = max(self.most, len(self._seen))


def evaluate(tmp_path, data, monkeypatch):
    source = StandInSource(ForgetfulEngine(), in_groups=False, max_samples=20)
    monkeypatch.setattr(run_module, "_source", lambda *_: source)
    monkeypatch.setattr(run_module, "weights_fingerprint", lambda _: "m")
    words = ["model=m", "benchmarks=mmstar", f"data={data.parent}", f"out={tmp_path / 'out'}", f"n={NUM_SAMPLES}"]
    out, num_failed = run_module.run(parse(words))
    rows = list(read_rows(out / "mmstar" / "responses.jsonl"))
    assert num_failed == 0 and len(rows) == NUM_QUESTIONS * NUM_SAMPLES
    return source


def test_an_image_is_decoded_once_for_all_samples(tmp_path, data, monkeypatch, num_decoded):
    evaluate(tmp_path, data, monkeypatch)
    assert num_decoded() == NUM_QUESTIONS


def test_no_image_is_decoded_to_tell_questions_apart(tmp_path, data, num_decoded):
    found = read_questions(BENCHMARKS["mmstar"], data, None)
    assert len(found.lines) == NUM_QUESTIONS and num_decoded() == 0


def test_only_the_next_questions_are_held(tmp_path, data, monkeypatch):
    """Ten questions are in the engine; of them, and of those that are done, neither text nor image is kept."""
    decoded, questions = Alive(), Alive()
    decode, load = ImagePart.image.func, type(BENCHMARKS["mmstar"]).load

    def tracked_decode(self):
        image = decode(self)
        decoded.add(image)
        return image

    def tracked_load(self, path):
        for question in load(self, path):
            questions.add(question)
            yield question

    tracked = cached_property(tracked_decode)
    tracked.__set_name__(ImagePart, "image")
    monkeypatch.setattr(ImagePart, "image", tracked)
    monkeypatch.setattr(type(BENCHMARKS["mmstar"]), "load", tracked_load)
    source = evaluate(tmp_path, data, monkeypatch)
    assert source._engine.most_running == 10
    assert 1 <= decoded.most <= 3 and 1 <= questions.most <= 3


def test_a_table_is_read_by_the_row(tmp_path):
    """40 rows of 400 KB, 16 MB in all."""
    write_tsv(tmp_path / "mmstar.tsv", [os.urandom(300_000) for _ in range(40)])
    tracemalloc.start()
    try:
        questions = sum(isinstance(one, Question) for one in BENCHMARKS["mmstar"].load(tmp_path / "mmstar.tsv"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert questions == 40 and peak < 6_000_000


def test_parquet_is_read_by_the_page(tmp_path):
    """Row groups of 1.6 MB, each in one page: the page as stored, as it was before, and a row; in a fresh process."""
    write_parquet(tmp_path / "mmstar.parquet", [os.urandom(100_000) for _ in range(48)], row_group_size=16)
    script = (
        "import sys, pyarrow\n"
        "from verl_vaopd.evaluation.benchmarks import BENCHMARKS\n"
        "number = sum(1 for _ in BENCHMARKS['mmstar'].load(sys.argv[1]))\n"
        "print(number, pyarrow.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", script, tmp_path / "mmstar.parquet"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    number, peak = map(int, told.split())
    assert number == 48 and peak < 4_400_000


def test_the_compressed_bytes_of_a_page_are_given_back(tmp_path):
    """To the system, of 64 MB; in a fresh process. Without a dictionary, which would hold its values once more."""
    images = [os.urandom(4_000_000) for _ in range(16)]
    write_parquet(tmp_path / "mmstar.parquet", images, row_group_size=16, use_dictionary=False)
    script = (
        "import sys, pyarrow.parquet\n"
        "from benchmarks.machine import resident_bytes\n"
        "from verl_vaopd.evaluation.benchmarks import BENCHMARKS\n"
        "before = resident_bytes('VmRSS')\n"
        "questions = BENCHMARKS['mmstar'].load(sys.argv[1])\n"
        "next(questions)\n"
        "print(resident_bytes('VmRSS') - before)"
    )
    command = [sys.executable, "-c", script, tmp_path / "mmstar.parquet"]
    root = Path(__file__).parents[2]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=root).stdout
    assert 64_000_000 < int(told) < 110_000_000
