"""Four OS threads with a thousand greenlets each pass items around over shared queues: nothing is lost, nothing hangs.

    python tests/soak/threads.py [SECONDS]

Runs for 60 seconds unless told otherwise. Exits with an error if an item or a token of the shared semaphore is missing,
or a thread does not end.
"""

import random
import sys
import threading
import time

import gevlite
from gevlite.lock import Semaphore
from gevlite.queue import Empty, Full, Queue

THREADS, GREENLETS, ITEMS, TOKENS = 4, 1000, 150, 3


def main(seconds):
    queues = [Queue(50) for _ in range(THREADS)]
    tokens = Semaphore(TOKENS)
    end = time.monotonic() + seconds
    moved = [0] * THREADS
    inside = [0]
    most = [0]

    def work(number, seed):
        chance = random.Random(number * 10007 + seed)
        while time.monotonic() < end:
            try:
                item = queues[number].get(timeout=0.5)
            except Empty:
                continue
            moved[number] += 1
            if chance.random() < 0.05 and tokens.acquire(timeout=5):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                gevlite.sleep(0)
                inside[0] -= 1
                tokens.release()
            while True:
                try:
                    queues[chance.randrange(THREADS)].put(item, timeout=0.5)
                    break
                except Full:
                    pass

    def run(number):
        gevlite.joinall([gevlite.spawn(work, number, seed) for seed in range(GREENLETS)], raise_error=True)

    # Fewer items than places: in the end each fits in.
    for item in range(ITEMS):
        queues[item % THREADS].put(item)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
    left = sorted(item for queue in queues for item in queue.queue)
    print(f"moved {sum(moved)} items, at most {most[0]} of {TOKENS} tokens out at a time")
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert left == list(range(ITEMS)), "items are missing"
    assert tokens.counter == TOKENS, "tokens are missing"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
