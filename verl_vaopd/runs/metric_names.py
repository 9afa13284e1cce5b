"""Every metric a training step can report: name, meaning, unit. metrics.yaml is the only list of them.

POLICY_METRICS and ROLLOUT_METRICS are present at every step, the others where the method has what they measure, the
phase ran, or verl measured it.
"""

from pathlib import Path

from verl_vaopd.files import read_yaml
from verl_vaopd.runs import per_token

_TABLE: dict[str, dict[str, str]] = read_yaml(Path(__file__).with_name("metrics.yaml"))
POLICY_METRICS = _TABLE["policy"]
LOG_PROB_GAP_METRICS = _TABLE["log_prob_gap"]
WEIGHT_METRICS = _TABLE["weight"]
TEACHER_METRICS = _TABLE["teacher"]
DISTILLATION_METRICS: dict[str, str] = {**POLICY_METRICS, **LOG_PROB_GAP_METRICS, **WEIGHT_METRICS, **TEACHER_METRICS}
"""Those of on-policy distillation, whatever its weights."""
VISUAL_ADVANTAGE_METRICS = _TABLE["visual_advantage"]
ROLLOUT_METRICS = _TABLE["rollout"]
PHASES = _TABLE["phases"]
TOKENS_OF_PHASES: dict[str, str] = {
    "rollout": "response tokens",
    **dict.fromkeys(("teacher", "advantage", "update", "step"), "prompt and response tokens"),
}
"""What the throughput of a phase counts, of real rollouts; weights, which weight_sync sends, are no tokens."""
THROUGHPUT_METRICS: dict[str, str] = {
    **{f"perf/{phase}/seconds": f"{meaning}: wall-clock time [s]" for phase, meaning in PHASES.items()},
    **{
        f"perf/{phase}/tokens_per_second": f"{PHASES[phase]}: {tokens} over wall-clock time [tokens/s]"
        for phase, tokens in TOKENS_OF_PHASES.items()
    },
}
PASS_THROUGH_METRICS = _TABLE["pass_through"]
METRICS: dict[str, str] = {
    **DISTILLATION_METRICS,
    **VISUAL_ADVANTAGE_METRICS,
    **ROLLOUT_METRICS,
    **THROUGHPUT_METRICS,
    **PASS_THROUGH_METRICS,
}


def as_markdown() -> str:
    """docs/metrics.md, with the table of per_token.py: `python -m verl_vaopd.runs.metric_names > docs/metrics.md`."""
    rows = [f"| `{name}` | {meaning.replace('|', '&#124;')} |" for name, meaning in METRICS.items()]
    head = ["# Metrics of a training step", "", "| name | meaning [unit] |", "|---|---|"]
    return "\n".join([*head, *rows, "", per_token.as_markdown()])


if __name__ == "__main__":
    print(as_markdown())
