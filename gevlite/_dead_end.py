"""What LoopExit says: which greenlet waits for what, at which line of the program, why nothing will wake it, and what
helps.

The text is made from what `_core.look` finds, so it runs no code of the program.
"""

from collections import Counter

from gevlite._user_line import nearest, shown_path

__all__ = ["circles", "message", "waiting"]

FIRST = "the main greenlet would wait for ever: no timer, file descriptor, worker thread or ready greenlet is left."

# At most so many lines are shown, and so many greenlets of a circle.
MOST = 20

# The first words of what the main greenlet waits for, why it does not come, and what to check.
WHY = (
    ("Event", "an Event that nobody else can set", "did what was to set it fail, or does it wait itself?"),
    ("an item in", "an item that nobody can put", "has the producer ended without a last item, or shutdown()?"),
    ("room in", "room that nobody can make", "has the consumer ended?"),
    ("AsyncResult", "a result that nobody can set", "did what was to set it fail, or does it wait itself?"),
    ("Semaphore", "a Semaphore that nobody can release", "is it released in a `finally`, or by `with`?"),
    ("BoundedSemaphore", "a Semaphore that nobody can release", "is it released in a `finally`, or by `with`?"),
    ("Lock", "a Lock that nobody will release", "is it released in a `finally`, or by `with`?"),
)


class Parked:
    """One parked greenlet of the report."""

    def __init__(self, found, report):
        self.address, _, self.kind, self.name, self.function = found[:5]
        self.text, _, self.what, holders, places = found[8:13]
        if self.kind == "main":
            self.name = "main"
        frames = [report["frames"][index] for index in found[16]]
        place = nearest(frames, frames) if frames else None
        self.line = "" if place is None else f"{shown_path(place[0])}:{place[1]}"
        self.holders = tuple(holders) if holders is not None else tuple(report["holders"].get(self.what, ()))
        # What must happen before it goes on, if there is no alternative.
        self.needs = self.holders if not places or len(self.holders) == 1 else ()
        self.called = None  # another name for it, if there is a better one

    def __str__(self):
        who = self.called or self.function.rpartition("<locals>.")[2] if self.function else self.kind
        return f"{who} ({self.line})" if self.line else who

    def named(self):
        """Its name in its repr, for where it matters which greenlet it is."""
        if self.called:
            return self.called
        return "main" if self.kind == "main" else f"{self.name or 'Greenlet'} at {self.address:#x}"


def message(report, hub):
    """The text. report: from `_core.look`. hub: the address of the hub that has nothing left to do."""
    parked = _parked(report, hub)
    parked.sort(key=lambda one: one.kind != "main")
    return "\n".join([FIRST, *_waits(parked), *(_full_pools(parked) + _circles(parked) or _main(parked))])


def waiting(report, hub, without, names):
    """Lines that say which greenlet waits for what, and in a circle, for which other greenlet.

    without: addresses of greenlets to leave out. names: a function that gives a name for an address, or None.
    """
    parked = [one for one in _parked(report, hub) if one.address not in without]
    for one in parked:
        one.called = names(one.address)
    return _waits(parked) + _full_pools(parked) + _circles(parked)


def _parked(report, hub):
    number = next((i for i, found in enumerate(report["hubs"]) if found[0] == hub), 0)
    return [Parked(found, report) for found in report["greenlets"] if found[1] == number and found[7] == "parked"]


def _waits(parked):
    lines = []
    alike = Counter((str(one), one.text) for one in parked)
    names = {(str(one), one.text): one.name for one in parked if one.kind != "main" and not one.called}
    for (who, text), count in list(alike.items())[:MOST]:
        name = names.get((who, text))
        if count > 1:
            lines.append(f"  {count} × {who} wait for {text}")
        else:
            lines.append(f"  {f'{name}, {who}' if name else who} waits for {text}")
    if len(alike) > MOST:
        lines.append(f"  and {sum(list(alike.values())[MOST:])} more")
    return lines


def _full_pools(parked):
    """For pools whose members wait for another free place in the same pool."""
    found = []
    waiting = {}
    for one in parked:
        if one.text.startswith("a place in "):
            waiting.setdefault(one.what, []).append(one)
    for inside in waiting.values():
        members = inside[0].holders
        stuck = len({one.address for one in inside} & set(members))
        held = len({one.address for one in parked} & set(members))
        if stuck:
            found.append(
                f"{stuck} of {len(members)} places are held by greenlets that wait for a place in the same pool."
            )
            found.append("Let its members spawn into another pool, or without one.")
        elif held:
            found.append(f"{held} of {len(members)} places are held by greenlets that wait themselves.")
    return found


def circles(following):
    """The circles in which each greenlet waits for the next. following: for which other one each waits."""
    found, seen = [], set()
    for one in following:
        path = []
        while one in following and one not in seen:
            seen.add(one)
            path.append(one)
            one = following[one]
        if one in path:
            found.append(path[path.index(one) :])
    return found


def _circles(parked):
    """For greenlets that wait for each other."""
    found = []
    by_address = {one.address: one for one in parked}
    following = {one.address: next((each for each in one.needs if each in by_address), None) for one in parked}
    for addresses in circles(following):
        circle = [by_address[address] for address in addresses]
        found.append("Deadlock:" if len(circle) > 1 else "It waits for itself:")
        for one, next_one in zip(circle[:MOST], circle[1:MOST] + circle[:1], strict=True):
            needs = one.text if one.text.startswith("the end of") else f"{one.text}, held by {next_one.named()}"
            found.append(f"  {one} waits for {needs}" if one.called else f"  {one.named()}, {one}, waits for {needs}")
        found.append("Take locks in the same order everywhere, or with a time-out.")
    return found


def _main(parked):
    if not parked or parked[0].kind != "main":
        return []
    for words, why, question in WHY:
        if parked[0].text.startswith(words):
            return [f"main waits for {why}: {question}"]
    return []
