"""Images of other prompts, for the view that shows the wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from verl_vaopd.image_files import load_image
from verl_vaopd.images import other_image
from verl_vaopd.rollout.dataset import RowFile


class OtherImages:
    """Picks images from the data set's own files, reproducibly. Opens a file when it is first asked for."""

    def __init__(self, files: Mapping[str, str | Sequence[str]]):
        """`files`: parquet files of each split."""
        self.files = files
        self._places: dict[str, list[tuple[RowFile, int]]] = {}

    def pick(self, split: str, index: str, seed: int, images: Sequence[Image.Image]) -> Image.Image:
        """An image of another prompt of the split than `index`, and none of its own `images`.

        Raises:
            ValueError: no other prompt of the split has another image.
        """
        if split not in self._places:
            names = self.files[split]
            files = [RowFile(name, prompt_suffix="") for name in ([names] if isinstance(names, str) else names)]
            self._places[split] = [(file, number) for file in files for number in range(len(file))]
        places = self._places[split]
        start = seed % max(len(places), 1)
        for file, number in (*places[start:], *places[:start]):
            row = file[number]
            if not row.images or row.index == index:
                continue
            other = load_image(row.images[0])
            # Several questions may be asked about one picture: with it as the other one, the views would be equal.
            if all(other_image(image, other).tobytes() != image.tobytes() for image in images):
                return other
        raise ValueError(
            f"no other prompt than {index} has another image in {self.files[split]}: choose another view kind"
        )
