"""The client of the time slice cases: asks, waits for the answer, pauses, and prints the waits as JSON.

python slice_client.py DESCRIPTOR SECONDS

For each wait: the seconds that passed, and the seconds for which its parent, which answers, was running meanwhile.
"""

import json
import os
import random
import socket
import sys
import time


def main(descriptor, seconds):
    sock = socket.socket(fileno=int(descriptor))
    dice = random.Random(1)
    waits = []
    clock = (~os.getppid() << 3) | 2  # its CPU clock, see tls_client
    sock.sendall(b"x")
    sock.recv(1)
    end = time.perf_counter() + float(seconds)
    with sock:
        while True:
            time.sleep(dice.uniform(0, 0.01))  # or it would run in step with the slices
            asked, running = time.perf_counter(), time.clock_gettime(clock)
            if asked >= end - 0.05 and waits:
                break
            sock.sendall(b"x")
            if not sock.recv(1):
                break
            waits.append((time.perf_counter() - asked, time.clock_gettime(clock) - running))
    print(json.dumps(waits))


if __name__ == "__main__":
    main(*sys.argv[1:])
