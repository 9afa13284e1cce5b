"""The data set that verl's trainer and agent loops are given (`data.custom_cls`): rows of parquet files, as checked.

Rows are read by data/rows.py and images by image_files.py, as the check before a start does. In place of verl's
RLHFDataset, which decodes, converts and drops on its own. Images travel as their files' bytes to where they are used.
"""

from __future__ import annotations

import asyncio
import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig
from PIL import Image
from torch.utils.data import Dataset

from verl_vaopd.data.rows import COLUMNS, Row, RowError, index_of, read_row
from verl_vaopd.image_files import load_image
from verl_vaopd.image_sizes import ImageSizes


class RowFile:
    """Rows of a parquet file by their number; on disk, uncompressed, until they are asked for.

    Args:
        path: the file; its name says which split it is.
        prompt_suffix: as data.rows.read_row.
    """

    def __init__(self, path: str | Path, prompt_suffix: str) -> None:
        self.path = Path(path).expanduser()
        self.split = self.path.stem
        self._suffix = prompt_suffix
        names = pq.read_schema(self.path).names
        columns = [name for name in COLUMNS if name in names]
        # The path is a pattern to `datasets`.
        found = datasets.load_dataset("parquet", data_files=glob.escape(str(self.path)), columns=columns, split="train")
        self._rows = found.with_format("arrow")  # as stored: no image is decoded

    def __len__(self) -> int:
        return len(self._rows)

    def indices(self) -> list[str]:
        """What names each row, in their order; no image is touched."""
        if "extra_info" not in self._rows.column_names:
            return [str(number) for number in range(len(self))]
        column = self._rows.select_columns("extra_info")[:]["extra_info"].to_pylist()
        return [index_of(extra_info, number) for number, extra_info in enumerate(column)]

    def __getitem__(self, number: int) -> Row:
        """A row. Raises ValueError, naming file and row, for one that cannot be used."""
        (raw,) = self._rows[number].to_pylist()
        try:
            return read_row(raw, number, self.path.parent, self._suffix)
        except RowError as error:
            raise ValueError(f"{self.path}, row {number}, {error}") from None


class PromptDataset(Dataset):
    """Prompts of one or several files, one after the other.

    Args:
        data_files, tokenizer, config, processor, max_samples: as verl gives them; `config` is `data` of the
            configuration, of which `rows` is read.
    """

    def __init__(
        self,
        data_files: str | Sequence[str],
        tokenizer: Any,
        config: DictConfig,
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        paths = [data_files] if isinstance(data_files, str) else data_files
        self.processor = processor
        self.files = [RowFile(path, config.rows.prompt_suffix) for path in paths]
        left_out = _left_out(config.rows.left_out)
        places = [
            (number, row)
            for number, file in enumerate(self.files)
            for row in range(len(file))
            if row not in left_out.get(file.path, ())
        ]
        if 0 < max_samples < len(places):  # verl draws them in this way
            chosen = np.arange(max_samples)
            if config.shuffle:
                chosen = np.random.default_rng(config.seed).choice(len(places), size=max_samples, replace=False)
            places = [places[place] for place in chosen]
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def keep_first(self, num_rows: int) -> None:
        """Leave the first `num_rows` rows of every file."""
        self._places = [(file, number) for file, number in self._places if number < num_rows]

    def questions_of(self, split: str) -> list[str]:
        """What names the rows of a split, in their order."""
        names = {number: file.indices() for number, file in enumerate(self.files) if file.split == split}
        return [names[file][number] for file, number in self._places if file in names]

    def __getitem__(self, place: int) -> dict[str, Any]:
        """A prompt as verl's agent loops take it."""
        file, number = self._places[place]
        row = self.files[file][number]
        return {
            "raw_prompt": row.messages,
            "data_source": row.data_source,
            "reward_model": {"ground_truth": row.ground_truth, "question": row.question},
            "extra_info": row.extra_info,
            "index": row.index,
            "split": self.files[file].split,
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),  # verl's batches have a tensor
        }

    @classmethod
    async def process_multi_modal_info(
        cls, messages: Sequence[Mapping[str, Any]], image_patch_size: int, config: DictConfig
    ) -> tuple[list[Image.Image] | None, None, None]:
        """The images of a prompt, decoded and resized; verl's agent loops call it."""
        rows = config.rows

        def read() -> list[Image.Image] | None:
            sizes = ImageSizes.of_model(rows.student, rows.min_pixels, rows.max_pixels)
            return images_of(messages, sizes) or None

        return await asyncio.get_running_loop().run_in_executor(None, read), None, None


def _left_out(record: str | None) -> dict[Path, set[int]]:
    """{file: rows that the run leaves out}, which the check before the start has recorded (row_check.py)."""
    if record is None:
        return {}
    rows = json.loads(Path(record).read_text(encoding="utf-8"))
    return {Path(file): set(numbers) for file, numbers in rows.items()}


def images_of(messages: Sequence[Mapping[str, Any]], sizes: ImageSizes) -> list[Image.Image]:
    """The images of a prompt as every model is given them: RGB, and resized.

    Args:
        messages: of a Row.
        sizes: that the student reads, and so the teacher.
    """
    return [
        sizes.resize(load_image(part["image"]))
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "image"
    ]
