"""Whether verl loaded this package's plugin: verl itself keeps an error of a plugin to itself."""

import importlib
import importlib.metadata
import os
import sys

from verl_vaopd.platform.environment import is_cpu

_PLUGIN = "verl_vaopd.platform.verl_plugin"


def verify_registration() -> None:
    """Check that verl in this process runs with this package's plugin.

    Raises:
        RuntimeError: if it does not; the message says why and what to do.
    """
    import verl  # noqa: F401  (loads the plugins)

    declared = [entry_point.value for entry_point in importlib.metadata.entry_points(group="verl.plugins")]
    if _PLUGIN not in declared:
        raise RuntimeError(
            f"verl does not know the plugin {_PLUGIN}: got {declared} as installed entry points of group verl.plugins. "
            "They are written when verl-vaopd is installed; install it again: pip install -e ."
        )
    if _PLUGIN not in sys.modules:
        importlib.import_module(_PLUGIN)  # raises what verl did not say
        raise RuntimeError(
            f"verl did not load the plugin {_PLUGIN}: VERL_USE_EXTERNAL_PLUGINS is "
            f"{os.environ.get('VERL_USE_EXTERNAL_PLUGINS')!r}, expected it unset, 'auto' or a list with 'vaopd'."
        )

    from verl.plugin.platform import PlatformRegistry, get_platform

    if is_cpu() and (PlatformRegistry.get("cpu") is None or get_platform().device_name != "cpu"):
        raise RuntimeError(
            "verl does not run on the CPU platform although VERL_PLATFORM=cpu: the variable was set after verl was "
            "imported. Set it (verl_vaopd.platform.cpu_environment) before."
        )
