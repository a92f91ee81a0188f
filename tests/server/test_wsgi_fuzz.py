"""A few seconds of `fuzz_http`; GEVLITE_FUZZ_INPUTS asks for more inputs."""

import os

import pytest
from fuzz_http import Fuzzer, reference

INPUTS = int(os.environ.get("GEVLITE_FUZZ_INPUTS", "2000"))


@pytest.mark.timeout(60 + INPUTS // 100)
def test_mutated_requests_smuggle_nothing_and_hang_nothing():
    fuzzer = Fuzzer()
    fuzzer.run(range(INPUTS))
    assert fuzzer.outcomes["served"] > INPUTS // 10 and fuzzer.outcomes["refused"] > INPUTS // 10


def test_the_reference_agrees_with_the_table_of_cases():
    """Otherwise the comparison would mean little: it finds at least what the server serves, and little else."""
    from http_cases import CASES

    more = []
    for case in CASES:
        served = case.expect.split().count("200")
        found = sum(one.complete or one.method == "CONNECT" for one in reference(case.data))
        assert found >= served, (case.name, found, served)
        if found > served:
            more.append(case.name)
    assert len(more) < 60, more
