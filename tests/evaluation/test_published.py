"""The published layouts, written here in small: TSV with pointers, parquet, JSONL; images on demand."""

import base64
import csv
import io
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.benchmark import ImagePart, Question
from verl_vaopd.evaluation.benchmarks import BENCHMARKS, PAPER
from verl_vaopd.evaluation.formats.images import ImageBytes, ImageFile
from verl_vaopd.evaluation.formats.values import as_list, as_mapping
from verl_vaopd.evaluation.published import read_rows
from verl_vaopd.evaluation.sources.endpoint import data_url
from verl_vaopd.evaluation.sources.local_vllm import images_of

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def png(colour, size=(8, 6), mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def base64_png(colour):
    return base64.b64encode(png(colour)).decode()


def write_tsv(path: Path, rows):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, dialect="excel-tab", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def colours(question):
    return [part.image.getpixel((0, 0)) for part in question.content if isinstance(part, ImagePart)]


RED, BLUE = (255, 0, 0), (0, 0, 255)


def ai2d_row(index, image, **more):
    return {**ROWS["ai2d_tsv"][1], "index": index, "image": image, **more}


def test_tsv_images_and_pointers_in_both_directions(tmp_path):
    rows = [
        ai2d_row("0", base64_png("red")),
        ai2d_row("1", "0"),
        ai2d_row("2", "3"),
        ai2d_row("3", base64_png("blue")),
        ai2d_row("4", base64_png("red")),
    ]
    questions = list(BENCHMARKS["ai2d"].load(write_tsv(tmp_path / "AI2D_TEST.tsv", rows)))
    assert [colours(question) for question in questions] == [[RED], [RED], [BLUE], [BLUE], [RED]]
    assert [question.id for question in questions] == ["0", "1", "2", "3", "4"]
    clusters = [question.cluster for question in questions]
    assert clusters[0] == clusters[1] == clusters[4] != clusters[2] == clusters[3]
    assert "image" not in questions[0].fields
    assert questions[0].fields["A"] == "hawk"


def test_tsv_cells_may_hold_lines_tabs_quotes_and_words_for_nothing(tmp_path):
    question = 'He said: "one\ttwo"\nthree\n'
    rows = [
        ai2d_row("0", base64_png("red"), question=question, A="None", B="NA", C="nan", D=""),
        ai2d_row("1", base64_png("blue"), question="ünïcode 图"),
    ]
    first, second = BENCHMARKS["ai2d"].load(write_tsv(tmp_path / "x.tsv", rows))
    assert first.fields["question"] == question
    assert "A. None\nB. NA\nC. nan\nPlease" in first.content[-1]
    assert (colours(second), second.fields["question"]) == ([BLUE], "ünïcode 图")


def test_tsv_rows_with_several_images_and_with_none(tmp_path):
    mmmu = {**ROWS["mmmu_tsv_choice"][1], "question": "From <image 2> to <image 1>."}
    rows = [
        {**mmmu, "index": "1", "image": str([base64_png("red"), base64_png("blue")])},
        {**mmmu, "index": "2", "id": "dev_Art_1", "split": "dev", "image": base64_png("red")},
    ]
    (question,) = BENCHMARKS["mmmu"].load(write_tsv(tmp_path / "MMMU_DEV_VAL.tsv", rows))
    assert colours(question) == [BLUE, RED]
    assert [part for part in question.content if isinstance(part, str)][:2] == ["Question: From ", " to "]
    rows = [
        {**ROWS["hallusionbench_tsv"][1], "image": base64_png("red")},
        {**ROWS["hallusionbench_tsv"][1], "index": "a_VS_x_1_0_1", "image": ""},
    ]
    assert len(list(BENCHMARKS["hallusionbench"].load(write_tsv(tmp_path / "h.tsv", rows)))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index\timage\tquestion\n1\t7\tq\n", "points to row 7"),
        ("index\timage\tquestion\n1\t\n", "2 cells.*expected 3"),
        ("", "got an empty file, expected a table with a header"),
    ],
)
def test_a_broken_tsv_is_told(tmp_path, content, message):
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        list(read_rows(path, ("test",), ()))


