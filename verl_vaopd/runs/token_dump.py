"""Token-level dumps of a run: one parquet row per rollout, one list entry per response token.

Layout: <run directory>/tokens/<split>_step_<N>.parquet, written whole or not at all; a step that is repeated after a
resume replaces its file. Analyses read these files alone (`read_dumps`). SCHEMA names every column with its meaning and
unit, which each file also carries as metadata; what is known per token is listed in per_token.py.

A column that a method does not produce is null, never zeros. The pieces in `tokens`, joined, are the decoded
response (token_pieces.py). Imports no torch.
"""

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd.files import write_parquet
from verl_vaopd.runs.per_token import DUMPED, PER_TOKEN, require_known

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")
SCHEMA_VERSION = 2
_VERSION_KEY = b"vaopd.dump.schema_version"
_KINDS = {"float32": pa.float32(), "bool": pa.bool_()}
_FILE_NAME = re.compile(r"(train|heldout)_step_(\d+)\.parquet")


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


def _tokens(kind: pa.DataType) -> pa.DataType:
    """List over the response's tokens; no entry is null."""
    return pa.list_(pa.field("element", kind, nullable=False))


SCHEMA = pa.schema(
    [
        _column("step", pa.int64(), "training step of the rollout; heldout: steps taken before validation"),
        _column("split", pa.string(), "train or heldout"),
        _column("uid", pa.string(), "prompt of the step; siblings share it"),
        _column("question_id", pa.string(), "question in the data set, the same at every step"),
        _column("rollout_index", pa.int32(), "number of the rollout among its siblings, from 0"),
        _column("prompt", pa.string(), "prompt text"),
        _column("response", pa.string(), "decoded response, special tokens included"),
        _column("token_ids", _tokens(pa.int32()), "response token ids"),
        _column("tokens", _tokens(pa.string()), "text of each token; joined they are the response"),
        *(
            _column(name, _tokens(_KINDS[PER_TOKEN[name].dtype]), PER_TOKEN[name].text, nullable=True)
            for name in DUMPED
        ),
        _column("accuracy", pa.float32(), "score of the response in [0, 1]; null if not scored", nullable=True),
        _column("truncated", pa.bool_(), "the response hit the length limit"),
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One rollout of a dump: the columns of SCHEMA without step and split. T response tokens.

    Raises ValueError when per_token has a name that is no column, or values of another length than token_ids.
    """

    uid: str
    question_id: str
    rollout_index: int
    prompt: str
    response: str
    token_ids: Sequence[int] | np.ndarray  # [T]
    tokens: Sequence[str]  # [T]
    truncated: bool
    accuracy: float | None = None
    per_token: Mapping[str, Sequence[float] | np.ndarray] = field(default_factory=dict)  # [T] each, as PER_TOKEN says

    def __post_init__(self) -> None:
        require_known(self.per_token, DUMPED)
        for name, values in {"tokens": self.tokens, **self.per_token}.items():
            if len(values) != len(self.token_ids):
                raise ValueError(
                    f"dump: {name} of rollout {self.rollout_index} of {self.question_id} has {len(values)} entries, "
                    f"expected {len(self.token_ids)}, one per token id; cut padding off"
                )


class TokenDump:
    """Writes the token dumps of one run.

    Args:
        directory: the run directory; `tokens/` in it is made at the first write.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory) / "tokens"

    def write(self, step: int, split: Split, rows: Sequence[TokenRow]) -> Path:
        """Write one file, replacing an earlier one of the same step and split.

        The file appears under its name only when complete, so that a killed run leaves no broken dump.

        Args:
            step: training step the rollouts belong to; for heldout, the steps taken before this validation.
            split: train or heldout.
            rows: rollouts, in any order.
        Returns: path of the file.
        Raises:
            ValueError: unknown split, negative step, or None in a column that every rollout must have.
        """
        if split not in SPLITS or step < 0:
            raise ValueError(f"dump: got split {split!r}, step {step}; expected one of {SPLITS} and a step >= 0")
        columns = {column.name: [getattr(row, column.name) for row in rows] for column in fields(TokenRow)}
        columns |= {name: [values.get(name) for values in columns["per_token"]] for name in DUMPED}
        columns |= {"step": [step] * len(rows), "split": [split] * len(rows)}
        table = pa.Table.from_pydict(columns, schema=SCHEMA)
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{split}_step_{step}.parquet"
        write_parquet(path, table, compression="zstd")
        return path


def read_dumps(run_dir: str | Path, split: Split | None = None) -> pa.Table:
    """All token dumps of a run as one table with the columns of SCHEMA, by split and step.

    Args:
        run_dir: the run directory.
        split: train or heldout; None for both.
    Raises:
        ValueError: no dump there, or one written with another version of the schema.
    """
    found = []
    for path in Path(run_dir, "tokens").glob("*.parquet"):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: got an unknown file among the dumps, expected <split>_step_<N>.parquet; move it")
        if split in (None, match[1]):
            found.append((match[1], int(match[2]), path))
    if not found:
        raise ValueError(
            f"{run_dir}: got no token dumps, expected tokens/{split or '*'}_step_*.parquet; check the path"
        )
    return pa.concat_tables([_read(path) for _, _, path in sorted(found)])


def fixed_subset(keys: Sequence[Hashable], n: int, seed: int) -> list[Any]:
    """Choose n of the different keys, the same ones whatever their order and whatever other keys there are.

    Each key's rank is a hash of seed and key: a choice survives the addition or loss of others as far as it can. Choose
    question ids, so that whole groups of siblings are taken; the uids of a step may be random and would make the choice
    so.

    Args:
        keys: strings or numbers, repeats allowed.
        n: how many to choose; all of them if there are fewer.
        seed: another seed makes another choice, for instance one per step.
    Returns: chosen keys in the order of their first appearance.
    """
    if n < 0:
        raise ValueError(f"n: got {n}, expected a number of keys >= 0")
    different = list(dict.fromkeys(keys))
    chosen = set(sorted(different, key=lambda key: hashlib.sha256(f"{seed}:{key!r}".encode()).digest())[:n])
    return [key for key in different if key in chosen]


def _read(path: Path) -> pa.Table:
    schema = pq.read_schema(path)
    version = (schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise ValueError(
            f"{path}: got dump schema version {version}, expected {SCHEMA_VERSION}; "
            "read it with the version of the package that wrote it (versions are in the run directory)"
        )
    return pq.read_table(path, schema=SCHEMA)
