"""The process that callgrind observes: runs each operation so many times, then twice as many, and dumps the counts.

    python -P counted.py REQUESTS_LIBRARY SUBJECT.CASE=COUNT...

instructions.py starts it and takes the difference of each pair. Only the files of these subjects are imported: further
imports of a process make a difference of some per cent.
"""

import ctypes
import gc
import importlib
import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from benchmarks.case import BASE, CASES
from benchmarks.libs import load


def main(requests: str, *operations: str) -> None:
    callgrind = ctypes.CDLL(requests)
    callgrind.dump.argtypes = [ctypes.c_char_p]
    lib = load(BASE)
    gc.disable()  # the cost of a collection depends on what else the process has imported
    random.seed(0)
    for operation in operations:
        case, _, count = operation.partition("=")
        subject, _, name = case.partition(".")
        importlib.import_module(f"benchmarks.test_{subject}")
        body, n = CASES[name].bodies[BASE], int(count)
        # This makes everything that is made only once: hub, freelists, the interpreter's specialised bytecode.
        body(lib, 2 * n)
        for times in (n, 2 * n):
            gc.collect()
            callgrind.start()
            callgrind.zero()
            body(lib, times)
            callgrind.dump(f"{name} {times}".encode())
            callgrind.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
