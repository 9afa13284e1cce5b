"""The files in which benchmarks are published: which ones a path stands for, and their rows with their images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from verl_vaopd.evaluation.formats.delimited import DIALECTS, read_delimited
from verl_vaopd.evaluation.formats.entry import Entry
from verl_vaopd.evaluation.formats.images import NoImage, RawImage, named_images
from verl_vaopd.evaluation.formats.json_rows import read_json
from verl_vaopd.evaluation.formats.parquet import read_parquet
from verl_vaopd.evaluation.formats.spreadsheet import read_spreadsheet


def _read_json(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        yield from read_json(file, path)


_READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    **dict.fromkeys(DIALECTS, read_delimited),
    **dict.fromkeys((".jsonl", ".json"), _read_json),
    ".parquet": read_parquet,
    ".xlsx": read_spreadsheet,
}
SUFFIXES = tuple(_READERS)
TABLES_OF_TEXT = (*DIALECTS, ".xlsx")
"""Those whose every cell is a text."""
_TSV = ".tsv"
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z", ".rar")
_TABLES = tuple(suffix for suffix in SUFFIXES if suffix != ".parquet")


def read_rows(path: Path, splits: Sequence[str], image_columns: Sequence[str]) -> Iterator[Entry]:
    """The rows of a published file, in order, with their images; NoImage stands for them where the file has none.

    Args:
        path: a file of one of SUFFIXES, or a directory that has parquet files of the wanted split at any depth, or one
            TSV, or one other such file. Where it has several of these, the first count.
        splits: names of the split's parquet files up to the first dot or hyphen.
        image_columns: those with paths of images, or with images in base64. They count where no column holds images
            themselves, and of them the first that has a value.
    Raises:
        ValueError: nothing to read there, or what a reader cannot read.
    """
    for file in files_of(path, splits):
        for entry in read_file(file):
            yield replace(entry, images=_images(file, entry, image_columns))


def read_file(path: Path) -> Iterator[Entry]:
    """The rows of one file. Raises ValueError for a file of another kind, and as its reader."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        packed = path.suffix.lower() in _PACKED
        raise ValueError(
            f"{path}: got a {path.suffix or 'file without ending'}, expected one of {', '.join(SUFFIXES)}; "
            + ("unpack it first" if packed else "name another file, or convert it")
        )
    return reader(path)


def files_of(path: Path, splits: Sequence[str]) -> list[Path]:
    """The files that a path stands for; see read_rows."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path}: expected a file or directory that exists; name the file")
    parquet = sorted(file for file in path.rglob("*parquet") if is_of_split(file.name, splits))
    if parquet:
        return parquet
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in _TABLES)
    of_text = [file for file in tables if file.suffix == _TSV]  # beside what the hub says about it in JSON
    if len(of_text or tables) == 1:
        return of_text or tables
    if tables:
        raise ValueError(f"{path}: got {', '.join(table.name for table in tables)}, expected one; name the file")
    raise ValueError(
        f"{path}: got a directory without {splits[0]}*.parquet and without a file of {', '.join(_TABLES)}, expected "
        "one of them; name the file"
    )


def is_of_split(name: str, splits: Sequence[str]) -> bool:
    """Whether a file, by its name alone, is one of the parquet files of some split."""
    return any(fnmatchcase(name, f"{split}[.-]*parquet") for split in splits)


def _images(file: Path, entry: Entry, columns: Sequence[str]) -> tuple[RawImage, ...]:
    """Those in the row, else those that it names."""
    if entry.images:
        return entry.images
    named = named_images(entry.fields, columns, file.parent)
    if named is None and entry.images is None:
        return (NoImage(tuple(columns), f"{file.name} {entry.place}"),)
    return named or ()
