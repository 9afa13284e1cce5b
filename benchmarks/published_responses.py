"""The protocol `rule` on responses that others have published, beside the verdicts that they published with them.

    VAOPD_REAL_FILES=DIR python -m benchmarks.published_responses [--verdicts FILE] [--newly FILE [--sample N]]

The files are other people's and not part of this repository: MathVista's four published outputs, MMMU's two output
files, one of MMMU-Pro, and R1-V's two of GeoQA, in the folders `mathvista`, `mmmu`, `mmmu_pro` and `geoqa_qwen2vl`.

`--verdicts` keeps what was found in every response, to be compared with another version of this package. `--newly`
takes such a file of an older version and prints the responses in which it found no answer and this one does: N of them,
drawn by the hash of their ids, to be read by a person.
"""

import argparse
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from verl_vaopd.answers.choice import letters_of, parse_choice
from verl_vaopd.evaluation.benchmark import Verdict
from verl_vaopd.evaluation.benchmarks import BENCHMARKS

MATHVISTA = ("bard", "claude", "llava", "gpt4_2shot_ocr")
MMMU = ("qwen_vl", "llava1.5_13b")
GEOQA = ("instruct", "grpo_2epochs")


class Published(NamedTuple):
    """A published response with its published verdict."""

    file: str
    id: str
    benchmark: str
    fields: Mapping[str, Any]
    response: str
    is_right: bool | None
    """By its publisher; None where the official parser finds nothing and would guess."""
    names_an_answer: bool
    """Whether the publisher's extraction is an answer, not empty and no "N/A": else the verdict says little."""

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.file}/{self.id}"


def published(root: Path) -> Iterator[Published]:
    """All of them."""
    yield from _mathvista(root)
    yield from _mmmu(root)
    for row in _lines(root / "mmmu_pro/gpt-4o_standard_10_options_cot.jsonl"):
        yield Published("mmmu_pro", row["id"], "mmmu", row, row["response"], row["if_right"], True)
    for name in GEOQA:
        for number, row in enumerate(_lines(root / f"geoqa_qwen2vl/{name}.jsonl")):
            fields = {"question": row["question"], "answer": row["answer"]}
            yield Published(f"geoqa_{name}", str(number), "custom", fields, row["response"], row["is_correct"], True)


def verdict(row: Published) -> Verdict:
    """Ours."""
    fields = {name: value for name, value in row.fields.items() if name != "response"}
    return BENCHMARKS[row.benchmark].score(fields, row.response, "rule")


def _mathvista(root: Path) -> Iterator[Published]:
    questions = json.loads((root / "mathvista/testmini.json").read_text())
    for name in MATHVISTA:
        for row in _lines(root / f"mathvista/published_{name}.jsonl"):
            fields = questions[row["pid"]]
            names = _names_an_answer(fields, str(row["extraction"]).strip())
            yield Published(
                f"mathvista_{name}", row["pid"], "mathvista", fields, row["response"] or "", row["true_false"], names
            )


def _names_an_answer(fields: Mapping[str, Any], extraction: str) -> bool:
    if fields["question_type"] == "multi_choice":
        options = letters_of(fields["choices"])
        letter = re.match(r"\(?([A-Z])\)?(?!\w)", extraction)
        return (letter is not None and letter[1] in options) or parse_choice(extraction, options) is not None
    if fields["answer_type"] == "list":
        return "[" in extraction
    return re.fullmatch(r"[-$]{0,2}[\d.,]+%?", extraction) is not None


def _mmmu(root: Path) -> Iterator[Published]:
    for name in MMMU:
        for row in _lines(root / f"mmmu/output_{name}.jsonl"):
            fields = {"question": "", **{key: value for key, value in row.items() if key != "response"}}
            if "all_choices" in row:
                fields["options"] = [row["index2ans"][letter] for letter in row["all_choices"]]
            official = BENCHMARKS["mmmu"].score(fields, row["response"], "official")
            is_right = None if official.parsed is None else bool(official.hit)
            yield Published(f"mmmu_{name}", row["id"], "mmmu", fields, row["response"], is_right, is_right is not None)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=Path, metavar="FILE", help="write what was found in every response")
    parser.add_argument("--newly", type=Path, metavar="FILE", help="an older version's: print what is found newly")
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="how many of them (default: 200)")
    options = parser.parse_args()
    root = os.environ.get("VAOPD_REAL_FILES")
    if not root:
        parser.error("VAOPD_REAL_FILES: not set; expected the folder with the published files")
    rows = list(published(Path(root)))
    verdicts = [verdict(row) for row in rows]
    counts: dict[str, Counter[str]] = {}
    for row, ours in zip(rows, verdicts, strict=True):
        count = counts.setdefault(row.file, Counter())
        count["responses"] += 1
        count["unparsed"] += ours.parsed is None
        if row.is_right is not None:
            count["compared"] += 1
            count["agree"] += row.is_right == bool(ours.hit)
            count["compared, an answer named"] += row.names_an_answer
            count["agree, an answer named"] += row.names_an_answer and row.is_right == bool(ours.hit)
    print(json.dumps(counts, indent=2))
    found = {row.key: ours.parsed for row, ours in zip(rows, verdicts, strict=True)}
    if options.newly:
        before = json.loads(options.newly.read_text())
        newly = [row for row in rows if before[row.key] is None and found[row.key] is not None]
        newly.sort(key=lambda row: hashlib.sha256(row.key.encode()).hexdigest())
        print(f"{len(newly)} newly parsed")
        for row in newly[: options.sample]:
            asked = {name: row.fields.get(name) for name in ("question", "choices", "options") if row.fields.get(name)}
            print(json.dumps([row.key, found[row.key], asked, row.response], ensure_ascii=False))
    if options.verdicts:
        options.verdicts.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
