"""How much each token's divergence weighs: one module per weighting, with its options and its rule.

`weighting=NAME` of the configuration chooses one; a recipe in recipes/method/ may choose it for a method. To add one,
write its module and its line here. Importing these modules imports no torch.
"""

from verl_vaopd.algorithms.weightings.masked import Masked
from verl_vaopd.algorithms.weightings.uniform import Uniform
from verl_vaopd.algorithms.weightings.visual_advantage import VisualAdvantage
from verl_vaopd.algorithms.weightings.weighting import Measured, Weighting

__all__ = ["WEIGHTINGS", "Masked", "Measured", "Uniform", "VisualAdvantage", "Weighting"]

WEIGHTINGS: dict[str, type[Weighting]] = {cls.name: cls for cls in (Uniform, VisualAdvantage, Masked)}
"""Every weighting by its name."""
