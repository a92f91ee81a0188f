"""A page that shows a trace: one HTML file, which loads nothing. `_trace_page.html` is its text without the data.

The data is that of the JSON file, packed: times are in nanoseconds, most of them differences. Names come from the
program, so the page shows them as text only, and this module makes sure that no name ends the element with the data.
"""

import importlib.resources
import json

__all__ = ["NotATrace", "page"]


class NotATrace(ValueError):
    """The file is not one that gevlite has recorded."""


def page(chunks):
    """The text of the page, in parts, for the text of a JSON file, in parts. Raises NotATrace."""
    try:
        found = json.loads("".join(chunks))
    except (ValueError, RecursionError) as exc:
        raise NotATrace(f"is not JSON: {exc}") from None
    if not isinstance(found, dict) or not isinstance(found.get("traceEvents"), list):
        raise NotATrace("is not a file of trace events")
    try:
        return _with_data(packed(found))
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise NotATrace(f"was not recorded by gevlite: {type(exc).__name__}: {exc}") from None


def page_of(timeline):
    """The same for a Timeline."""
    data = _Data()
    timeline.read(
        lambda track, category, name, begin, end, how: data.add_slice(track.number, begin, end, category, name),
        lambda number, waker, at, track, begin: data.add_flow(
            waker.number,
            at,
            track.number,
            begin,
            *track.how[2:],  # the cause and the exception of the wake-up
        ),
    )
    places = {track.number: (place, timeline.about_track(track)) for track, place in timeline.in_order()}
    return _with_data(data.packed(places, timeline.about()))


def _with_data(data):
    text = json.dumps(data, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    template = importlib.resources.files("gevlite").joinpath("_trace_page.html").read_text(encoding="utf-8")
    before, _, after = template.partition("{{data}}")
    return [before, text, after]


def _ns(microseconds):
    return round(microseconds * 1000)


class _Numbers(dict):
    """The number of each key, in the order of their first use."""

    def __missing__(self, key):
        number = self[key] = len(self)
        return number


class _Data:
    """Gathers what the page reads: see the beginning of its script."""

    def __init__(self):
        self.slices = {}  # of each track: (begin, end, number of the text)
        self.flows = []  # (begin, waker, at, woken, number of the way)
        self.texts, self.hows = _Numbers(), _Numbers()

    def add_slice(self, track, begin, end, category, name):
        self.slices.setdefault(track, []).append((begin, end, self.texts[category, name]))

    def add_flow(self, waker, at, woken, begin, how, exception):
        self.flows.append((begin, waker, at, woken, self.hows[f"{how}, with {exception}" if exception else how]))

    def packed(self, places, about):
        """places: for each track, its place and what is known about it."""
        order = sorted(self.slices, key=lambda track: (places[track][0] if track in places else 1 << 40, track))
        numbers = {track: number for number, track in enumerate(order)}
        tracks, last = [], 0
        for track in order:
            flat, before = [], 0
            for begin, end, text in sorted(self.slices[track]):
                begin = max(begin, before)
                end = max(begin, end)
                if flat and begin - before == 1:  # see Timeline.chunks
                    flat[-2] += 1
                    before = begin
                flat += (begin - before, end - begin, text)
                before = end
            last = max(last, before)
            found = places[track][1] if track in places else {}
            known = {key: found.get(key) for key in ("name", "kind", "function", "file", "line", "thread")}
            known["name"] = known["name"] or f"track {track}"
            tracks.append({**known, "s": flat})
        flows, before = [], 0
        for begin, waker, at, woken, how in sorted(self.flows):
            if waker in numbers and woken in numbers:
                flows += (numbers[waker], numbers[woken], begin - before, begin - at, how)
                before = begin
        return {
            "about": about,
            "end": last,
            "tracks": tracks,
            "texts": [list(text) for text in self.texts],
            "hows": list(self.hows),
            "flows": flows,
        }


def packed(found):
    """The part of a JSON file that the page reads."""
    data = _Data()
    names, order = {}, {}
    begins, ends, hows = {}, {}, {}
    for event in found["traceEvents"]:
        phase, tid = event["ph"], event.get("tid")
        if phase == "X":
            begin = _ns(event["ts"])
            data.add_slice(tid, begin, begin + _ns(event["dur"]), event["cat"], event["name"])
            if "args" in event:
                hows[tid, begin] = event["args"]
        elif phase == "s":
            begins[event["id"]] = tid, _ns(event["ts"])
        elif phase == "f":
            ends[event["id"]] = tid, _ns(event["ts"])
        elif phase == "M" and event["name"] == "thread_name":
            names[tid] = event["args"]
        elif phase == "M" and event["name"] == "thread_sort_index":
            order[tid] = event["args"]["sort_index"]
    for number in ends.keys() & begins.keys():
        (waker, at), (woken, begin) = begins[number], ends[number]
        args = hows.get((woken, begin), {})
        data.add_flow(waker, at, woken, begin, args.get("how", ""), args.get("with"))
    places = {tid: (order.get(tid, 1 << 40), names[tid]) for tid in names}
    return data.packed(places, found.get("otherData") or {})
