import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_engine_tests_pass_in_a_process_of_their_own():
    here = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(here)], cwd=here.parents[1], capture_output=True, text=True
    )
    print(result.stdout[-30_000:])
    assert result.returncode == 0, f"exit code {result.returncode}; see the captured output\n{result.stderr[-5000:]}"
