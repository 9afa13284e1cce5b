"""Random batches in the two forms the tests compare: padded tensors with a mask, and nested lists per prompt."""

from dataclasses import dataclass

import torch


@dataclass
class Batch:
    """Rollouts of several prompts, shuffled; what lies outside the mask is NaN."""

    values: torch.Tensor  # [N, T] float32, e.g. visual advantage
    other: torch.Tensor  # [N, T] float32, e.g. KL
    mask: torch.Tensor  # [N, T] bool
    uid: list[str]

    def nested(self, tensor: torch.Tensor) -> list[list[list[float]]]:
        """The valid entries as prompt -> sibling -> token, in float64."""
        prompts: dict[str, list[list[float]]] = {}
        for row, name in enumerate(self.uid):
            prompts.setdefault(name, []).append(tensor[row][self.mask[row]].double().tolist())
        return list(prompts.values())


def random_batch(seed: int, num_siblings: list[int], max_tokens: int, distinct: int = 0) -> Batch:
    """A batch with num_siblings[b] rollouts of prompt b.

    Args:
        distinct: if above 0, values come from that many different ones, so that ties and zeros are common.
    """
    generator = torch.Generator().manual_seed(seed)
    uid = [f"prompt-{prompt}" for prompt, count in enumerate(num_siblings) for _ in range(count)]
    order = torch.randperm(len(uid), generator=generator).tolist()
    shape = (len(uid), max_tokens)
    lengths = torch.randint(1, max_tokens + 1, (len(uid), 1), generator=generator)
    mask = torch.arange(max_tokens) < lengths
    if distinct:
        values = torch.randint(0, distinct, shape, generator=generator) / 8
    else:
        values = torch.rand(shape, generator=generator) ** 4
    other = torch.rand(shape, generator=generator)
    nan = torch.tensor(torch.nan)
    return Batch(torch.where(mask, values, nan), torch.where(mask, other, nan), mask, [uid[row] for row in order])
