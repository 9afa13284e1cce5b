"""The job configuration: composed from verl's, ours and recipes/, and checked before anything starts.

Imports neither torch nor verl, so that a mistake is reported in seconds.
"""

from verl_vaopd.config.cautions import cautions
from verl_vaopd.config.composition import compose
from verl_vaopd.config.errors import ConfigError, Problem
from verl_vaopd.config.groups import with_default_groups
from verl_vaopd.config.paths import recipes_dir
from verl_vaopd.config.validation import examine, validate

__all__ = [
    "ConfigError",
    "Problem",
    "cautions",
    "compose",
    "examine",
    "recipes_dir",
    "validate",
    "with_default_groups",
]
