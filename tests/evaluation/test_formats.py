"""The kinds of files that people publish questions in: one content in all of them, and what is refused."""

import base64
import csv
import datetime
import io
import json
import random

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.evaluation.published_rows import ROWS
from verl_vaopd.evaluation.benchmark import ImagePart
from verl_vaopd.evaluation.benchmarks import BENCHMARKS
from verl_vaopd.evaluation.formats.json_rows import read_json
from verl_vaopd.evaluation.published import read_rows

AI2D = ROWS["ai2d_tsv"][1]
QUESTIONS = [
    {**AI2D, "index": "7", "question": 'Which is "prey"?\nSay so, 图.', "image_path": "a.png"},
    {**AI2D, "index": "9", "A": "None", "B": "14", "image_path": "b.png"},
]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def as_lines(rows, end="\n"):
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def as_table(rows, dialect):
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]), dialect=dialect)
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def as_spreadsheet(rows, with_index=False):
    """As pandas writes it: numbers are numbers, and the index of the frame may be a column without a name."""
    book = openpyxl.Workbook()
    header = list(rows[0])
    book.active.append([None, *header] if with_index else header)
    for number, row in enumerate(rows):
        cells = [int(cell) if isinstance(cell, str) and cell.isdecimal() else cell for cell in row.values()]
        book.active.append([number, *cells] if with_index else cells)
    return saved(book)


def saved(book):
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def as_parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


BOM = b"\xef\xbb\xbf"
KEYED = {row["index"]: {name: value for name, value in row.items() if name != "index"} for row in QUESTIONS}
KINDS = {
    "lines.jsonl": as_lines(QUESTIONS),
    "lines of Windows.jsonl": BOM + as_lines(QUESTIONS, "\r\n"),
    "lines by another name.json": as_lines(QUESTIONS),
    "a list.json": json.dumps(QUESTIONS).encode(),
    "a printed list.json": BOM + json.dumps(QUESTIONS, indent=2).encode(),
    "a list by another name.jsonl": json.dumps(QUESTIONS).encode(),
    "a row to a line.json": b"[\n" + b",\n".join(json.dumps(row).encode() for row in QUESTIONS) + b"\n]\n",
    "by id.json": json.dumps(KEYED).encode(),
    "by id, printed.json": json.dumps(KEYED, indent=1).encode(),
    "table.tsv": as_table(QUESTIONS, "excel-tab"),
    "table.csv": BOM + as_table(QUESTIONS, "excel"),
    "TABLE.CSV": as_table(QUESTIONS, "excel"),
    "sheet.xlsx": as_spreadsheet(QUESTIONS),
    "sheet of pandas.xlsx": as_spreadsheet(QUESTIONS, with_index=True),
    "paths.parquet": as_parquet(QUESTIONS),
}


