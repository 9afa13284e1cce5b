"""The tinygeo world: what is drawn, asked and answered, and how it is split and written."""

import hashlib
import io
import json
import random
import re
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_vaopd.answers.rewards import extract_boxed, well_formed
from verl_vaopd.data.scoring import compute_score
from verl_vaopd.data.tinygeo import dataset, figures, ood, questions
from verl_vaopd.data.tinygeo.build import ASSETS
from verl_vaopd.data.tinygeo.models import build_processor, build_tokenizer, load_tokenizer
from verl_vaopd.images import pixelate


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def examples(ood_examples):
    train, unseen = (
        dataset.generate_examples(split, num, seed=0) for split, num in (("train", 3000), ("test_unseen_pairs", 300))
    )
    return train + unseen + ood_examples


@pytest.fixture(scope="module")
def ood_examples():
    return dataset.generate_examples("test_ood", 400, seed=0)


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
    assert all(10 <= length <= 99 for e in examples for length in e.figure.lengths if e.split != "test_ood")
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


def test_labels_are_drawn_whole_and_in_place(examples, ood_examples):
    for example in examples[:400] + ood_examples:
        figure = example.figure
        drawn = "".join(map(str, figure.lengths))
        assert read_digits(figure.image, figure.glyphs) == [[digit] for digit in drawn]
        assert [(glyph.side, glyph.place) for glyph in figure.glyphs] == [
            (side, place) for side, length in enumerate(figure.lengths) for place in range(2 - len(str(length)), 2)
        ]
        centers = [
            np.mean([(g.x, g.y) for g in figure.glyphs if g.side == k], axis=0) - 48 for k in range(len(figure.lengths))
        ]
        for (x0, y0), (x1, y1) in zip(centers, centers[1:] + centers[:1], strict=True):
            # clockwise from the top: the angle of label centres grows
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


# Made by version 1 of the format, with which the data of the shipped models were made.
PLAIN_SPLITS = {
    "train": "73fafd3a5bfe53f17071d7deb5857dbc78846f8f5f164b02a15d2c88eebc8927",
    "validation": "3b3c2767d564e25f7fc168c84726e574334ea8ce6fa8a402076264be52dfb0cd",
    "test": "cc5287195d6aae099ae9221e7c08745beb2398bc8fc1e585c7eb92c6767ff2f5",
    "test_unseen_pairs": "6f81cddefb6ac77df983ca215ab6ef8e3dec221cc98fc81a918e23ff90245b8c",
}


@pytest.mark.parametrize("split", PLAIN_SPLITS)
def test_what_the_shipped_models_were_trained_on_is_still_the_same(split):
    digest = hashlib.sha256()
    for example in dataset.generate_examples(split, 40, seed=0):
        digest.update(example.figure.image.tobytes())
        digest.update("\n".join((example.prompt, example.prompt_with_lengths, example.response.text)).encode())
    assert digest.hexdigest() == PLAIN_SPLITS[split]


def test_out_of_domain_figures_show_one_short_length_that_no_other_split_has(ood_examples):
    for example in ood_examples:
        assert sum(length < 10 for length in example.figure.lengths) == 1
        assert min(example.figure.lengths) >= 1 and len(set(example.figure.lengths)) == len(example.figure.lengths)
    assert {min(e.figure.lengths) for e in ood_examples} == set(range(1, 10))
    asked = [any(e.figure.length(side) < 10 for side in e.question.sides) for e in ood_examples]
    assert 0.2 < np.mean(asked) < 0.6  # the others are about numbers that the models can read
    short_first = [e.figure.lengths.index(min(e.figure.lengths)) for e in ood_examples]
    assert set(short_first) == set(range(6))  # it may stand at any side


def test_out_of_domain_questions_have_other_words_than_all_others(ood_examples, examples):
    def scaffold(example):
        return re.sub(r"\b[A-F]{2}\b|\d+", "_", example.question.text)

    assert not {scaffold(e) for e in ood_examples} & {scaffold(e) for e in examples if e.split != "test_ood"}
    assert len({scaffold(e) for e in ood_examples}) == sum(map(len, questions.OUT_OF_DOMAIN.questions.values()))
    for e in ood_examples:
        assert questions.PLAIN.preamble not in e.prompt and questions.PLAIN.instruction not in e.prompt
        assert e.question.text in e.prompt and "\\boxed{answer}" in e.prompt


def test_out_of_domain_prompts_are_made_of_words_that_the_shipped_models_know(ood_examples):
    """Byte-level, so nothing is unknown to the tokenizer; but a word cut into bytes is unknown to the models."""
    tokenizer = load_tokenizer(ASSETS / "student")
    for example in ood_examples:
        text = example.prompt.replace("\\boxed{answer}", "")  # which is as in every prompt
        tokens = tokenizer.tokenize(text)
        words = re.findall(r" ?[A-Za-z]+", text)
        assert [t for t in tokens if t.strip("Ġ").isalpha()] == [word.replace(" ", "Ġ") for word in words]
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_out_of_domain_prompts_fit_the_prompt_length(ood_examples):
    """data.max_prompt_length of recipes/dataset/tinygeo.yaml, image and chat template included."""
    processor = build_processor(load_tokenizer(ASSETS / "student"))
    longest = max(ood_examples, key=lambda e: len(e.prompt))
    for text in (longest.prompt, longest.prompt_with_lengths):
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids = processor(text=[prompt], images=[Image.fromarray(longest.figure.image)]).input_ids[0]
        assert 60 < len(ids) <= 160


