"""What trainer/reporting.py makes of a step: every metric that is declared for what the step did, and no other."""

from types import SimpleNamespace

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.algorithms.token_weights import high_group, token_weights
from verl_vaopd.runs import metric_names
from verl_vaopd.trainer.reporting import PHASES, end_tokens, step_metrics

NUM_ROLLOUTS, NUM_TOKENS = 4, 5
TIMING = {"gen": 2.0, "teacher": 1.0, "update_actor": 4.0, "update_weights": 0.5, "step": 8.0, "save_checkpoint": 3.0}
MEASURED_BY_VERL = {"actor/loss": 0.5, "actor/grad_norm": 1.5, "actor/lr": 1e-6, "actor/mfu": 0.1}
MEMORY = dict.fromkeys((name for name in metric_names.PASS_THROUGH_METRICS if name.startswith("perf/")), 3.0)


def metrics_of_a_vaopd_step() -> dict[str, float]:
    """4 rollouts of 5 tokens each, of two prompts of 3 tokens; verl prefixes what its actor measured."""
    advantage = torch.rand(NUM_ROLLOUTS, NUM_TOKENS, generator=torch.Generator().manual_seed(0))
    mask, uid = torch.ones_like(advantage, dtype=torch.bool), list("aabb")
    per_token = ("student_entropy", "student_log_probs", "rollout_log_probs", "divergence", "reverse_kl")
    values = {
        **dict.fromkeys((*per_token, "teacher_entropy"), torch.ones_like(advantage)),
        "visual_advantage": advantage,
        "high_group": high_group(advantage, mask, 0.2),
        "token_weights": token_weights(advantage, mask, uid),
    }
    return step_metrics(
        some_rollouts(mask, uid, **values),
        timing=TIMING,
        worker_metrics={**MEASURED_BY_VERL, **{f"actor/{name}": value for name, value in MEMORY.items()}},
        num_expected_prompts=3,
        num_filtered_prompts=0,
        num_padding_rows=0,
    )


def test_every_metric_declared_for_vaopd_is_there():
    of_others = {"actor/pg_loss", "actor/pg_clipfrac", "actor/kl_loss", "actor/perception_kl"}
    of_others |= {"perf/advantage/seconds", "perf/advantage/tokens_per_second"}
    assert metrics_of_a_vaopd_step().keys() == metric_names.METRICS.keys() - of_others


def test_phases_are_those_that_are_declared():
    assert PHASES.keys() == metric_names.PHASES.keys()


def test_throughput_and_counts_by_hand():
    got = metrics_of_a_vaopd_step()
    assert got["perf/weight_sync/seconds"] == 0.5
    rates = {phase: got[f"perf/{phase}/tokens_per_second"] for phase in ("rollout", "teacher", "update", "step")}
    assert rates == pytest.approx({"rollout": 20 / 2, "teacher": 32 / 1, "update": 32 / 4, "step": 32 / 8})
    assert got["vaopd/num_dropped_prompts"] == 1
    assert got["perf/max_memory_allocated_gb"] == 3.0 and got["actor/grad_norm"] == 1.5


def test_responses_end_where_the_engine_stops(tmp_path):
    """Qwen's generation_config.json names two tokens, its tokenizer one of them."""
    tokenizer = SimpleNamespace(eos_token_id=7)
    assert end_tokens(tokenizer, str(tmp_path)) == [7]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 3]}')
    assert end_tokens(tokenizer, str(tmp_path)) == [3, 7]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 4}')
    assert end_tokens(tokenizer, str(tmp_path)) == [4, 7]
