"""Images of other prompts, for the view that shows the wrong one."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow.parquet as pq
from PIL import Image


class OtherImages:
    """Picks images from the data set's own files, reproducibly. Reads a file when it is first asked for."""

    def __init__(self, files: Mapping[str, str | Sequence[str]]):
        """`files`: parquet files of each split, with columns `images` and `extra_info`."""
        self.files = files
        self._rows: dict[str, tuple[list[str], list[bytes]]] = {}

    def pick(self, split: str, index: str, seed: int) -> Image.Image:
        """An image of another prompt of the split than `index`.

        Raises:
            ValueError: no other prompt of the split has an image.
        """
        if split not in self._rows:
            self._rows[split] = self._read(split)
        indices, images = self._rows[split]
        start = seed % max(len(images), 1)
        for row in (*range(start, len(images)), *range(start)):
            if indices[row] != index:
                return Image.open(io.BytesIO(images[row])).convert("RGB")
        raise ValueError(f"no other prompt than {index} has an image in {self.files[split]}: choose another view kind")

    def _read(self, split: str) -> tuple[list[str], list[bytes]]:
        files = self.files[split]
        indices, images = [], []
        for file in [files] if isinstance(files, str) else files:
            for row in pq.read_table(file, columns=["images", "extra_info"]).to_pylist():
                if row["images"]:
                    indices.append(str(row["extra_info"]["index"]))
                    images.append(row["images"][0]["bytes"])
        return indices, images
