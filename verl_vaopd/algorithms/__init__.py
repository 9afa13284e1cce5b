"""The equations of the paper in plain PyTorch: nothing here imports verl, ray, vllm or transformers.

Reading order: ``visual_advantage`` (Eq. 2-4), ``high_groups`` and ``weightings`` (Eq. 5-6), ``divergence`` (Eq. 1,
materialised), ``divergences`` and ``fused_divergence`` (the same numbers from hidden states and LM heads, in chunks).
``papo`` holds the perception terms of a baseline; ``options`` and ``measuring`` what all of them can be told.
"""
