"""`hub_stress.py` for a short while, on each backend.

    GEVLITE_STRESS_SECONDS=120      go on that long
    GEVLITE_STRESS_SEED=12345       the round that a failure named
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gevlite import backends

SECONDS = float(os.environ.get("GEVLITE_STRESS_SECONDS", "2"))
SEED = os.environ.get("GEVLITE_STRESS_SEED")


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("kept", ["none", "main"])
@pytest.mark.parametrize("backend", [name for name, problem in backends.available().items() if problem is None])
def test_whatever_waits_wherever_it_runs_ends(backend, kept):
    seed = int(SEED) if SEED else random.randrange(1 << 30)
    program = Path(__file__).with_name("hub_stress.py")
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", program, str(SECONDS), str(seed)],
        env={**os.environ, "GEVLITE_BACKEND": backend, "GEVLITE_FORK_KEEPS": kept, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 100,
    )
    assert result.returncode == 0, f"seed {seed}\n{result.stdout}{result.stderr}"
