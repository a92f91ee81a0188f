"""Exception tables that lack the jump back of a loop, and what they should be.

An exception that is raised between two iterations of a loop, at the jump back, goes to the handler that the code's
exception table names for that instruction. The compilers of Python 3.11 to 3.14 leave some of these jumps out of the
table, for example that of this loop (before Python 3.13, those of a `while True:` right behind a `try:`)::

    with lock:
        for item in items:
            if item.due:
                items.append(item.next())

According to the table, the jump after an item that is not due is in no `with`: an exception that ends a time slice
there (as that of Ctrl-C does) would bypass `__exit__`, and the lock would be lost. So the table is completed before the
exception is raised. CPython's InternalDocs/exception_handling.md describes the format.
"""

import dis
import sys
import weakref

_UNIT = 2  # bytes of code
_CANNOT_RAISE = {"NOP", "POP_TOP", "STORE_FAST", "RETURN_VALUE", "RETURN_CONST", "JUMP_FORWARD", "POP_EXCEPT"}
_complete: dict[int, weakref.ref] = {}  # by id: weak references to code objects that need no completion, or have it


def completed(code):
    """The exception table of this code object with all jumps back in it; None if it has them already."""
    if not code.co_exceptiontable or id(code) in _complete:
        return None
    entries = _read(code.co_exceptiontable)
    lacking = set(_lacking(code, entries))
    table = _write(sorted([*entries, *lacking])) if lacking else None
    key = id(code)
    _complete[key] = weakref.ref(code, lambda _: _complete.pop(key, None))
    return table


def _lacking(code, entries):
    """An entry for each jump back that has none, although its destination has one and the loop is in that `try`."""
    instructions = list(dis.get_instructions(code))
    pairs = list(zip(instructions, instructions[1:], strict=False))
    before = {following.offset: instruction for instruction, following in pairs}
    jumps = [pair for pair in pairs if pair[0].opname.startswith("JUMP_BACKWARD")]
    # Destinations, each with the handlers of those jumps to it that have one.
    inside = {(jump.argval, entry[2:]) for jump, _ in jumps if (entry := _at(entries, jump.offset))}
    for jump, following in jumps:
        there = _at(entries, jump.argval)
        # If the `try` begins where the loop does, either may be in the other. Another jump may show which.
        if not there or there[0] == jump.argval // _UNIT and (jump.argval, there[2:]) not in inside:
            continue
        place = _looked_up(jump, following, before[jump.argval])
        if place and not _at(entries, place[0] * _UNIT):
            yield (*place, *there[2:])


def _looked_up(jump, following, last):
    """Begin and length of the units whose entry in the table counts if an exception strikes; None: leave it alone.

    last: the instruction before its destination.
    """
    if sys.version_info >= (3, 13):
        start = jump.offset // _UNIT
        return start, following.offset // _UNIT - start
    # The jump has already been made: the entry of the unit before its destination counts.
    if last.offset < jump.argval - _UNIT or last.opname in _CANNOT_RAISE:
        return jump.argval // _UNIT - 1, 1
    return None  # an error of that instruction would go to the wrong handler


def _at(entries, offset):
    for entry in entries:
        if entry[0] <= offset // _UNIT < entry[0] + entry[1]:
            return entry
    return None


def _read(table):
    """Tuples of four numbers: start and length in units, the handler's place, and its stack depth with a flag."""
    numbers, number = [], 0
    for byte in table:
        number = number << 6 | byte & 0x3F
        if not byte & 0x40:
            numbers.append(number)
            number = 0
    return list(zip(*[iter(numbers)] * 4, strict=True))


def _write(entries):
    table = bytearray()
    for entry in entries:
        begin = len(table)
        for number in entry:
            for shift in range((max(number.bit_length(), 1) - 1) // 6 * 6, -1, -6):
                table.append(number >> shift & 0x3F | (0x40 if shift else 0))
        table[begin] |= 0x80
    return bytes(table)
