"""verl's FSDP2 engine on the CPU platform.

Import it in the workers: ``actor_rollout_ref.model.external_lib=verl_vaopd.platform.engine``. It is not part of the
verl plugin: that runs in every process, and this import costs seconds of which only a trainer worker has use.

FSDP1 is left out: torch refuses it without an accelerator, and verl says so better ("No engine registered for
device='cpu' ... backend='fsdp'") than torch does. The strategy to ask for is ``fsdp2``.
"""

from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu")(FSDPEngineWithLMHead)
