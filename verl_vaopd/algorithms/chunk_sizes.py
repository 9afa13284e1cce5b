"""How much of a vocabulary-wide computation is held at a time. Imports no torch: memory is predicted from it too."""

CHUNK_SIZE = 1024
"""Tokens per chunk of logits."""
BLOCK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}
"""Elements worked on at a time in float32, by device: few enough for a CPU's caches and its allocator's free lists
(larger blocks go back to the system and fault in again each time), enough to keep a GPU busy."""
