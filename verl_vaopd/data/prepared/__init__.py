"""Public data sets that `vaopd prepare` brings into the form that training reads: the registry."""

from __future__ import annotations

from collections.abc import Mapping

from verl_vaopd.data.prepared.geometry3k import Geometry3K
from verl_vaopd.data.prepared.published import Published
from verl_vaopd.data.prepared.virl39k import ViRL39K

PREPARED: dict[str, Mapping[str, type[Published]]] = {
    "geo3k": dict.fromkeys(("train", "validation", "test"), Geometry3K),
    # It has no held-out problems: the paper selects checkpoints on Geometry3K's (arXiv:2605.21924, Sec. 4.3).
    "virl39k": {"train": ViRL39K, "validation": Geometry3K},
}
"""{name: {split: where its rows come from}}"""
