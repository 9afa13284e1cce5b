"""Where responses come from: vLLM on this machine, a server, or a file; `source` says what they have in common.

`occupancy` measures how busy the first two are.
"""
