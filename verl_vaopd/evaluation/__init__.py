"""Benchmarks: from a published file and something that answers to scores, their tables and their comparison.

`run` leads from `settings` over the questions (`published`, `questions`) and where responses come from (`sources`) to
their scores (`scoring`, `judge`); `results` reads them back for `tables` and `comparison`. `benchmark` says what a
benchmark is, `benchmarks` has them, and `crosscheck` holds our scores against other frameworks'.
"""
