"""verl's replay buffer without its 2-second sleep, and without its verdict on a batch of which nothing has arrived.

verl's synchronous trainer waits for the rollouts of a step by asking TransferQueue for them every `poll_interval`
seconds (verl 0.9.1: trainer/ppo/v1/replay_buffer.py:409), 2 of which are most of a small model's step. The interval is
not part of verl's configuration, but the class is: ``trainer.v1.sampler.custom_sampler``.
"""

from typing import Any

from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_INTERVAL = 0.05  # seconds; asking costs the driver about 2 ms of processor time
NONE_ARRIVED = "no materializable trajectories"
"""In verl's error (replay_buffer.py:508), which names no reason, and a remedy that this sampler does not have."""


class PromptReplayBuffer(ReplayBuffer):
    """`ReplayBuffer` that notices within `POLL_INTERVAL` seconds that the rollouts of a step are complete.

    verl hands a custom sampler no group filter and no refill of failed groups (trainer/ppo/v1/trainer_base.py:165), so
    ``algorithm.filter_groups`` and ``trainer.v1.sampler.sync_refill_failed_groups`` have no effect with it.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, poll_interval=POLL_INTERVAL)

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict[str, Any]]:
        """A batch as verl's; an empty one where every rollout has failed, which the trainer asks the reasons of."""
        try:
            return super().sample(global_steps=global_steps, partition_id=partition_id, batch_size=batch_size)
        except RuntimeError as error:
            if NONE_ARRIVED not in str(error):
                raise
            return KVBatchMeta(partition_id=partition_id, keys=[], tags=[]), {}
