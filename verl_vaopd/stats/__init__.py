"""Scores over repeated samples and how sure they are: one implementation for training's tables and for evaluation.

`estimates` has means with intervals and standard errors over clusters of questions; `pass_at_k` what k samples hold;
`seeds` several runs of a method; `few_clusters` intervals over few clusters; `paired` tests of differences; `tables`
how all of these are printed.
"""
