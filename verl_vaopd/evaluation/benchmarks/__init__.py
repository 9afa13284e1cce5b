"""One file per benchmark, with all that is known of it: where it is published, how it is asked and scored, its metrics.

BENCHMARKS has them by name. Beside them is what several share (choices.py, free_form.py, interleave.py, vlmevalkit.py)
and what is too long for the file of the one that it belongs to (mathvista_numbers.py, edit_distance.py,
mmmu_official.py).
"""

from verl_vaopd.evaluation.benchmark import Benchmark
from verl_vaopd.evaluation.benchmarks.ai2d import AI2D
from verl_vaopd.evaluation.benchmarks.custom import Custom
from verl_vaopd.evaluation.benchmarks.geo3k import Geo3K
from verl_vaopd.evaluation.benchmarks.hallusionbench import HallusionBench
from verl_vaopd.evaluation.benchmarks.mathverse import MathVerse
from verl_vaopd.evaluation.benchmarks.mathvista import MathVista
from verl_vaopd.evaluation.benchmarks.mmmu import MMMU
from verl_vaopd.evaluation.benchmarks.mmstar import MMStar
from verl_vaopd.evaluation.benchmarks.ocrbench import OCRBench
from verl_vaopd.evaluation.benchmarks.tinygeo import TinyGeo
from verl_vaopd.evaluation.benchmarks.wemath import WeMath

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        WeMath(),
        MathVista(),
        MathVerse(),
        HallusionBench(),
        AI2D(),
        MMMU(),
        MMStar(),
        OCRBench(),
        Geo3K(),
        TinyGeo(),
        Custom(),
    )
}
"""In the order of the tables, with the switches that they use."""

PAPER = tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.paper_average)
"""Those of the paper's tables."""
