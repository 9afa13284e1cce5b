"""verl's replay buffer without its 2-second sleep.

verl's synchronous trainer waits for the rollouts of a step by asking TransferQueue for them every `poll_interval`
seconds (verl 0.9.1: trainer/ppo/v1/replay_buffer.py:409), 2 of which are most of a small model's step. The interval is
not part of verl's configuration, but the class is: ``trainer.v1.sampler.custom_sampler``.
"""

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_INTERVAL = 0.05  # seconds; asking costs the driver about 2 ms of processor time


class PromptReplayBuffer(ReplayBuffer):
    """`ReplayBuffer` that notices within `POLL_INTERVAL` seconds that the rollouts of a step are complete.

    verl hands a custom sampler no group filter and no refill of failed groups (trainer/ppo/v1/trainer_base.py:165), so
    ``algorithm.filter_groups`` and ``trainer.v1.sampler.sync_refill_failed_groups`` have no effect with it.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, poll_interval=POLL_INTERVAL)
