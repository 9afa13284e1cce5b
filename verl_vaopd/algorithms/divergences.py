"""Every divergence that the update can minimise per token, by its name in the configuration (`loss.divergence`).

One dataclass each: its fields are its options. A divergence over the vocabulary gives value and gradient of a block of
rows in closed form, which the fused pass calls (fused_divergence); divergence.py has the same as a formula on logits. A
divergence of the sampled token needs log-probabilities only. Importing this module imports no torch.

Axes: R rows of a block, V vocabulary, N tokens. All nats.

At a temperature T other than 1 a divergence is the plain one between softmax(student / T) and softmax(teacher / T), of
the scaled logits. It is not multiplied by T^2, as Hinton et al. (arXiv:1503.02531) do: at a high T its gradient shrinks
with about 1 / T^2, and the learning rate is what to answer that with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from verl_vaopd.algorithms.options import option, require_options

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Divergence:
    """Base of all; frozen in effect, since an Objective carries it to every worker."""

    name: ClassVar[str]
    needs_teacher: ClassVar[bool] = True
    """Whether the teacher's probabilities enter."""
    stands_for_reverse_kl: ClassVar[bool] = False
    """A cheaper stand-in for the reverse KL, whose gradient it does not have; docs/methods.md says which it has."""
    blindness: ClassVar[str] = ""
    """Of a stand-in over the vocabulary: what it does not see."""
    temperature: float = option(
        1.0,
        "Divides the logits of student and teacher before the divergence, which is not multiplied by its square; "
        "sampling has its own, and visual advantage is at 1.",
        above=0,
    )

    def __post_init__(self) -> None:
        require_options(self)


