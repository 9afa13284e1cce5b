"""Where visual advantage and divergence sit among the tokens of VA-OPD's training rollouts (docs/pilot.md).

    python -m benchmarks.pilot_tokens runs/pilot/compare-pilot/vaopd-s*

Reads the token dumps of the runs, prints a Markdown table and writes benchmarks/results/pilot/tokens.csv. In tinygeo
every digit is a token; digits are what must be read off the image or computed from it, all else is wording.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from benchmarks.pilot import RESULTS
from verl_vaopd.runs.token_dump import read_dumps
from verl_vaopd.stats.tables import markdown_table

SMALL = 0.01
VALUES = ("visual_advantage", "reverse_kl", "token_weights", "high_group", "teacher_log_probs")


def tokens_of(runs: list[Path]) -> dict[str, np.ndarray]:
    """Every token of every dumped training rollout: VALUES, is_digit, and its position in the response, 0 to 1."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*VALUES, "is_digit", "position")}
    for run in runs:
        for row in read_dumps(run, "train").to_pylist():
            count = len(row["tokens"])
            for name in VALUES:
                found[name].append(np.asarray(row[name]))
            found["is_digit"].append(np.array([token.strip().isdigit() for token in row["tokens"]]))
            found["position"].append(np.arange(count) / max(count - 1, 1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def describe(tokens: dict[str, np.ndarray]) -> list[dict[str, str | float]]:
    """One row per group of tokens; shares are of all tokens' sum."""
    high, digit = tokens["high_group"].astype(bool), tokens["is_digit"]
    divergent = np.zeros_like(digit)
    divergent[np.argsort(-tokens["reverse_kl"])[: round(0.05 * len(digit))]] = True
    groups = {
        "all": np.ones_like(digit),
        "high group": high,
        "low group": ~high,
        "digits": digit,
        "wording": ~digit,
        "the 5 % of highest reverse KL": divergent,
        "teacher's probability below 0.5": tokens["teacher_log_probs"] < np.log(0.5),
    }
    rows: list[dict[str, str | float]] = []
    for name, group in groups.items():
        row: dict[str, str | float] = {"tokens": name, "share of tokens": group.mean()}
        for column, label in (("visual_advantage", "VA"), ("reverse_kl", "reverse KL"), ("token_weights", "weight")):
            row[f"share of {label}"] = tokens[column][group].sum() / tokens[column].sum()
        row["VA exactly 0"] = (tokens["visual_advantage"][group] == 0).mean()
        row[f"VA below {SMALL} nats"] = (tokens["visual_advantage"][group] < SMALL).mean()
        row["digits among them"] = digit[group].mean()
        row["mean position"] = tokens["position"][group].mean()
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = describe(tokens_of(parser.parse_args().runs))
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "tokens.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()} for row in rows)
    cells = [[value if isinstance(value, str) else f"{value:.3f}" for value in row.values()] for row in rows]
    print(markdown_table([list(rows[0]), *cells]))


if __name__ == "__main__":
    main()
