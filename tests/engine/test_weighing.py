"""Metrics and dumps tell the high group by the rule that the weights go by."""

import pytest
import torch
from transfer_queue import KVBatchMeta

from verl_vaopd.config import compose
from verl_vaopd.trainer import weighing

TINY = ["hardware=cpu", "dataset=tinygeo", "student=tiny", "teacher=tiny"]
BATCH = KVBatchMeta(partition_id="train", keys=["a_0_0"], tags=[{}])
CLEAN = torch.tensor([[-1.0, -0.5, -1.0, -1.0, -1.0]])
DEGRADED = CLEAN - torch.tensor([[0.02, 0.0, 3.0, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("rule", "high"),
    [
        (["vaopd.high_frac=0.2"], [2]),
        (["vaopd.high_rule=threshold", "vaopd.high_threshold=0.1"], [2, 3]),
        (["vaopd.high_rule=mass", "vaopd.high_mass=0.999"], [0, 2, 3]),
    ],
)
def test_the_high_group_follows_the_rule(rule: list[str], high: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"response_mask": torch.ones(1, 5), "teacher_log_probs": CLEAN, "degraded_teacher_log_probs": DEGRADED}
    monkeypatch.setattr(weighing.queue, "fetch", lambda batch, names: {name: fields[name] for name in names})
    options = compose([*TINY, *rule]).vaopd
    scores = weighing.advantage_and_group(BATCH, options)
    assert scores["high_group"][0].nonzero().flatten().tolist() == high
    weights = weighing.weigh(BATCH, options, scores, torch.Generator())["token_weights"][0]
    assert weights[high].tolist() == pytest.approx([0.5 / len(high)] * len(high))
