"""Which samples of the teacher are kept, and what their seeds depend on; tests/data/test_stored.py has the files."""

from __future__ import annotations

from verl_vaopd.data.stored import StoredPrompt
from verl_vaopd.rollout.collect import Sample, request_seed, select

A, B, C = ([1, 2, 9], [1, 3, 9], [4, 9])


def sample(token_ids: list[int], ended: bool = True, well_formed: bool = True, correct: bool = True) -> Sample:
    return Sample(token_ids, f"text of {token_ids}", ended, well_formed, correct)


def test_the_first_different_usable_correct_samples_are_kept() -> None:
    """Sampled: A, A cut off, B wrong, A again, C with a bad form, C, B, C again. Correct and usable: A A C B C."""
    samples = [
        sample(A),
        sample(A, ended=False),
        sample(B, correct=False),
        sample(A),
        sample(C, well_formed=False),
        sample(C),
        sample(B),
        sample(C),
    ]
    assert select("7", samples, keep=2) == StoredPrompt(
        index="7",
        responses=[A, C],
        texts=["text of [1, 2, 9]", "text of [4, 9]"],
        num_sampled=8,
        num_correct=5,
        num_malformed=1,
        num_truncated=1,
        num_duplicates=2,
        pass_rate=5 / 8,
    )
    assert select("7", samples, keep=3).responses == [A, C, B]
    assert select("7", samples, keep=9).responses == [A, C, B]


def test_a_sample_with_several_faults_counts_once() -> None:
    """Truncated comes before malformed, malformed before wrong."""
    faults = [
        sample(A, ended=False, well_formed=False, correct=False),
        sample(B, well_formed=False, correct=False),
        sample(C, correct=False),
    ]
    row = select("7", faults, keep=4)
    assert (row.num_truncated, row.num_malformed, row.num_correct, row.num_duplicates) == (1, 1, 0, 0)
    assert row.responses == [] and row.pass_rate == 0


def test_seeds_depend_on_the_run_and_the_prompt_alone() -> None:
    seeds = {request_seed(seed, index) for seed in (0, 1) for index in ("0", "1", "10")}
    assert len(seeds) == 6 and all(0 <= seed < 2**48 for seed in seeds)
    assert request_seed(0, "10") == request_seed(0, "10")
