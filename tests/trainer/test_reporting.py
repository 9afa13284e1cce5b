"""What trainer/reporting.py makes of a step: every metric that is declared for what the step did, and no other."""

import math
from types import SimpleNamespace

import pytest
import torch

from tests.trainer.some_rollouts import some_rollouts
from verl_vaopd.algorithms.token_weights import high_group, token_weights
from verl_vaopd.config import compose
from verl_vaopd.runs import events, metric_names
from verl_vaopd.runs.events import EventLog
from verl_vaopd.runs.token_dump import TokenDump, read_dumps
from verl_vaopd.trainer.reporting import (
    PHASES,
    alarms_after,
    dump_rows,
    end_tokens,
    format_tokens,
    raise_alarms,
    step_metrics,
)

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
        is_format=torch.zeros(1000, dtype=torch.bool),
        timing=TIMING,
        memory=dict.fromkeys(metric_names.MEMORY, 0.5),
        worker_metrics={**MEASURED_BY_VERL, **{f"actor/{name}": value for name, value in MEMORY.items()}},
        num_expected_prompts=3,
        num_dropped_rollouts=0,
        num_unscored_rewards=0,
        num_filtered_prompts=0,
        num_padding_rows=0,
    )


def test_every_metric_declared_for_vaopd_is_there():
    of_others = {"actor/pg_loss", "actor/pg_clipfrac", "actor/kl_loss", "actor/perception_kl"}
    of_others |= {"perf/advantage/seconds", "perf/advantage/tokens_per_second"}
    assert (
        metrics_of_a_vaopd_step().keys() == metric_names.METRICS.keys() - of_others - metric_names.ALARM_METRICS.keys()
    )


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


class LetterTokenizer:
    """Id i is the i-th letter, 0 too: its own padding stands nowhere."""

    pad_token_id = 25

    def convert_ids_to_tokens(self, ids):
        return [chr(ord("a") + int(i)) for i in ids]

    def decode(self, token_ids, **options):
        return "".join(self.convert_ids_to_tokens(token_ids))


def test_dumped_rows_hold_the_tokens_of_the_chosen_questions_only(tmp_path):
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0]])
    kl = torch.tensor([[0.5, 1.5, math.nan], [1.0, 2.0, 3.0], [4.0, math.nan, math.nan], [9.0, 9.0, 9.0]])
    rollouts = some_rollouts(
        mask,
        ["u", "u", "v", "w"],
        question_id=["q1", "q1", "q2", "not chosen"],
        prompts=torch.tensor([[1, 2, 3], [1, 2, 3], [4, 0, 0], [5, 0, 0]]),
        responses=torch.tensor([[1, 2, 0], [3, 4, 5], [6, 0, 0], [7, 7, 0]]),
        truncated=torch.tensor([False, False, True, False]),
        accuracy=torch.tensor([1.0, 0.0, math.nan, 1.0]),
        reverse_kl=kl.bfloat16(),
        high_group=mask.flip(1).bool(),
        student_log_probs=kl,  # has no column
    )
    TokenDump(tmp_path).write(3, "train", dump_rows(rollouts, ["q2", "q1"], LetterTokenizer()))
    got = read_dumps(tmp_path).to_pylist()
    columns = ("uid", "question_id", "rollout_index", "prompt", "response", "token_ids", "tokens")
    assert [tuple(row[name] for name in columns) for row in got] == [
        ("u", "q1", 0, "bcd", "bc", [1, 2], ["b", "c"]),
        ("u", "q1", 1, "bcd", "def", [3, 4, 5], ["d", "e", "f"]),
        ("v", "q2", 2, "e", "g", [6], ["g"]),
    ]
    assert [tuple(row[name] for name in ("reverse_kl", "high_group", "accuracy", "truncated")) for row in got] == [
        ([0.5, 1.5], [False, True], 1.0, False),
        ([1.0, 2.0, 3.0], [True, True, True], 0.0, False),
        ([4.0], [False], None, True),
    ]
    assert all(row["visual_advantage"] is None for row in got)


def test_tokens_of_the_format_have_no_letter_and_no_digit():
    texts = ["<s>", "a", " b", "7", ".", " ", "\n\n", "=", "\ufffd", "é", "\\", "中", ""]
    tokenizer = SimpleNamespace(all_special_ids=[0], batch_decode=lambda rows: [texts[token] for (token,) in rows])
    tokenizer = type("Tokens", (), {**vars(tokenizer), "__len__": lambda self: len(texts)})
    tokenizer.batch_decode = staticmethod(tokenizer.batch_decode)
    found = [texts[token] for token in format_tokens(tokenizer()).nonzero().flatten()]
    assert found == ["<s>", ".", " ", "\n\n", "=", "\\", ""]


def test_an_alarm_is_an_event_once_and_a_metric_of_every_step(tmp_path):
    config = compose(["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny", "alarms.window=1"])
    with EventLog(tmp_path / "events.jsonl") as log:
        log.write("step", step=1, total=9, metrics={"vaopd/repetition_frac": 0.0})
        log.write("step", step=2, total=9, metrics={"vaopd/repetition_frac": 0.5})  # after the checkpoint of step 1
        alarms = alarms_after(1, config, 1000, log)
        for step in (2, 3):
            metrics = {"vaopd/repetition_frac": 0.4}
            raise_alarms(alarms, step, metrics, log)
            assert metrics["vaopd/alarm/repetition"] == 1 and metrics["vaopd/alarm/truncation"] == 0
            assert metrics.keys() - {"vaopd/repetition_frac"} == metric_names.ALARM_METRICS.keys()
    (event,) = [event for event in events.read(log.path) if event["kind"] == "alarm"]
    assert (event["alarm"], event["step"], event["measured"]) == ("repetition", 2, "0.4 (at most 0.1)")
