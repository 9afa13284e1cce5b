"""The tinygeo world: what is drawn, asked and answered, and how it is split and written."""

import io
import json
import random
import re
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_vaopd.data.tinygeo import dataset, figures, questions
from verl_vaopd.data.tinygeo.models import build_tokenizer
from verl_vaopd.images import pixelate
from verl_vaopd.rewards import compute_score, extract_boxed, well_formed


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def examples():
    return dataset.generate_examples("train", 3000, seed=0) + dataset.generate_examples(
        "test_unseen_pairs", 300, seed=0
    )


def expected_answer(example):
    """The answer from the question's words and the drawn lengths alone."""
    text, figure = example.question.text, example.figure
    lengths = dict(zip(figures.side_names(figure.kind), figure.lengths, strict=True))
    named = [lengths[side] for side in re.findall(r"\b[A-F]{2}\b", text)]
    number = re.search(r"\d+", text)
    if example.question.type == "missing":
        return int(number[0]) - named[0]
    return {"sum": sum(named), "difference": abs(named[0] - named[1]), "comparison": max(named)}[example.question.type]


def test_answers_follow_from_figure_and_question(examples):
    for example in examples:
        assert example.question.answer == expected_answer(example)
        assert example.question.answer > 0
        assert extract_boxed(example.response.text) == str(example.question.answer)
        assert well_formed(example.response.text)


def test_every_equation_of_a_response_is_true(examples):
    for example in examples:
        equations = re.findall(r"(\d[\d +-]*) = (\d+)", example.response.text)
        equations += re.findall(r"(\d+, plus 1) is (\d+)", example.response.text)
        equations += re.findall(r"(\d+, minus 1) is (\d+)", example.response.text)
        assert equations or example.question.type == "comparison"
        for left, right in equations:
            terms = re.findall(r"([+-]?) ?(\d+)", left.replace(", plus", " +").replace(", minus", " -"))
            assert sum(-int(n) if sign == "-" else int(n) for sign, n in terms) == int(right), (left, right)


def test_world_is_as_varied_as_promised(examples):
    assert {e.question.type for e in examples} == set(questions.QUESTION_TYPES)
    assert len(questions.QUESTION_TYPES) >= 4
    assert {e.figure.kind for e in examples} == set(figures.KINDS)
    assert len(figures.KINDS) >= 3
    assert {len(e.figure.lengths) for e in examples} == {3, 4, 5, 6}
    assert all(10 <= length <= 99 for e in examples for length in e.figure.lengths)
    assert all(len(set(e.figure.lengths)) == len(e.figure.lengths) for e in examples)


def test_responses_have_120_to_250_tokens(examples, tokenizer):
    counts = [len(ids) for ids in tokenizer([e.response.text for e in examples]).input_ids]
    assert min(counts) >= 120
    assert max(counts) <= 250


def test_wording_varies():
    """One problem is worded in many ways; numbers and names aside, thousands of responses share few scaffolds."""
    example = dataset.make_example("train", 0, 0)
    texts = {questions.respond(random.Random(k), example.figure, example.question).text for k in range(200)}
    assert len(texts) > 150


def test_read_spans_are_the_first_mentions_of_the_needed_labels(examples, tokenizer):
    for example in examples[:500]:
        text, figure, question = example.response.text, example.figure, example.question
        assert [text[s:e] for s, e in example.response.reads] == [str(figure.length(side)) for side in question.sides]
        assert sorted(text[s:e] for s, e in example.response.coarse) == sorted((figure.color, figure.kind, figure.line))
        for side, (start, _) in zip(question.sides, example.response.reads, strict=True):
            assert side in text[max(0, start - 20) : start]
        row = dataset.to_row(example, tokenizer)["extra_info"]
        ids = tokenizer(row["response"]).input_ids
        assert len(ids) == len(row["response_read_mask"]) == len(row["response_coarse_mask"])
        read = [tokenizer.decode([i]) for i, m in zip(ids, row["response_read_mask"], strict=True) if m]
        assert "".join(read) == "".join(str(figure.length(side)) for side in question.sides)
        coarse = [tokenizer.decode([i]).strip() for i, m in zip(ids, row["response_coarse_mask"], strict=True) if m]
        assert sorted("".join(coarse)) == sorted(figure.color + figure.kind + figure.line)


def test_prompt_with_lengths_states_every_label(examples):
    for example in examples[:300]:
        given = dict(re.findall(r"([A-F]{2}) = (\d\d)", example.prompt_with_lengths))
        assert given == {side: str(example.figure.length(side)) for side in example.figure.sides}
        assert not re.findall(r"[A-F]{2} = ", example.prompt)
        assert example.question.text in example.prompt
        assert example.question.text in example.prompt_with_lengths


def read_digits(image, glyphs):
    """Match every glyph's 10 x 14 pixels against the font."""
    found = []
    for glyph in glyphs:
        x, y = int(glyph.x - 5), int(glyph.y - 7)
        ink = (image[y : y + 14 : 2, x : x + 10 : 2] < 100).all(-1)
        rows = " ".join("".join(str(int(bit)) for bit in row) for row in ink)
        found.append([digit for digit, font in figures.FONT.items() if font == rows])
    return found


