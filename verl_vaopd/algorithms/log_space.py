"""What divergences compute with log-probabilities, whatever form they take.

Axes: N tokens, V vocabulary.
"""

import torch


def compute_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """float32, or float64 if any of the tensors is."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def log_mixture(log_s: torch.Tensor, log_t: torch.Tensor, beta: float) -> torch.Tensor:
    """log(beta * p_T + (1 - beta) * p_S), from log-probabilities of any one shape."""
    log_beta, log_rest = torch.log(torch.tensor([beta, 1 - beta], dtype=log_s.dtype)).tolist()
    return torch.logaddexp(log_t + log_beta, log_s + log_rest)


def coarse_log_ratio(log_s: torch.Tensor, log_t: torch.Tensor, k: int) -> torch.Tensor:
    """log(P_S / P_T) of the bucket that each token is in: its own for the teacher's k likeliest, else the common one.

    Args:
        log_s, log_t: [N, V] log-probabilities.
        k: at least 1.
    Returns: [N, V]; gradient flows to log_s.
    """
    # A bucket of one token is that token, so V - 1 is as fine as it gets, and the common bucket is never empty.
    ids = log_t.topk(min(k, log_t.shape[-1] - 1), dim=-1).indices

    def log_rest(log_probs: torch.Tensor) -> torch.Tensor:
        # Summed up rather than taken as 1 - the others, which would lose a rest that is small.
        return log_probs.scatter(-1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)

    of_rest = (log_rest(log_s) - log_rest(log_t)).expand_as(log_s)
    return of_rest.scatter(-1, ids, (log_s.gather(-1, ids) - log_t.gather(-1, ids)))
