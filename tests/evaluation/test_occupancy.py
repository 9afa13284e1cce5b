import pytest

from verl_vaopd.evaluation.sources.occupancy import Occupancy


def occupancy(*notes, num_slots=4):
    """Of (second, unfinished samples)."""
    times = iter(second for second, _ in notes)
    found = Occupancy(num_slots, clock=lambda: next(times))
    for _, num in notes:
        found.note(num)
    return found


def test_idle_and_full_time_by_hand():
    """Seconds 5-7 nothing; 7-9 two of four; 9-15 eight, which count as four: full (2 * 0.5 + 6) / 10."""
    found = occupancy((5, 0), (7, 2), (9, 8), (15, 0))
    assert found.idle_frac == pytest.approx(0.2) and found.full_frac == pytest.approx(0.7)


@pytest.mark.parametrize("notes", [(), ((3, 1),)])
def test_no_time_has_no_shares(notes):
    assert occupancy(*notes).idle_frac is None and occupancy(*notes).full_frac is None
