"""Held-out accuracy and visual advantage of one validation, as the event log and the final table report them."""

from collections.abc import Mapping, Sequence

from verl_vaopd.stats.estimates import Estimate, estimate_mean


def summarise_validation(
    correct: Mapping[str, Sequence[float]],
    mean_va: Mapping[str, Sequence[float]] | None,
    seed: int,
) -> dict[str, float | int]:
    """Accuracy and mean visual advantage with 95 % intervals over questions.

    Every question counts alike. Intervals resample whole questions with all their samples.

    Args:
        correct: score in [0, 1] of each sample, NaN if it failed, by question id.
        mean_va: mean over tokens of the visual advantage [nats] of each sample, for the same question ids; None
            if it was not computed: then its fields are absent.
        seed: of the resampling.
    Returns: accuracy, accuracy_low, accuracy_high, [mean_va, mean_va_low, mean_va_high,] n_questions (with at least
        one sample), n_samples (scored), n_missing (failed samples, counted against the question with the most).
        Limits are NaN where fewer than two questions leave them undefined.

    Raises:
        ValueError: no question, or mean_va of other questions than correct.
    """
    if not correct:
        raise ValueError("correct: got no question, expected at least one; is the validation set empty?")
    accuracy = estimate_mean(list(correct.values()), seed=seed)
    summary: dict[str, float | int] = _fields("accuracy", accuracy)
    if mean_va is not None:
        if mean_va.keys() != correct.keys():
            other = sorted(mean_va.keys() ^ correct.keys())
            raise ValueError(f"mean_va: got other questions than correct ({', '.join(other[:8])}), expected the same")
        # In the order of correct, so that one seed resamples the same questions for both.
        summary |= _fields("mean_va", estimate_mean([mean_va[question] for question in correct], seed=seed))
    return summary | {
        "n_questions": accuracy.n_questions,
        "n_samples": accuracy.n_samples,
        "n_missing": accuracy.n_missing_samples,
    }


def _fields(name: str, estimate: Estimate) -> dict[str, float | int]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
