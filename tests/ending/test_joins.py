"""Joining threads works until the very end: OS threads from before patching, and greenlets."""

import subprocess
import sys
import textwrap

import pytest

# An OS thread that ends once a greenlet of the main thread's hub has written to it.
NATIVE = """
import atexit, os, sys, threading
r, w = os.pipe()
native = threading.Thread(target=os.read, args=(r, 1), daemon={daemon})
native.start()
import gevlite.monkey
gevlite.monkey.patch_all()
import gevlite

def answer():
    gevlite.sleep(0.001)
    os.write(w, b"x")

def join():
    native.join(0.001)
    assert native.is_alive()
    gevlite.spawn(answer)
    native.join()
    print("joined" if not native.is_alive() else "it runs")
"""

PLACES = {
    "main program": "join()",
    "greenlet": "gevlite.spawn(join).get()",
    "atexit": "atexit.register(join)",
    "atexit, in a greenlet": "atexit.register(lambda: gevlite.spawn(join).get())",
    "as threading shuts down": "threading._register_atexit(join)",
    "thread that is not a daemon": "threading.Thread(target=join).start()",
}


def run(text):
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("place", PLACES)
def test_an_os_thread_that_needs_a_greenlet_of_whoever_joins_it_ends(place):
    assert run(NATIVE.format(daemon=True) + PLACES[place]) == ["joined"]


def test_the_end_of_the_program_waits_for_an_os_thread_that_needs_a_greenlet():
    assert run(
        NATIVE.format(daemon=False)
        + """
gevlite.spawn(answer)
atexit.register(lambda: print(native.is_alive()))
"""
    ) == ["False"]


LATE = """
import sys, threading
before = threading.Thread(target=threading.Event().wait, daemon=True)
before.start()
import gevlite.monkey
gevlite.monkey.patch_all()
import time
green = threading.Thread(target=threading.Event().wait, daemon=True)
green.start()

class Last:
    def __del__(self, print=print, clock=time.monotonic):
{body}

last = Last()
last.cycle = last
"""


def in_a_finalizer(body):
    return run(LATE.format(body=textwrap.indent(textwrap.dedent(body), " " * 8)))


def test_a_finalizer_does_not_wait_for_a_thread_that_never_runs_again():
    """A pool's `__del__` waits some seconds for each of its threads. All of these waits would be in vain."""
    assert in_a_finalizer("""
        for thread in before, green:
            thread.join(10_000)
        print(green.is_alive())
    """) == ["True"]


def test_to_join_a_thread_that_never_runs_again_without_a_limit_is_an_error():
    found = in_a_finalizer("""
        for thread in before, green:
            try:
                thread.join()
            except RuntimeError as exc:
                print(exc)
    """)
    # Up to Python 3.12 the OS threads have ended, as `threading` sees it.
    assert set(found) == {"cannot join this thread at the end of the interpreter: it will never run again"}


def test_a_finalizer_waits_for_the_thread_that_it_starts():
    assert in_a_finalizer("""
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join(100)
        print(thread.is_alive())
    """) == ["False"]
