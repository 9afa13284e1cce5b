"""Entry point ``verl.plugins``: imported at the end of ``import verl``, in every process that imports verl.

verl logs an error raised here at DEBUG and goes on without the plugin: `registration.verify_registration` raises it.
"""

from verl_vaopd.platform import patches
from verl_vaopd.platform.environment import is_cpu

patches.fix_position_ids()
if is_cpu():
    from verl_vaopd.platform import cpu  # noqa: F401  (registers the platform)

    patches.activate()
    patches.name_gloo_once()
