"""Exceptions in greenlets that were suspended when a tracer, profiler or debugger began: argv[1] begins it.

The functions share no code, so that one that has already run does not help another.
"""

import sys

import gevlite
from gevlite.event import AsyncResult, Event

event, result = Event(), AsyncResult()


def is_killed():
    event.wait()


def fails():
    event.wait()
    raise ZeroDivisionError


def catches():
    event.wait()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        return "caught"


def is_given_one():
    result.get()


def times_out():
    with gevlite.Timeout(0.01):
        event.wait()


def inner():
    yield event.wait()
    raise ZeroDivisionError


def outer():
    yield from inner()


def in_a_generator():
    return list(outer())


started = [gevlite.spawn(f) for f in (is_killed, fails, catches, is_given_one, times_out, in_a_generator)]
gevlite.get_hub().handle_error = lambda *args: None
gevlite.sleep(0)

exec(sys.argv[1])

started[0].kill()
result.set_exception(KeyError())
gevlite.joinall(started[3:5])
event.set()
gevlite.joinall(started)
sys.settrace(None)
sys.setprofile(None)
ends = [type(one.exception or one.value).__name__ for one in started]
assert ends == ["GreenletExit", "ZeroDivisionError", "str", "KeyError", "Timeout", "ZeroDivisionError"], ends