@pytest.fixture
def folder(tmp_path):
    """One image beside the file, one in the folder images/."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "images" / "b.png")
    return tmp_path


def colours(question):
    return [part.image.getpixel((0, 0)) for part in question.content if isinstance(part, ImagePart)]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_questions_in_every_kind_of_file(folder, name):
    (folder / name).write_bytes(KINDS[name])
    first, second = BENCHMARKS["ai2d"].load(folder / name)
    assert (first.id, second.id) == ("7", "9")
    assert first.fields.keys() == QUESTIONS[0].keys()
    assert (colours(first), colours(second)) == ([RED], [BLUE])
    assert first.fields["question"] == QUESTIONS[0]["question"]
    assert "A. None\nB. 14\nC. grass" in second.content[-1]
    assert BENCHMARKS["ai2d"].score(first.fields, "B", "rule").hit == 1.0
    assert first.cluster != second.cluster  # by their images, and the same wherever the folder is
    assert str(folder) not in first.cluster + second.cluster


def test_images_stand_in_a_row_in_several_ways(folder):
    data = (folder / "a.png").read_bytes()
    large = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(large, "bmp")
    text = base64.b64encode(large.getvalue()).decode()
    rows = [
        {"images": ["a.png", "b.png"]},
        {"images": "['a.png', 'b.png']"},
        {"image": {"path": "b.png", "bytes": None}},
        {"image": "data:image/png;base64," + base64.b64encode(data).decode()},
        {"image": text},
        {"image": str(folder / "a.png")},
        {"images": [], "image_path": "b.png"},
        {"image_2": "a.png", "image_1": "b.png", "image_3": None},
    ]
    path = folder / "custom.jsonl"
    path.write_bytes(as_lines([{"question": "q", "answer": "a", **row} for row in rows]))
    found = list(BENCHMARKS["custom"].load(path))
    assert [colours(question) for question in found[:4]] == [[RED, BLUE], [RED, BLUE], [BLUE], [RED]]
    assert found[4].content[0].encoded() == large.getvalue()
    assert [colours(question) for question in found[5:]] == [[RED], [BLUE], [BLUE, RED]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl.gz", b"\x1f\x8b", r"got a \.gz, expected one of .*; unpack it first"),
        ("x.xls", b"\xd0\xcf", r"got a \.xls, expected one of .*; name another file, or convert it"),
        ("x", b"{}", r"got a file without ending, expected one of \.tsv, \.csv"),
        ("x.json", b'{"7": {"a": 1}, "7": {"a": 2}}', r"JSON: got the key '7' twice"),
        ("x.json", b'[{"a": 1},\n{"a": 2}', r"JSON: got .*line 2.*, expected one JSON object per line, a list"),
        ("x.json", b'[{"a": 1}, 5]', r"row 1: got a int, expected a JSON object"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', r"line 2: got .*, expected one JSON object"),
        ("x.jsonl", b'{"a": \n{"a": 1}\n', r"line 1: got .*, expected one JSON object"),
        ("x.csv", "a;b\n1,2\n".encode("utf-16"), r"got 'utf-8' codec.*, expected a table of text in UTF-8"),
        ("x.csv", b"", r"got an empty file, expected a table with a header"),
        ("x.xlsx", b"PK\x03\x04", r"expected an \.xlsx file"),
        ("x.xlsx", saved(openpyxl.Workbook()), r"got an empty sheet, expected a table with a header"),
        ("x.parquet", b"PAR1", r"expected a parquet file; download it again"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a spreadsheet has the time in its bytes
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        list(read_rows(path, ("test",), ("image",)))
    assert str(path) in str(error.value)


def test_a_text_that_a_spreadsheet_has_made_a_date(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["question", "answer"])
    book.active.append(["=2+3?", datetime.date(2024, 2, 1)])
    (tmp_path / "x.xlsx").write_bytes(saved(book))
    with pytest.raises(ValueError, match=r"row 0: answer: got a date or time, 2024-02-01.*format it as text"):
        list(BENCHMARKS["custom"].load(tmp_path / "x.xlsx"))
    book.active["B2"].number_format = "General"
    book.active["B2"] = 5.0
    (tmp_path / "x.xlsx").write_bytes(saved(book))
    (question,) = BENCHMARKS["custom"].load(tmp_path / "x.xlsx")
    assert question.fields == {"question": "=2+3?", "answer": "5"}


def test_a_directory_with_several_tables_is_not_guessed_at(folder):
    for name in ("test.json", "test.csv"):
        (folder / name).write_bytes(KINDS["a list.json" if name.endswith("json") else "table.csv"])
    with pytest.raises(ValueError, match=r"got test\.csv, test\.json, expected one; name the file"):
        list(BENCHMARKS["ai2d"].load(folder))
    (folder / "test.csv").rename(folder / "AI2D.tsv")  # what the hub says about a data set is JSON, too
    (folder / "AI2D.tsv").write_bytes(KINDS["table.tsv"])
    (folder / "test.json").write_text("{}")
    assert len(list(BENCHMARKS["ai2d"].load(folder))) == 2


@pytest.mark.parametrize("name", ["lines.jsonl", "by id.json", "table.tsv", "sheet.xlsx", "paths.parquet"])
def test_a_damaged_file_is_told_and_nothing_worse(tmp_path, name):
    path = tmp_path / name
    generator = random.Random(0)
    for _ in range(60):
        content = bytearray(KINDS[name])
        place = generator.randrange(len(content))
        content[place : place + generator.choice([1, 8, len(content)])] = generator.randbytes(generator.choice([0, 4]))
        path.write_bytes(content)
        try:
            list(read_rows(path, ("test",), ("image_path",)))
        except ValueError as error:
            assert str(path) in str(error)


def test_json_lines_are_read_as_a_stream():
    def lines():
        yield b'{"a": 1}\n'
        yield b'{"a": 2}\n'
        raise AssertionError("read ahead")

    assert next(read_json(lines())).fields == {"a": 1}
