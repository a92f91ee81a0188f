"""A process that runs one case for one library and prints the figures of each round as JSON.

    python -m benchmarks.worker CASE LIBRARY [ROUNDS]

The runner starts it as a script with `python -P`: then the *installed* packages come first, and the repository, whose
`gevlite` folder may hold no compiled modules, comes last.
"""

import gc
import json
import sys
import time
import traceback
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.case import load_cases
from benchmarks.libs import is_coroutine, load


def measure(case, lib, body) -> dict[str, float]:
    """One round."""
    gc.collect()
    marks = []
    returned = []

    if is_coroutine(body):

        async def timed(lib, n):
            marks.append((time.process_time(), time.perf_counter()))
            returned.append(await body(lib, n))
            marks.append((time.process_time(), time.perf_counter()))
    else:

        def timed(lib, n):
            marks.append((time.process_time(), time.perf_counter()))
            returned.append(body(lib, n))
            marks.append((time.process_time(), time.perf_counter()))

    lib.run(timed, case.n)
    if returned[0] is not None:
        return returned[0]
    (cpu0, wall0), (cpu1, wall1) = marks
    operations = case.n * case.per
    figures = {"cpu": (cpu1 - cpu0) / operations, "wall": (wall1 - wall0) / operations}
    return {"time": figures[case.clock], **figures}


def main(case_name: str, library: str, rounds: str = "3") -> int:
    try:
        case = load_cases()[case_name]
        lib = load(library)
        body = case.bodies[lib.name]
        count = case.rounds or int(rounds)
        if count > 1:
            measure(case, lib, body)  # warm-up: first use of the hub, freelists, the allocator
        result = {"rounds": [measure(case, lib, body) for _ in range(count)]}
    except BaseException as exc:
        traceback.print_exc()
        result = {"error": f"{type(exc).__name__}: {exc}"}
    print(json.dumps(result), flush=True)
    return "error" in result


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
