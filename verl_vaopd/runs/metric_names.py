"""Every metric a training step can report: name, meaning, unit. The only list of them; docs/metrics.md is made from it.

POLICY_METRICS and ROLLOUT_METRICS are present at every step, the others where the method has what they measure, the
phase ran, or verl measured it.
"""

from verl_vaopd.runs import per_token

POLICY_METRICS: dict[str, str] = {
    "vaopd/entropy/policy": "mean entropy of the student's next-token distribution at temperature 1 [nats per token]",
}
LOG_PROB_GAP_METRICS: dict[str, str] = {
    "vaopd/log_prob_gap/mean_abs": "mean |log-prob by trainer - log-prob by rollout engine| of sampled tokens [nats]",
    "vaopd/log_prob_gap/max_abs": "largest such difference of the step [nats]",
    "vaopd/log_prob_gap/kl_k3": "KL(rollout engine || trainer), k3 estimator over sampled tokens [nats per token]",
}
WEIGHT_METRICS: dict[str, str] = {
    "vaopd/loss": "sum over all tokens of token weight x divergence (`loss.divergence`): the distillation loss [nats]",
    "vaopd/rollout_weights/min": "smallest weight of a rollout among its siblings, as applied [share]",
    "vaopd/rollout_weights/max": "largest weight of a rollout among its siblings, as applied [share]",
    "vaopd/rollout_weights/effective_siblings": "1 / sum of squared sibling weights, mean over prompts [rollouts]",
}
TEACHER_METRICS: dict[str, str] = {
    "vaopd/reverse_kl/all": "mean KL(student || teacher) over all response tokens [nats per token]",
    "vaopd/entropy/teacher": "mean entropy of the teacher's, clean image, temperature 1 [nats per token]",
}
DISTILLATION_METRICS: dict[str, str] = {**POLICY_METRICS, **LOG_PROB_GAP_METRICS, **WEIGHT_METRICS, **TEACHER_METRICS}
"""Those of on-policy distillation, whatever its weights."""
VISUAL_ADVANTAGE_METRICS: dict[str, str] = {
    "vaopd/reverse_kl/high": "mean reverse KL over the tokens of the high visual advantage group [nats per token]",
    "vaopd/reverse_kl/low": "mean reverse KL over the other tokens; NaN if there are none [nats per token]",
    "vaopd/visual_advantage/mean": "mean visual advantage (VA) over all response tokens [nats per token]",
    "vaopd/visual_advantage/top10_share": "VA held by the top 10 % tokens of each rollout / all VA of the step [share]",
    "vaopd/visual_advantage/top20_share": "VA held by the top 20 % tokens of each rollout / all VA of the step [share]",
    "vaopd/visual_advantage/high_zero_frac": "share of the high group whose VA is exactly 0 [share]",
}
ROLLOUT_METRICS: dict[str, str] = {
    "vaopd/response_length/mean": "mean response length [tokens]",
    "vaopd/response_length/min": "shortest response [tokens]",
    "vaopd/response_length/max": "longest response [tokens]",
    "vaopd/truncated_frac": "share of rollouts cut off by the length limit [share]",
    "vaopd/repetition_frac": "share of rollouts whose last 64 tokens repeat at least half of their 4-grams [share]",
    "vaopd/rollout_accuracy": "mean score of the rollouts that were scored; monitoring only, NaN if none [share]",
    "vaopd/num_unscored_rollouts": "rollouts without a score [rollouts]",
    "vaopd/num_prompts": "prompts in the update [prompts]",
    "vaopd/num_rollouts": "rollouts in the update [rollouts]",
    "vaopd/num_dropped_prompts": "prompts of the step that reached no update [prompts]",
    "vaopd/num_filtered_prompts": "prompts left out of the update because all their rollouts did alike [prompts]",
    "vaopd/num_padding_rows": "rows added to make the batch divisible; they have weight 0 [rows]",
}
PHASES: dict[str, str] = {
    "rollout": "sampling responses",
    "teacher": "scoring both views by the teacher",
    "advantage": "rewards to advantages, with the initial policy's log-probs where the loss has a KL to it",
    "update": "forward, backward and optimizer step of the student",
    "weight_sync": "sending new weights to the rollout engine",
    "step": "the whole step with its checkpoint, without validation",
}
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
# Named and measured by verl's workers, handed on unchanged.
PASS_THROUGH_METRICS: dict[str, str] = {
    "actor/loss": "everything that is minimised, as weighted and added up [1]",
    "actor/pg_loss": "verl's policy loss of the rewards [1]",
    "actor/pg_clipfrac": "share of tokens whose ratio was clipped [share]",
    "actor/kl_loss": "mean k3 estimate of KL(policy || initial policy) at sampled tokens [nats per token]",
    "actor/perception_kl": "mean perception KL of PAPO, clean against masked image [nats per token]",
    "actor/grad_norm": "norm of the student's gradient before clipping [1]",
    "actor/lr": "learning rate of the step after this one, to which verl's schedule has moved on by then [1]",
    "perf/max_memory_allocated_gb": "peak since the start: accelerator memory of tensors; on a CPU, the process [GiB]",
    "perf/max_memory_reserved_gb": "the same, with what the allocator holds in reserve [GiB]",
    "perf/cpu_memory_used_gb": "host memory in use at the end of the update, all processes [GiB]",
}
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