@dataclass
class VocabularyDivergence(Divergence):
    """Of whole distributions."""

    def of_rows(self, log_s: Tensor, p_s: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The divergence and its gradient to the student's logits after their division by the temperature.

        Args:
            log_s, p_s: [R, V] log-probabilities and probabilities of the student at the temperature; stay as they are.
            target: [R, V] log-probabilities of the teacher at the temperature; stay as they are.
        Returns: [R] and [R, V].
        """
        raise NotImplementedError


@dataclass
class SampledDivergence(Divergence):
    """Of the sampled token alone."""

    def of_tokens(self, student_log_probs: Tensor, teacher_log_probs: Tensor | None) -> Tensor:
        """[N] nats per token.

        Args:
            student_log_probs: [N] float32 at the temperature; gradient flows.
            teacher_log_probs: [N] float32 at the temperature; constant. None where needs_teacher is False.
        """
        raise NotImplementedError


@dataclass
class ReverseKL(VocabularyDivergence):
    """KL(student || teacher): Eq. 1 of arXiv:2605.21924."""

    name = "reverse_kl"

    def of_rows(self, log_s: Tensor, p_s: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return _mean_of_log_ratio(p_s, log_s - target)


@dataclass
class ForwardKL(VocabularyDivergence):
    """KL(teacher || student)."""

    name = "forward_kl"

    def of_rows(self, log_s: Tensor, p_s: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        p_t = target.exp()
        return (p_t * (target - log_s)).sum(dim=-1), p_s - p_t


@dataclass
class JS(VocabularyDivergence):
    """Generalised Jensen-Shannon divergence (GKD, arXiv:2306.13649); see divergence.js_divergence."""

    name = "js"
    js_beta: float = option(
        0.5, "Weight of the teacher in the mixture of `js` (GKD, arXiv:2306.13649).", above=0, below=1
    )

    def of_rows(self, log_s: Tensor, p_s: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        from verl_vaopd.algorithms.log_space import log_mixture

        beta = self.js_beta
        mixture = log_mixture(log_s, target, beta)
        teacher_part = (target.exp() * (target - mixture)).sum(dim=-1)
        # What the mixture changes by drops out of the gradient, for its probabilities sum to 1.
        student_part, logits_grad = _mean_of_log_ratio(p_s, log_s - mixture)
        return beta * teacher_part + (1 - beta) * student_part, logits_grad.mul_(1 - beta)


@dataclass
class TopKReverseKL(VocabularyDivergence):
    """The reverse KL, with all but the teacher's likeliest tokens in one bucket; see divergence.top_k_reverse_kl."""

    name = "top_k"
    stands_for_reverse_kl = True
    blindness = "beyond the teacher's {top_k} likeliest tokens it sees one bucket"
    top_k: int = option(
        32, "Teacher's tokens that `top_k` tells apart; all others are one bucket.", unit="token", at_least=1
    )

    def of_rows(self, log_s: Tensor, p_s: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        from verl_vaopd.algorithms.log_space import coarse_log_ratio

        return _mean_of_log_ratio(p_s, coarse_log_ratio(log_s, target, self.top_k))


@dataclass
class K1(SampledDivergence):
    """log p_S - log p_T with the gradient of a policy gradient that has it as its reward.

    That gradient is (log p_S - log p_T) grad log p_S; differentiated as it stands it would be 0 on average. It is
    unbiased for the gradient of the reverse KL where tokens are sampled at its temperature from the whole vocabulary
    (Schulman 2020, "Approximating KL divergence"), and the weights do not depend on the tokens, not even through the
    response's length.
    """

    name = "k1"
    stands_for_reverse_kl = True

    def of_tokens(self, student_log_probs: Tensor, teacher_log_probs: Tensor | None) -> Tensor:
        log_ratio = (student_log_probs - _scored(teacher_log_probs)).detach()
        # The value of the log-ratio with the gradient of log_ratio * log p_S.
        return log_ratio * (1 + student_log_probs - student_log_probs.detach())


@dataclass
class K2(SampledDivergence):
    """Half the square of log p_S - log p_T: the gradient of K1 by ordinary differentiation."""

    name = "k2"
    stands_for_reverse_kl = True

    def of_tokens(self, student_log_probs: Tensor, teacher_log_probs: Tensor | None) -> Tensor:
        return (student_log_probs - _scored(teacher_log_probs)).square() / 2


@dataclass
class NLL(SampledDivergence):
    """-log p_S, which is KL(target || student) for all mass on the sampled token: maximum likelihood."""

    name = "nll"
    needs_teacher = False

    def of_tokens(self, student_log_probs: Tensor, teacher_log_probs: Tensor | None = None) -> Tensor:
        return -student_log_probs

    def of_rows(self, log_s: Tensor, p_s: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """As VocabularyDivergence, with token ids [R] as the target."""
        ids = token_ids[:, None]
        return -log_s.gather(1, ids).squeeze(1), p_s.scatter_add(1, ids, p_s.new_full(ids.shape, -1.0))


DIVERGENCES: dict[str, type[Divergence]] = {
    cls.name: cls for cls in (ReverseKL, ForwardKL, JS, TopKReverseKL, K1, K2, NLL)
}
"""Every divergence by its name."""


def divergence_from(name: str | None, options: Mapping[str, Any]) -> Divergence | None:
    """The divergence of this name with those of the options that are its own; None for None.

    Raises:
        ValueError: an unknown name, or an option out of range.
    """
    if name is None:
        return None
    if name not in DIVERGENCES:
        raise ValueError(f"divergence: got {name!r}, expected one of {', '.join(DIVERGENCES)}; name one of them")
    cls = DIVERGENCES[name]
    return cls(**{field.name: options[field.name] for field in fields(cls)})


def _scored(teacher_log_probs: Tensor | None) -> Tensor:
    assert teacher_log_probs is not None, "scored before the update"
    return teacher_log_probs


def _mean_of_log_ratio(p_s: Tensor, log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of log_ratio under the student and its gradient, in which the change of log_ratio itself drops out.

    Overwrites log_ratio.
    """
    value = (p_s * log_ratio).sum(dim=-1)
    return value, log_ratio.sub_(value[:, None]).mul_(p_s)
