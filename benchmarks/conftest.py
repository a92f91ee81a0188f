"""`pytest benchmarks`: the cases under pytest-benchmark.

Each measurement is a worker process, as in `python -m benchmarks`; the figures of its rounds are played back to
pytest-benchmark as the time that passed. Figures of all metrics are in `extra_info` of the saved JSON. pytest runs one
library after the other; for ratios on a busy machine use `python -m benchmarks`, which takes turns.
"""

import importlib.util
import shutil
import statistics

import pytest

from benchmarks.case import CASES
from benchmarks.run import run_worker

ROUNDS = 5  # in one worker
WORKERS = 3  # of a case that has one round in each
BUILT_IN = ("c", "python", "threads")


class _Playback:
    """A clock that jumps forward by what was measured."""

    def __init__(self):
        self.now = 0.0
        self.durations = iter(())

    def __call__(self):
        return self.now

    def next_round(self):
        self.now += next(self.durations)


_playback = _Playback()


def pytest_generate_tests(metafunc):
    if "lib" in metafunc.fixturenames:
        case = CASES[metafunc.function.__name__.removeprefix("test_")]
        metafunc.parametrize("lib", case.libraries)


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "bench" in item.fixturenames:
            item.add_marker(pytest.mark.benchmark(timer=_playback, group=item.originalname))
            if config.pluginmanager.hasplugin("timeout"):
                item.add_marker(pytest.mark.timeout(0))  # the workers have a limit of their own


@pytest.fixture
def bench(benchmark):
    def run(case, lib):
        if case.program and shutil.which(case.program) is None:
            pytest.skip(f"{case.program}, which makes the load, is not installed")
        package = lib.partition("-")[0]  # granian-1 is granian with other settings
        if lib not in BUILT_IN and importlib.util.find_spec(package) is None:
            pytest.skip(f"{lib} is not installed")
        rounds = []
        for _ in range(WORKERS if case.rounds == 1 else 1):
            result = run_worker(case, lib, ROUNDS)
            if "error" in result:
                pytest.fail(result["error"])
            rounds += result["rounds"]
        headline = case.metrics[0]
        for metric in rounds[0]:
            benchmark.extra_info[metric] = statistics.median(figures[metric] for figures in rounds)
        if headline.unit != "s":
            benchmark.group = f"{case.name}, in {headline.unit}, whatever the heading says"
        _playback.durations = iter([figures[headline.name] for figures in rounds])
        benchmark.pedantic(_playback.next_round, rounds=len(rounds))

    return run
