"""A page that shows a trace: one HTML file, which loads nothing. `_trace_page.html` is its text without the data.

The data is that of the JSON file, packed: numbers are those of nanoseconds, most of them differences. Names in it come
from the program, so the page sets them as text only, and here no name can end the element that has the data.
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
    except ValueError as exc:
        raise NotATrace(f"is not JSON: {exc}") from None
    if not isinstance(found, dict) or not isinstance(found.get("traceEvents"), list):
        raise NotATrace("is not a file of trace events")
    try:
        data = json.dumps(packed(found), separators=(",", ":"))
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise NotATrace(f"was not recorded by gevlite: {type(exc).__name__}: {exc}") from None
    for sign in "<>&\u2028\u2029":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    template = importlib.resources.files("gevlite").joinpath("_trace_page.html").read_text(encoding="utf-8")
    before, _, after = template.partition("{{data}}")
    return [before, data, after]


def _ns(microseconds):
    return round(microseconds * 1000)


class _Numbers(dict):
    """The number of each key, in the order of their first use."""

    def __missing__(self, key):
        number = self[key] = len(self)
        return number


def packed(found):
    """What the page reads: see the beginning of its script."""
    names, order, slices = {}, {}, {}
    begins, ends, hows_of = {}, {}, {}
    for event in found["traceEvents"]:
        phase, tid = event["ph"], event.get("tid")
        if phase == "X":
            begin = _ns(event["ts"])
            slices.setdefault(tid, []).append((begin, _ns(event["dur"]), (event["cat"], event["name"])))
            if "args" in event:
                hows_of[tid, begin] = event["args"]
        elif phase == "s":
            begins[event["id"]] = tid, _ns(event["ts"])
        elif phase == "f":
            ends[event["id"]] = tid, _ns(event["ts"])
        elif phase == "M" and event["name"] == "thread_name":
            names[tid] = event["args"]
        elif phase == "M" and event["name"] == "thread_sort_index":
            order[tid] = event["args"]["sort_index"]
    tids = sorted(slices, key=lambda tid: (order.get(tid, 1 << 40), tid))
    numbers = {tid: number for number, tid in enumerate(tids)}
    texts, hows = _Numbers(), _Numbers()
    tracks, last = [], 0
    for tid in tids:
        flat, before = [], 0
        for begin, length, text in sorted(slices[tid]):
            begin = max(begin, before)
            if flat and begin - before == 1:  # see Timeline.chunks
                flat[-2] += 1
                before = begin
            flat += (begin - before, length, texts[text])
            before = begin + length
        last = max(last, before)
        about = names.get(tid, {})
        tracks.append(
            {
                "name": about.get("name") or f"track {tid}",
                "kind": about.get("kind", "greenlet"),
                "function": about.get("function"),
                "file": about.get("file"),
                "line": about.get("line"),
                "thread": about.get("thread", ""),
                "s": flat,
            }
        )
    flows, before = [], 0
    for number in sorted(ends.keys() & begins.keys(), key=lambda number: ends[number][1]):
        (waker, at), (woken, begin) = begins[number], ends[number]
        if waker in numbers and woken in numbers:
            args = hows_of.get((woken, begin), {})
            how = args.get("how", "") + (f", with {args['with']}" if "with" in args else "")
            flows += (numbers[waker], numbers[woken], begin - before, begin - at, hows[how])
            before = begin
    about = found.get("otherData") or {}
    return {
        "about": about,
        "end": last,
        "tracks": tracks,
        "texts": [list(text) for text in texts],
        "hows": list(hows),
        "flows": flows,
    }
