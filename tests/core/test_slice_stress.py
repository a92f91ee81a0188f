"""`slice_stress.py` for a short while.

GEVLITE_STRESS_SECONDS=600      go on that long
GEVLITE_STRESS_SEED=12345       the round that a failure named
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("GEVLITE_STRESS_SECONDS", "3"))
SEED = int(os.environ.get("GEVLITE_STRESS_SEED") or random.randrange(1 << 30))


@pytest.mark.timeout(SECONDS + 150)
def test_code_for_threads_is_right_with_time_slices():
    program = Path(__file__).with_name("slice_stress.py")
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", program, str(SECONDS), str(SEED)],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 140,
    )
    assert result.returncode == 0, f"seed {SEED}\n{result.stdout}{result.stderr}"