def test_a_tsv_that_is_not_utf8_is_told(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(b"index\timage\n1\t\xff\xfe\n")
    with pytest.raises(ValueError, match="UTF-8"):
        list(read_rows(path, ("test",), ()))


def test_a_broken_image_is_told_when_it_is_read(tmp_path):
    path = write_tsv(tmp_path / "x.tsv", [ai2d_row("0", "A" * 101)])
    (question,) = BENCHMARKS["ai2d"].load(path)
    with pytest.raises(ValueError, match="download the file again"):
        question.content[0].encoded()


def test_questions_of_a_tsv_hold_no_images(tmp_path):
    """24 rows of 1 MB each, all questions kept: what is held stays below a few rows."""
    generator = random.Random(0)
    megabyte = base64.b64encode(generator.randbytes(750_000)).decode()
    path = write_tsv(tmp_path / "x.tsv", [ai2d_row(str(i), f"{i:04}{megabyte}") for i in range(24)])
    list(read_rows(write_tsv(tmp_path / "warm.tsv", [ai2d_row("0", base64_png("red"))]), (), ()))
    tracemalloc.start()
    questions = list(BENCHMARKS["ai2d"].load(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(questions) == 24
    assert peak < 12_000_000


def test_an_image_is_decoded_once_and_only_on_demand(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png("red"))
    part = ImagePart(ImageFile(path))
    first = part.image
    path.unlink()
    assert part.image is first
    with pytest.raises(OSError):
        part.encoded()


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 7, (7, 7, 7)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_images_are_rgb_and_transparency_is_white(mode, colour, seen):
    image = ImagePart(ImageBytes(png(colour, mode=mode))).image
    assert (image.mode, image.getpixel((3, 3))) == ("RGB", seen)


def write_parquet(path, rows, image_columns):
    schema_of = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in image_columns} for row in rows])
    table = schema_of
    for name, kind in image_columns.items():
        table = table.append_column(name, pa.array([row.get(name) for row in rows], type=kind))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def as_struct(colour):
    return {"bytes": png(colour), "path": f"{colour}.png"}


def test_parquet_with_several_image_columns(tmp_path):
    row = {**ROWS["mmmu_hf_choice"][1], "question": "<image 2> or <image 1>?"}
    rows = [{**row, "image_1": as_struct("red"), "image_2": as_struct("blue"), "image_3": None}]
    columns = dict.fromkeys(("image_1", "image_2", "image_3"), IMAGE)
    path = write_parquet(tmp_path / "Accounting" / "validation-00000-of-00001.parquet", rows, columns)
    write_parquet(tmp_path / "Accounting" / "test-00000-of-00001.parquet", rows, columns)
    for source in (path, tmp_path):
        (question,) = BENCHMARKS["mmmu"].load(source)
        assert colours(question) == [BLUE, RED]
        assert question.fields == row
        assert question.content[0] == "Question: "


def test_parquet_with_a_list_of_images(tmp_path):
    fields, columns = {**ROWS["geo3k"][1], "choices": ["1", "2"]}, {"images": pa.list_(IMAGE)}
    rows = [{**fields, "images": [as_struct("red")]}, {**fields, "id": 8, "images": [as_struct("red")]}]
    questions = list(BENCHMARKS["geo3k"].load(write_parquet(tmp_path / "test-00000-of-00001.parquet", rows, columns)))
    assert [question.id for question in questions] == ["7", "8"]
    assert questions[0].cluster == questions[1].cluster
    assert colours(questions[0]) == [RED]
    assert questions[0].content[1].startswith("Find x. Please reason")


PAPER_LAYOUTS = [layout for layout, (name, _, _) in ROWS.items() if name in PAPER]
IN_TSV = [layout for layout in PAPER_LAYOUTS if "index" in ROWS[layout][1] and layout != "mmstar_hf"]


@pytest.mark.parametrize("layout", PAPER_LAYOUTS)
def test_every_benchmark_in_every_layout_from_file_to_score(tmp_path, layout):
    name, fields, right = ROWS[layout]
    if layout in IN_TSV:
        path = write_tsv(tmp_path / f"{name}.tsv", [{**fields, "image": base64_png("red")}])
    else:
        column = "image_1" if name == "mmmu" else "picture"
        path = tmp_path / f"{BENCHMARKS[name].splits[0]}.parquet"
        write_parquet(path, [{**fields, column: as_struct("red")}], {column: IMAGE})
    (question,) = BENCHMARKS[name].load(path)
    assert colours(question) == [RED]
    text = "".join(part for part in question.content if isinstance(part, str))
    assert text == BENCHMARKS[name].prompt(fields).replace("<image 1>", "")
    assert BENCHMARKS[name].score(question.fields, right, "rule").hit == 1.0


