"""Every metric a training step can report: name, meaning, unit. metrics.yaml is the only list of them.

POLICY_METRICS and ROLLOUT_METRICS are present at every step, the others where the method has what they measure, the
phase ran, or verl measured it.
"""

from pathlib import Path

from verl_vaopd.alarms import METRIC, RULES
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
FORMAT_METRICS = _TABLE["format"]
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
MEMORY = _TABLE["memory"]
STEP_MEMORY_METRICS, VALIDATION_METRICS = (
    {
        f"perf/{phase}/{kind}_memory_gb": f"{meaning}: peak of resident host memory during the {phase} [GiB]"
        for kind, meaning in MEMORY.items()
    }
    for phase in ("step", "validation")
)
MEMORY_NOTE = (
    "Resident host memory is that of the processes on the machine of the training's main process, looked at every\n"
    "second. A page that processes share counts in each. In a Ray cluster that was there before the training\n"
    "(`ray_kwargs.ray_init.address`) all that Ray runs on this machine counts. `validation.prompts_per_batch` bounds\n"
    "what a validation holds at a time."
)
PASS_THROUGH_METRICS = _TABLE["pass_through"]
ALARM_METRICS = {METRIC + rule.name: f"1 while this alarm stands: {rule.meaning} [1]" for rule in RULES}
METRICS: dict[str, str] = {
    **DISTILLATION_METRICS,
    **VISUAL_ADVANTAGE_METRICS,
    **FORMAT_METRICS,
    **ROLLOUT_METRICS,
    **THROUGHPUT_METRICS,
    **STEP_MEMORY_METRICS,
    **PASS_THROUGH_METRICS,
    **ALARM_METRICS,
}


def as_markdown() -> str:
    """docs/metrics.md, with the table of per_token.py: `python -m verl_vaopd.runs.metric_names > docs/metrics.md`."""
    return "\n".join(
        [
            "# Metrics of a training step",
            *_as_table(METRICS),
            "",
            "# Metrics of a validation",
            "",
            "Beside accuracy and mean visual advantage of each split.",
            *_as_table(VALIDATION_METRICS),
            "",
            MEMORY_NOTE,
            "",
            per_token.as_markdown(),
        ]
    )


def _as_table(metrics: dict[str, str]) -> list[str]:
    rows = [f"| `{name}` | {meaning.replace('|', '&#124;')} |" for name, meaning in metrics.items()]
    return ["", "| name | meaning [unit] |", "|---|---|", *rows]


if __name__ == "__main__":
    print(as_markdown())
