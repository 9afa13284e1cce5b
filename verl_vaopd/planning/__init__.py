"""What a run will need before it starts: memory per GPU and phase, seconds, disk, traffic. Estimates.

    shapes.py       models by the numbers of their config.json: parameters, and what a token costs
    gpus.py         memory and speed of GPUs, from their data sheets
    assumptions.py  every number that is neither counted nor measured, with its reason
    workload.py     rollouts, tokens and images of a step; steps of a run
    memory.py       what lies on a GPU in which phase, and how it follows
    timing.py       seconds of each phase of a step and of a validation
    volumes.py      checkpoints, dumps, and what travels
    measured.py     seconds and lengths of a run that there was, in the place of assumed ones
    plan.py         all of it: `predict`
    advice.py       which settings would make it fit
    text.py         as text and as JSON

Imports neither torch nor verl. A check before a start asks

    plan = predict(cfg, here=probe_gpus())
    plan.memory.fits, verdict(plan, [] if plan.memory.fits else advise(cfg, plan))
"""

from verl_vaopd.planning.advice import advise
from verl_vaopd.planning.plan import Plan, predict
from verl_vaopd.planning.text import verdict

__all__ = ["Plan", "advise", "predict", "verdict"]
