"""Exception tables are completed: an exception at any jump back of a loop goes to the `with` or `try` it is in."""

import dis
import sys
import threading
import types
from concurrent.futures import thread

import pytest

from gevlite import _back_jumps


def functions_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from functions_of(constant)


def codes_of(module):
    with open(module.__file__, encoding="utf-8") as file:
        return functions_of(compile(file.read(), module.__file__, "exec"))


def handler(entries, offset):
    return next(((entry.target, entry.depth) for entry in entries if entry.start <= offset < entry.end), None)


def lacking(code):
    """Jumps back without a handler to a place that has one."""
    bytecode = dis.Bytecode(code)
    return [
        jump.offset
        for jump in bytecode
        if jump.opname.startswith("JUMP_BACKWARD")
        # Before Python 3.13, the jump has been made when the interpreter looks for signals.
        and not handler(bytecode.exception_entries, jump.offset if sys.version_info >= (3, 13) else jump.argval - 2)
        and surrounds(bytecode, jump)
    ]


def surrounds(bytecode, jump):
    """The handler of the destination is that of the loop: it covers another jump back, or what is before the loop."""
    entries = bytecode.exception_entries
    there = handler(entries, jump.argval)
    return there and (
        any(entry.start < jump.argval < entry.end for entry in entries)
        or any(
            handler(entries, other.offset) == there
            for other in bytecode
            if other.opname.startswith("JUMP_BACKWARD") and other.argval == jump.argval
        )
    )


EXAMPLES = """
def branch_at_the_end(lock, items):
    with lock:
        for item in items:
            if item:
                items.append(item)

def for_ever(flag):
    try:
        while True:
            if flag:
                flag()
    finally:
        print()

def at_once():
    try:
        while True:
            pass
    finally:
        print()

def behind(flag):
    flag()
    try:
        while True:
            if flag:
                flag()
    finally:
        print()

def worker(begin):
    if begin is not None:
        try:
            begin()
        except BaseException:
            return
    try:
        while True:
            begin()
    finally:
        print()

def nested(a, b, items):
    with a:
        for item in items:
            with b:
                for other in item:
                    if other:
                        if a:
                            other()
                    elif b:
                        item()

async def asynchronous(a, items):
    async with a:
        async for item in items:
            if item:
                await item
"""


# The jump is in no `try`: each iteration has one of its own.
ROUNDS = """
def finally_in_each(f, release):
    while True:
        try: f()
        finally: release()

def finally_in_some(f, x, release):
    while x:
        try: f()
        finally: release()

def all_are_caught(f, r):
    while True:
        try: f()
        except BaseException: r()

def one_is_caught(q):
    while True:
        try: item = q.get()
        except OSError: break
"""


@pytest.mark.parametrize("code", list(functions_of(compile(ROUNDS, "rounds", "exec")))[1:], ids=lambda c: c.co_name)
def test_a_jump_between_two_rounds_is_in_no_try_of_theirs(code):
    assert _back_jumps.completed(code) is None


@pytest.mark.parametrize("code", list(functions_of(compile(EXAMPLES, "examples", "exec"))), ids=lambda c: c.co_name)
def test_every_loop_of_the_examples_is_covered(code):
    table = _back_jumps.completed(code)
    assert (table is not None) == bool(lacking(code))
    if table is not None:
        better = code.replace(co_exceptiontable=table)
        assert not lacking(better)
        before, after = (dis.Bytecode(c).exception_entries for c in (code, better))
        assert [entry for entry in after if entry in before] == before
        assert sorted(after, key=lambda entry: entry.start) == after
        assert all(one.end <= other.start for one, other in zip(after, after[1:], strict=False))
    assert _back_jumps.completed(code) is None, "it looks only once"


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="the compiler covers them all")
def test_some_are_not_covered_by_the_compiler():
    """If it does not, `_back_jumps` has nothing to do on this Python."""
    found = [
        code for code in [*functions_of(compile(EXAMPLES, "examples", "exec")), *codes_of(thread)] if lacking(code)
    ]
    assert found
    for code in found:
        assert not lacking(code.replace(co_exceptiontable=_back_jumps.completed(code)))


@pytest.mark.parametrize("module", [threading, dis], ids=lambda m: m.__name__)
def test_tables_are_read_and_written_as_the_compiler_does(module):
    count = 0
    for code in codes_of(module):
        table = code.co_exceptiontable
        entries = _back_jumps._read(table)
        assert _back_jumps._write(entries) == table
        assert [
            (2 * start, 2 * (start + length), 2 * target, depth >> 1) for start, length, target, depth in entries
        ] == [(entry.start, entry.end, entry.target, entry.depth) for entry in dis.Bytecode(code).exception_entries]
        count += len(entries)
    assert count
