"""Programs that several files inspect, see `start` in conftest.py; and what another user can do with them."""

import os

# Greenlets wait for the test.
_PARKED = """
event = Event()
def serve():
    event.wait()
greenlets = [gevlite.spawn(serve) for _ in range(COUNT)]
one = greenlets[0]
gevlite.idle()
say("ready")
told()
event.set()
gevlite.joinall(greenlets)
say("went on")
"""
PARKED = _PARKED.replace("COUNT", "1")
THREE_PARKED = _PARKED.replace("COUNT", "3")

# A greenlet computes, and another one cannot begin: also with time slices.
SPINNING = """
def compute():
    os.set_blocking(0, False)
    with gevlite.uninterrupted():
        say("ready")
        while True:
            for _ in range(100):
                pass
            try:
                os.read(0, 100)
                break
            except BlockingIOError:
                pass
        say("went on")
def other():
    pass
with gevlite.uninterrupted():
    one = gevlite.spawn(compute)
    one.name = "the spinner"
    two = gevlite.spawn(other)
gevlite.joinall([one, two])
"""

# Without time slices: with them the sleeper may end before the other one blocks.
BLOCKED_IN_C = """
import select
def sleeper():
    gevlite.sleep(0)
def query():
    say("ready")
    select.select([0], [], [])
    say("went on")
greenlets = [gevlite.spawn(sleeper), gevlite.spawn(query)]
gevlite.joinall(greenlets)
"""

TEN_THOUSAND = """
event = Event()
def serve(number):
    event.wait()
greenlets = [gevlite.spawn(serve, n) for n in range(10_000)]
gevlite.idle()
say("ready")
told()
event.set()
gevlite.joinall(greenlets)
say("all went on")
"""

LONG_NAMES = """
event = Event()
def a_function_with_quite_a_long_name_indeed():
    event.wait()
greenlets = [gevlite.spawn(a_function_with_quite_a_long_name_indeed) for _ in range(3)]
gevlite.idle()
say("ready")
told()
event.set()
"""


def as_another_user(folder, ask):
    """What `ask()` returns in a process of another user, whose current folder this is."""
    os.chdir(folder)  # the other user need not be able to enter the folders above
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, ask())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    os.chdir("/")
    return answer
