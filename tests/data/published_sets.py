"""Small copies of public data sets, in the layouts in which they are published, with problems made here."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(seed: int, mode: str = "RGB", file_format: str = "PNG") -> bytes:
    """The file of a picture of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, file_format)
    return file.getvalue()


def hub_geometry3k(root: Path, counts: dict[str, int], **changed: dict) -> Path:
    """As hiyouga/geometry3k has it; changed: {split_number: columns that are otherwise}."""
    for split, count in counts.items():
        rows = [
            {
                "images": [{"bytes": picture(number), "path": None}],
                "problem": f"<image>Find $x_{{{number}}}$.",
                "answer": f"{number} \\sqrt {{ 3 }}",
                **changed.get(f"{split}_{number}", {}),
            }
            for number in range(count)
        ]
        (root / "data").mkdir(parents=True, exist_ok=True)
        types = {
            "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "problem": pa.string(),
            "answer": pa.string(),
        }
        table = pa.Table.from_pylist(rows, pa.schema(types))
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def released_geometry3k(root: Path, folder: str, ids: range, **changed: object) -> Path:
    """As the original release has it; changed: fields of data.json that are otherwise."""
    for number in ids:
        problem = root / folder / str(number)
        problem.mkdir(parents=True)
        data = {
            "id": number,
            "annotat_text": f"Find $y_{{{number}}}$.",
            "problem_text": f"Find y {number}.",
            "choices": ["1", str(number), "3", "4"],
            "answer": "B",
            "data_type": "train",
            **changed,
        }
        (problem / "data.json").write_text(json.dumps(data))
        (problem / "img_diagram.png").write_bytes(picture(number))
    return root


def virl39k(root: Path, rows: list[dict], images: dict[str, bytes], packed: bool = True) -> Path:
    """As TIGER-Lab/ViRL39K has it; rows lack nothing but what is the same in all."""
    root.mkdir(parents=True, exist_ok=True)
    common = {"category": "Math", "source": "made here", "PassRate_32BTrained": 0.5, "PassRate_7BBase": None}
    types = {
        **dict.fromkeys(("qid", "question", "answer", "category", "source"), pa.string()),
        "image": pa.list_(pa.string()),
        **dict.fromkeys(("PassRate_32BTrained", "PassRate_7BBase"), pa.float64()),
    }
    table = pa.Table.from_pylist([{**common, **row} for row in rows], pa.schema(types))
    pq.write_table(table, root / "39Krelease.parquet")
    if packed:
        with zipfile.ZipFile(root / "images.zip", "w") as archive:
            for name, data in images.items():
                archive.writestr(name, data)
    else:
        for name, data in images.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(data)
    return root
