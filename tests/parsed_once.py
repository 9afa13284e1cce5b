"""Composing the configuration in a third of the time."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import omegaconf.base
from omegaconf import OmegaConf


@contextmanager
def parsed_once() -> Iterator[None]:
    """verl's two dozen YAML files, which Hydra opens itself, and its interpolations are read once and not once per
    composition. Files that are loaded by their path are loaded: tests write some of them again."""
    load, cache = OmegaConf.load, {}

    def cached(file):
        if isinstance(file, str | Path):
            return load(file)
        if file.name not in cache:
            cache[file.name] = pickle.dumps(load(file))
        return pickle.loads(cache[file.name])  # three times as fast as a deep copy

    OmegaConf.load = staticmethod(cached)
    parse, omegaconf.base.parse = omegaconf.base.parse, functools.cache(omegaconf.base.parse)
    yield
    omegaconf.base.parse = parse
    OmegaConf.load = staticmethod(load)