def test_the_other_style_differs_in_every_property_and_keeps_the_names():
    assert ood.STYLE.colors.keys() == figures.COLORS.keys() and ood.STYLE.lines.keys() == figures.LINES.keys()
    for name in figures.COLORS:
        ours, theirs = np.array(ood.STYLE.colors[name]), np.array(figures.COLORS[name])
        assert (ours.sum(axis=1) < theirs.sum(axis=1)).all()  # darker
        fills = {other: np.abs(ours[1] - fill).sum() for other, (_, fill) in figures.COLORS.items()}
        assert min(fills, key=fills.get) == name  # and still nearest to what bears its name
    assert ood.STYLE.lines["thin"] < ood.STYLE.lines["thick"]
    lengths = (10, 20, 30, 40)
    drawn = [figures.draw_figure(random.Random(1), "quadrilateral", lengths, s) for s in (figures.PLAIN, ood.STYLE)]
    assert drawn[0].image.tobytes() != drawn[1].image.tobytes()


def _ink(style):
    """Pixels of the outline of a figure without labels."""
    rng = random.Random(0)
    image, _ = figures._draw_polygon(rng, "hexagon", "red", "thick", style)
    return (image == style.colors["red"][0]).all(-1)


def test_a_single_digit_stands_in_the_middle_of_its_label():
    short, long = (
        figures.draw_figure(random.Random(3), "triangle", (length, 20, 30), ood.STYLE).glyphs for length in (5, 55)
    )
    assert short[0].x == (long[0].x + long[1].x) / 2
    assert (short[0].y, short[1:]) == (long[0].y, long[2:])


def test_a_dashed_outline_is_half_of_a_whole_one():
    solid = figures.Style(figures.COLORS, figures.LINES)
    dashed = figures.Style(figures.COLORS, figures.LINES, dash=5)
    both = _ink(solid) & _ink(dashed)
    assert 0.4 < both.sum() / _ink(solid).sum() < 0.7
    assert both.sum() >= 0.9 * _ink(dashed).sum()  # on the same line


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
    for wrong in (0, 100):
        with pytest.raises(ValueError, match="between 1 and 99"):
            figures.draw_figure(random.Random(0), "triangle", (10, 20, wrong))


def test_parquet_holds_what_verl_reads(tmp_path, tokenizer):
    manifest = dataset.write_dataset(tmp_path / "data", 7, 12, 4, 5, tokenizer)
    assert json.loads((tmp_path / "data" / "manifest.json").read_text()) == manifest
    assert {name: entry["rows"] for name, entry in manifest["files"].items()} == {
        "train.parquet": 12,
        "validation.parquet": 4,
        "test.parquet": 5,
        "test_unseen_pairs.parquet": 5,
        "test_ood.parquet": 5,
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


def test_writing_again_changes_nothing_and_what_is_missing_is_made_again(tmp_path, tokenizer):
    out = tmp_path / "data"
    first = dataset.write_dataset(out, 0, 3, 2, 2, tokenizer)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert dataset.write_dataset(out, 0, 3, 2, 2, tokenizer) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    (out / "train.parquet").unlink()
    assert dataset.write_dataset(out, 0, 3, 2, 2, tokenizer) == first
    assert pq.read_table(out / "train.parquet").num_rows == 3
    assert dataset.write_dataset(out, 1, 3, 2, 2, tokenizer)["files"] != first["files"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_data_set_of_an_older_format_is_made_again(tmp_path, tokenizer, monkeypatch):
    out = tmp_path / "data"
    with monkeypatch.context() as older:
        older.setattr(dataset, "FORMAT_VERSION", dataset.FORMAT_VERSION - 1)
        older.setattr(dataset, "SPLITS", dataset.SPLITS[:-1])
        dataset.write_dataset(out, 0, 3, 2, 2, tokenizer)
    assert not (out / "test_ood.parquet").exists()
    manifest = dataset.write_dataset(out, 0, 3, 2, 2, tokenizer)
    assert pq.read_table(out / "test_ood.parquet").num_rows == 2
    assert manifest["request"]["format"] == dataset.FORMAT_VERSION


def test_interrupted_write_leaves_nothing_behind(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(dataset, "sha256_of", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        dataset.write_dataset(tmp_path / "data", 0, 3, 2, 2, tokenizer)
    assert not list(tmp_path.iterdir())


FOREIGN = ["notes.txt", "train.parquet", "sub/notes.txt"]


@pytest.mark.parametrize(
    ("ours", "there"), [*((False, name) for name in (*FOREIGN, "manifest.json")), *((True, name) for name in FOREIGN)]
)
def test_nothing_that_was_not_written_here_is_replaced(tmp_path, tokenizer, ours, there):
    out = tmp_path / "data"
    if ours:
        dataset.write_dataset(out, 1, 3, 2, 2, tokenizer)
    (out / there).parent.mkdir(parents=True, exist_ok=True)
    (out / there).write_text('{"files": {"mine": 1}}')
    for check in (
        lambda: dataset.require_writable(out, 0, dataset.split_sizes(3, 2, 2)),
        lambda: dataset.write_dataset(out, 0, 3, 2, 2, tokenizer),
    ):
        with pytest.raises(ValueError, match=f"got {there}"):
            check()
    assert (out / there).read_text() == '{"files": {"mine": 1}}'
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_empty_splits_are_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="at least 1 row"):
        dataset.write_dataset(tmp_path / "data", 0, 3, 0, 2, tokenizer)