def test_both_layouts_of_every_benchmark_are_tried():
    for name in PAPER:
        of_name = [layout for layout in PAPER_LAYOUTS if ROWS[layout][0] == name]
        assert {layout in IN_TSV for layout in of_name} == {True, False}, name


def test_parquet_images_may_be_bare_bytes(tmp_path):
    """As MMStar's."""
    rows = [{**ROWS["mmstar_hf"][1], "image": png("red")}, {**ROWS["mmstar_hf"][1], "index": 1, "image": png("blue")}]
    questions = list(
        BENCHMARKS["mmstar"].load(write_parquet(tmp_path / "mmstar.parquet", rows, {"image": pa.binary()}))
    )
    assert [colours(question) for question in questions] == [[RED], [BLUE]]
    assert "image" not in questions[0].fields


def test_as_many_marks_as_images(tmp_path):
    rows = [{**ROWS["geo3k"][1], "images": [as_struct("red"), as_struct("blue")]}]
    path = write_parquet(tmp_path / "test.parquet", rows, {"images": pa.list_(IMAGE)})
    with pytest.raises(ValueError, match=r"row 0: <image>: got 1 marks and 2 images"):
        list(BENCHMARKS["geo3k"].load(path))


def test_a_numbered_mark_without_an_image(tmp_path):
    rows = [{**ROWS["mmmu_hf_choice"][1], "question": "See <image 2>.", "image_1": as_struct("red")}]
    path = write_parquet(tmp_path / "validation.parquet", rows, {"image_1": IMAGE})
    with pytest.raises(ValueError, match=r"<image 2>: got 1 images"):
        list(BENCHMARKS["mmmu"].load(path))


def test_an_image_without_a_mark_comes_first(tmp_path):
    rows = [{**ROWS["mmmu_hf_choice"][1], "question": "No mark.", "image_1": as_struct("red")}]
    (question,) = BENCHMARKS["mmmu"].load(write_parquet(tmp_path / "validation.parquet", rows, {"image_1": IMAGE}))
    assert isinstance(question.content[0], ImagePart)


def test_parquet_images_may_be_paths_beside_the_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png("blue"))
    rows = [{**ROWS["ocrbench_hf_text"][1], "image": {"bytes": None, "path": "a.png"}}]
    (question,) = BENCHMARKS["ocrbench"].load(write_parquet(tmp_path / "test.parquet", rows, {"image": IMAGE}))
    assert colours(question) == [BLUE]


def test_mathvista_keeps_its_metadata_and_one_of_its_two_images(tmp_path):
    rows = [{**ROWS["mathvista_hf_choice"][1], "image": "images/3.jpg", "decoded_image": as_struct("red")}]
    path = write_parquet(tmp_path / "data" / "testmini-00000-of-00001.parquet", rows, {"decoded_image": IMAGE})
    (question,) = BENCHMARKS["mathvista"].load(tmp_path)
    assert colours(question) == [RED]
    assert question.fields["image"] == "images/3.jpg"
    assert question.fields["metadata"]["source"] == "GEOS"
    assert path.exists()


def test_text_only_questions_of_mathverse_are_not_asked(tmp_path):
    row = ROWS["mathverse_choice"][1]
    rows = [{**row, "image": as_struct("red")}, {**row, "problem_version": "Text Only", "image": None}]
    (question,) = BENCHMARKS["mathverse"].load(write_parquet(tmp_path / "testmini.parquet", rows, {"image": IMAGE}))
    assert (question.id, question.cluster) == ("1", "1")


def test_a_directory_is_searched_for_the_split(tmp_path):
    rows = [{**ROWS["mathverse_choice"][1], "image": as_struct("red")}]
    for name in ("testmini", "testmini_text_only", "train-00000-of-00001"):
        write_parquet(tmp_path / f"{name}.parquet", rows, {"image": IMAGE})
    assert len(list(BENCHMARKS["mathverse"].load(tmp_path))) == 1


