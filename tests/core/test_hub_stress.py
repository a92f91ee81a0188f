"""`hub_stress.py` for a short while, on each backend.

GEVLITE_STRESS_SECONDS=120      go on that long
GEVLITE_STRESS_SEED=12345       the round that a failure named
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gevlite import backends

SECONDS = float(os.environ.get("GEVLITE_STRESS_SECONDS", "2"))
SEED = os.environ.get("GEVLITE_STRESS_SEED")
BACKENDS = [name for name, problem in backends.available().items() if problem is None]


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("kept", ["none", "main"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_waits_wherever_it_runs_ends(backend, kept):
    run_stress(backend, kept, SECONDS, int(SEED) if SEED else random.randrange(1 << 30))


def run_stress(backend, kept, seconds, seed, *ending):
    program = Path(__file__).with_name("hub_stress.py")
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", program, str(seconds), str(seed), *ending],
        env={**os.environ, "GEVLITE_BACKEND": backend, "GEVLITE_FORK_KEEPS": kept, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        timeout=seconds + 100,
    )
    assert result.returncode == 0, f"seed {seed}\n{result.stdout}{result.stderr}"


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_interpreter_ends_in_the_middle_of_it(backend):
    dice = random.Random(int(SEED) if SEED else None)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        seed = int(SEED) if SEED else dice.randrange(1 << 30)
        run_stress(backend, "main", 0.05 + seed % 16 / 100, seed, "ending")
