"""Daemon threads with greenlets in them, which the end of the interpreter stops in the middle."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
import gevlite

def in_the_hub():
    while True:
        gevlite.sleep(0.0002)

def in_a_greenlet():
    def work():
        while True:
            sum(range(100))
    gevlite.spawn(work).join()

def in_a_socket():
    from gevlite import socket
    a, b = socket.socketpair()
    def work():
        while True:
            a.send(b"x")
            b.recv(1)
    gevlite.spawn(work).join()

for _ in range(10):
    threading.Thread(target=globals()[sys.argv[1]], daemon=True).start()
time.sleep(0.2)
print("end")
"""


@pytest.mark.parametrize("place", ["in_the_hub", "in_a_greenlet", "in_a_socket"])
def test_threads_that_never_end_do_not_crash_the_end(place):
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PROGRAM, place], capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
