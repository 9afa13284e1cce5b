"""Names of the splits, train first. `test_unseen_pairs` and `test_ood` are out of the training distribution."""

SPLITS: tuple[str, ...] = ("train", "validation", "test", "test_unseen_pairs", "test_ood")
