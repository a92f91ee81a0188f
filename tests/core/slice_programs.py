"""Shared by the tests of time slices: programs that run with them."""

import textwrap

# Each program runs alone in its process, because slices affect the whole process. `spin(condition)` computes without
# ever blocking until the condition holds: if it cannot be interrupted, that may never happen.
HEAD = """
import gc, os, signal, sys, threading, time, weakref
import gevlite
from gevlite import get_hub, spawn
from gevlite.event import Event

def slices():
    return get_hub().stats()["slices"]

def spin(stop=lambda: False):
    while not stop():
        pass
"""


def slicing(run_script, seconds, patch=True, head=HEAD):
    """`run(source)`: its stdout, from a process with time slices of so many seconds. It writes nothing to stderr."""

    def run(source, seconds=seconds, patch=patch, args=(), **options):
        begin = ("import gevlite.monkey; gevlite.monkey.patch_all()\n" if patch else "") + head
        env = {"GEVLITE_TIME_SLICE": seconds, **options.pop("env", {})}
        result = run_script(begin + textwrap.dedent(source), *args, env=env, **options)
        assert not result.stderr, result.stderr
        return result.stdout

    return run