@pytest.mark.parametrize("content", [None, "x.txt"])
def test_nothing_to_read_is_told(tmp_path, content):
    if content:
        (tmp_path / content).write_text("x")
    for path in (tmp_path, tmp_path / "missing.tsv", tmp_path / "x.txt"):
        with pytest.raises(ValueError, match=r"expected .*name (the|another) file"):
            list(BENCHMARKS["mathvista"].load(path))


def test_two_tables_in_a_directory_must_be_told_apart(tmp_path):
    for name in ("a.tsv", "b.tsv"):
        write_tsv(tmp_path / name, [ai2d_row("0", base64_png("red"))])
    with pytest.raises(ValueError, match="name the file"):
        list(BENCHMARKS["ai2d"].load(tmp_path))
    (tmp_path / "b.tsv").unlink()
    assert len(list(BENCHMARKS["ai2d"].load(tmp_path))) == 1


def test_custom_jsonl_with_paths(tmp_path):
    (tmp_path / "a.png").write_bytes(png("red"))
    (tmp_path / "b.png").write_bytes(png("blue"))
    rows = [
        {"question": "Is <image> or <image> red?", "answer": "the first", "images": ["a.png", "b.png"], "id": "x"},
        {"question": "And this?", "answer": ["no"], "images": "b.png", "cluster": 4},
        {"question": "No image?", "answer": "yes"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    first, second, third = BENCHMARKS["custom"].load(path)
    assert first.content[0] == "Is "
    assert colours(first) == [RED, BLUE]
    assert (first.id, second.id, second.cluster) == ("x", "1", "4")
    assert (colours(second), second.content[1]) == ([BLUE], "And this?")
    assert third.content == ("No image?",)


@pytest.mark.parametrize(("line", "message"), [("{", "line 2: got Expecting"), ("[1]", "line 2: got a list")])
def test_a_broken_custom_line_is_told(tmp_path, line, message):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "q", "answer": "a"}\n' + line)
    with pytest.raises(ValueError, match=message):
        list(BENCHMARKS["custom"].load(path))


def test_tinygeo_is_asked_as_in_training(tmp_path):
    rows = [{**ROWS["tinygeo"][1], "images": [as_struct("red")]}]
    for name in ("test", "test_ood"):
        write_parquet(tmp_path / f"{name}.parquet", rows, {"images": pa.list_(IMAGE)})
    (question,) = BENCHMARKS["tinygeo"].load(tmp_path)
    assert colours(question) == [RED]
    assert question.content[1] == "How long are AB and BC together?"
    assert BENCHMARKS["tinygeo"].score(question.fields, "\\boxed{42}", "rule").hit == 1.0


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (["a"], ["a"]),
        (("a", "b"), ["a", "b"]),
        ("['a', \"b's\"]", ["a", "b's"]),
        ("[]", []),
        ("[1, 2", ["[1, 2"]),
        ("[x]", ["[x]"]),
        ("plain", ["plain"]),
        ("[" * 5000 + "]" * 5000, ["[" * 5000 + "]" * 5000]),
    ],
)
def test_as_list(value, items):
    assert as_list(value) == items


@pytest.mark.parametrize(
    ("value", "mapping"), [({"a": 1}, {"a": 1}), ("{'a': 1}", {"a": 1}), ("{a", {}), (None, {}), ("{1}", {})]
)
def test_as_mapping(value, mapping):
    assert as_mapping(value) == mapping


def test_evaluation_sees_what_training_sees(tmp_path):
    """A photograph that lies on its side: right side up for vLLM here, and for a server that knows no EXIF."""
    lying = Image.new("RGB", (6, 3), "red")
    lying.paste("blue", (0, 0, 3, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    upright = tmp_path / "upright.png"
    Image.new("RGB", (3, 6), "red").save(upright)
    part = ImagePart(ImageFile(tmp_path / "lying.png"))
    assert part.image.size == (3, 6)
    assert [part.image.getpixel((1, y)) for y in (0, 5)] == [(0, 0, 255), (255, 0, 0)]
    sent = base64.b64decode(data_url(part).partition(",")[2])
    assert Image.open(io.BytesIO(sent)).tobytes() == part.image.tobytes()
    assert base64.b64decode(data_url(ImagePart(ImageFile(upright))).partition(",")[2]) == upright.read_bytes()


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    question = Question("q7", (ImagePart(ImageFile(tmp_path / "cut.png")),), {}, "c")
    with pytest.raises(ValueError, match=r"question q7: .*image"):
        images_of(question)