def test_labels_are_drawn_whole_and_in_place(examples):
    for example in examples[:400]:
        figure = example.figure
        drawn = "".join(map(str, figure.lengths))
        assert read_digits(figure.image, figure.glyphs) == [[digit] for digit in drawn]
        assert [2 * glyph.side + glyph.place for glyph in figure.glyphs] == list(range(2 * len(figure.lengths)))
        centers = [(g.x, g.y) for g in figure.glyphs]
        for k in range(len(figure.lengths)):  # clockwise from the top: the angle of label centres grows
            (x0, y0), (x1, y1) = (
                np.add(centers[2 * j], centers[2 * j + 1]) / 2 - 48 for j in (k, (k + 1) % len(figure.lengths))
            )
            assert x0 * y1 - y0 * x1 > 0 or len(figure.lengths) == 3


def test_pixelation_destroys_digits_and_keeps_color():
    rng = random.Random(0)
    for color, (_, fill) in figures.COLORS.items():
        figure = figures.draw_figure(rng, "hexagon", (10, 20, 30, 40, 50, 60))
        while figure.color != color:
            figure = figures.draw_figure(rng, "hexagon", figure.lengths)
        degraded = np.asarray(pixelate(Image.fromarray(figure.image)))
        assert not any(read_digits(degraded, figure.glyphs))
        assert np.abs(degraded[48, 48].astype(int) - fill).max() < 40


def test_splits_are_disjoint_by_content():
    content = {
        split: {
            (e.figure.kind, e.figure.lengths) for seed in (0, 1) for e in dataset.generate_examples(split, 700, seed)
        }
        for split in dataset.SPLITS
    }
    for a, b in combinations(dataset.SPLITS, 2):
        assert not content[a] & content[b]
    for split, keys in content.items():
        assert all(dataset.split_of(*key) == split for key in keys)


def test_unseen_pairs_never_meet_in_the_other_splits():
    for split in ("train", "validation", "test"):
        for example in dataset.generate_examples(split, 1000, seed=3):
            assert not any(dataset.is_unseen_pair(a, b) for a, b in combinations(example.figure.lengths, 2))
    for example in dataset.generate_examples("test_unseen_pairs", 500, seed=3):
        operands = [example.figure.length(side) for side in example.question.sides]
        assert any(dataset.is_unseen_pair(a, b) for a, b in combinations(operands, 2))
    share = len(dataset.unseen_pairs()) / (90 * 89 / 2)
    assert 0.05 < share < 0.12


def test_examples_depend_on_seed_and_index_only():
    few, many = dataset.generate_examples("train", 3, seed=5), dataset.generate_examples("train", 6, seed=5)
    assert [e.response.text for e in few] == [e.response.text for e in many[:3]]
    assert all((a.figure.image == b.figure.image).all() for a, b in zip(few, many, strict=False))
    assert dataset.make_example("train", 6, 0).response.text != few[0].response.text


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"'dev'.*validation"):
        dataset.make_example("dev", 0, 0)


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="triangle needs 3 lengths"):
        figures.draw_figure(random.Random(0), "triangle", (10, 20))
    with pytest.raises(ValueError, match="between 10 and 99"):
        figures.draw_figure(random.Random(0), "triangle", (10, 20, 100))


def test_parquet_holds_what_verl_reads(tmp_path, tokenizer):
    manifest = dataset.write_dataset(tmp_path / "data", 7, 12, 4, 5, tokenizer)
    assert json.loads((tmp_path / "data" / "manifest.json").read_text()) == manifest
    assert {name: entry["rows"] for name, entry in manifest["files"].items()} == {
        "train.parquet": 12,
        "validation.parquet": 4,
        "test.parquet": 5,
        "test_unseen_pairs.parquet": 5,
    }
    rows = pq.read_table(tmp_path / "data" / "train.parquet").to_pylist()
    for index, row in enumerate(rows):
        example = dataset.make_example("train", 7, index)
        assert row["data_source"] == "tinygeo"
        assert row["prompt"] == [{"role": "user", "content": "<image>" + example.prompt}]
        image = np.asarray(Image.open(io.BytesIO(row["images"][0]["bytes"])))
        assert (image == example.figure.image).all()
        info = row["extra_info"]
        assert (info["split"], info["index"], info["question_type"]) == ("train", index, example.question.type)
        assert row["reward_model"] == {"style": "rule", "ground_truth": info["answer"]}
        assert compute_score(row["data_source"], info["response"], info["answer"])["score"] == 1.0


def test_writing_again_changes_nothing_and_damage_is_repaired(tmp_path, tokenizer):
    out = tmp_path / "data"
    first = dataset.write_dataset(out, 0, 3, 2, 2, tokenizer)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert dataset.write_dataset(out, 0, 3, 2, 2, tokenizer) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    (out / "train.parquet").write_bytes(b"half a file")
    assert dataset.write_dataset(out, 0, 3, 2, 2, tokenizer) == first
    assert pq.read_table(out / "train.parquet").num_rows == 3
    assert dataset.write_dataset(out, 1, 3, 2, 2, tokenizer)["files"] != first["files"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_interrupted_write_leaves_nothing_behind(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(dataset, "sha256_of", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        dataset.write_dataset(tmp_path / "data", 0, 3, 2, 2, tokenizer)
    assert not list(tmp_path.iterdir())


def test_foreign_directories_and_empty_splits_are_refused(tmp_path, tokenizer):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        dataset.write_dataset(tmp_path, 0, 3, 2, 2, tokenizer)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="at least 1 row"):
        dataset.write_dataset(tmp_path / "data", 0, 3, 0, 2, tokenizer)
