"""What counts as the same answer: one rule for the reward of a rollout and for the benchmarks.

`rewards` scores a rollout; `response` finds the final answer in a response; `choice`, `yes_no` and `equality` read and
compare it, with `normalise`, `expression` and `units` for its spelling. Nothing here is one benchmark's own.
"""
