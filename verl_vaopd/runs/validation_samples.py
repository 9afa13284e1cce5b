"""Every held-out answer of every validation: `RUN/validation/step_000010.parquet`. Later analyses read these files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vaopd.files import write_parquet

DIRECTORY = "validation"
SCHEMA = pa.schema(
    {
        "split": pa.string(),
        "question_id": pa.string(),
        "sample": pa.int32(),  # 0 to n - 1
        "accuracy": pa.float32(),  # NaN: the sample failed
        "mean_va": pa.float32(),  # nats per token
        "entropy": pa.float32(),  # of the student, mean over tokens, nats; NaN unless validation.entropy
        "num_tokens": pa.int32(),
        "truncated": pa.bool_(),
        "answer": pa.string(),  # content of the last box; null: none
    }
)


def write_samples(run_dir: str | Path, step: int, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the answers of one validation whole, replacing those of an interrupted one of the same step."""
    path = Path(run_dir) / DIRECTORY / f"step_{step:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pa.Table.from_pylist(list(rows), schema=SCHEMA))
    return path


def sample_steps(run_dir: Path) -> list[int]:
    """Steps whose validation is there, ascending."""
    return sorted(int(path.stem.removeprefix("step_")) for path in (run_dir / DIRECTORY).glob("step_*.parquet"))


def read_samples(run_dir: Path, step: int) -> pa.Table:
    """The answers of one validation (SCHEMA). Raises ValueError if it is not there."""
    path = run_dir / DIRECTORY / f"step_{step:06d}.parquet"
    if not path.is_file():
        raise ValueError(f"no validation of step {step} in {run_dir}: got steps {sample_steps(run_dir)}")
    return pq.read_table(path, schema=SCHEMA)
