"""What computing greenlets lose by time slices: `python -m benchmarks.slice_cost [--pairs 50]`.

Four greenlets count, with slices of 10 ms and without, in turns in one process. Printed is how much they count with
slices in a second of CPU time, as a share of what they count without: the median of the pairs, and between which values
half of them are.
"""

import argparse
import statistics
import time

import gevlite

SLICE = 0.01
SECONDS = 0.3  # of CPU time


def counted(time_slice):
    """How much four greenlets count in a second of CPU time."""
    gevlite.config.time_slice = time_slice
    begin = time.process_time()
    end = begin + SECONDS

    def spins():
        count = 0
        while time.process_time() < end:
            for _ in range(10_000):
                count += 1
        return count

    spinners = [gevlite.spawn(spins) for _ in range(4)]
    gevlite.joinall(spinners, raise_error=True)
    return sum(spinner.value for spinner in spinners) / (time.process_time() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=50)
    pairs = parser.parse_args().pairs
    shares = []
    for number in range(pairs):
        order = [SLICE, None] if number % 2 else [None, SLICE]  # so that the first one has no advantage
        found = {time_slice: counted(time_slice) for time_slice in order}
        shares.append(found[SLICE] / found[None])
    first, median, last = statistics.quantiles(shares, n=4)
    print(f"with slices of {SLICE * 1000:.0f} ms: {median:.3f} of what is counted without ({first:.3f} to {last:.3f})")


if __name__ == "__main__":
    main()
