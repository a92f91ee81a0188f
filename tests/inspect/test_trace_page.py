"""The page that shows a trace: its text, and what it does in a real browser."""

import json
import subprocess
import sys

import browser as browsers
import pytest

import gevlite
import gevlite.trace
from gevlite._trace_page import NotATrace, packed, page

EVIL = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script><b>&amp;"


def trace_of(slices, flows=(), **names):
    """A file of trace events. slices: `(track, category, name, begin, end)` in us; flows: `(from, at, to, begin)`."""
    events = []
    numbers = {}
    woken = {(track, at) for _, _, track, at in flows}
    for track, category, name, begin, end in slices:
        tid = numbers.setdefault(track, len(numbers) + 1)
        events.append({"ph": "X", "pid": 1, "tid": tid, "ts": begin, "dur": end - begin, "cat": category, "name": name})
        if category == "run" and (track, begin) in woken:
            events[-1]["args"] = {"woken_by": "?", "how": "timer"}
    for number, (waker, at, track, begin) in enumerate(flows, 1):
        events.append(
            {"ph": "s", "id": number, "pid": 1, "tid": numbers[waker], "ts": at, "cat": "wake", "name": "wake"}
        )
        events.append(
            {"ph": "f", "id": number, "pid": 1, "tid": numbers[track], "ts": begin, "cat": "wake", "name": ""}
        )
    for track, tid in numbers.items():
        function = names.get(track, track.split("-")[0])
        args = {"name": track, "kind": "greenlet", "function": function, "file": "app.py", "line": 7, "thread": "T"}
        events.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": args})
        events.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})
    return json.dumps({"traceEvents": events, "otherData": {"program": "app.py", "dropped_events": 0}})


SMALL = trace_of(
    [
        ("client", "run", "running", 0, 100),
        ("client", "wait", "Event", 100, 600),
        ("client", "ready", "ready", 600, 700),
        ("client", "run", "running", 700, 1000),
        ("server", "wait", "sleep", 0, 500),
        ("server", "run", "running", 500, 700),
        ("server", "wait", "RLock held by client", 700, 1000),
    ],
    [("server", 600, "client", 700)],
)


# ---------------------------------------------------------------- the text


def test_the_page_loads_nothing_and_no_name_leaves_its_place():
    text = "".join(page([trace_of([(EVIL, "wait", EVIL, 0, 5)])]))
    assert text.count("</script>") == 2 and "<img" not in text and text.count("onerror") == 3
    for loading in ("http://", "https://", 'src="', "url(", "@import", "fetch("):
        assert loading not in text
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["tracks"][0]["name"] == EVIL


def test_the_data_is_that_of_the_file():
    data = packed(json.loads(SMALL))
    assert [track["name"] for track in data["tracks"]] == ["client", "server"]
    texts = [tuple(text) for text in data["texts"]]
    assert data["tracks"][1]["s"][:6] == [0, 500_000, texts.index(("wait", "sleep")), 0, 200_000, 0]
    assert (data["flows"], data["hows"], data["end"]) == ([1, 0, 700_000, 100_000, 0], ["timer"], 1_000_000)


def data_of(text):
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def test_a_page_is_the_same_by_way_of_a_file(tmp_path):
    gevlite.trace.start()
    gevlite.joinall([gevlite.spawn(gevlite.sleep, 0.001) for _ in range(3)])
    made = gevlite.trace.stop()
    made.save(tmp_path / "t.json")
    made.save(tmp_path / "t.html")
    one = data_of((tmp_path / "t.html").read_text())
    other = data_of("".join(page([(tmp_path / "t.json").read_text()])))
    for key in ("about", "texts", "hows", "flows"):
        assert one[key] == other[key]
    for mine, its in zip(one["tracks"], other["tracks"], strict=True):
        # A slice before a gap lasts 1 ns less in a file.
        assert all(abs(a - b) <= 1 for a, b in zip(mine.pop("s"), its.pop("s"), strict=True))
        assert mine == its
    made.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "t.json").read_bytes()


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"traceEvents": [{"ph": "X"}]}', '{"traceEvents": [5]}'])
def test_other_files_are_refused(text):
    with pytest.raises(NotATrace):
        page([text])


def test_a_name_that_ends_in_html_gets_a_page(tmp_path):
    with gevlite.trace.record(tmp_path / "t.html"):
        gevlite.sleep(0.001)
    text = (tmp_path / "t.html").read_text()
    assert text.startswith("<!DOCTYPE html>") and "main greenlet" in text


def run(folder, *arguments):
    command = [sys.executable, "-m", "gevlite", "trace", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)


def test_the_command_makes_a_page_of_a_file(tmp_path):
    (tmp_path / "t.json").write_text(SMALL)
    done = run(tmp_path, "t.json", "--html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "t.html\n", "")
    assert (tmp_path / "t.html").read_text() == "".join(page([SMALL]))
    assert run(tmp_path, "t.json", "--html", "-o", "other.html").stdout == "other.html\n"


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("t.json",), "--html is needed"),
        (("missing.json", "--html"), "missing.json: No such file"),
        (("bad.json", "--html"), "bad.json: is not JSON"),
        (("binary", "--html"), "binary: is not JSON"),
        (("deep", "--html"), "deep: is not JSON"),
        (("t.json", "--html", "-o", "no/t.html"), "no/t.html: No such file"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path, arguments, text):
    (tmp_path / "t.json").write_text(SMALL)
    (tmp_path / "bad.json").write_text("no")
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "deep").write_text("[" * 1_000_000)
    done = run(tmp_path, *arguments)
    assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr


def test_the_command_makes_a_page_of_a_process(start, tmp_path):
    program = start("gevlite.spawn(gevlite.sleep, 600)\nsay('ready')\ntold()", GEVLITE_INSPECT="1")
    done = program.look("trace", "--seconds", "0.1", "--html", "-o", str(tmp_path / "t.html"))
    assert done.returncode == 0, done.stderr
    assert "main greenlet" in (tmp_path / "t.html").read_text()


# ---------------------------------------------------------------- in a browser

in_a_browser = pytest.mark.skipif(browsers.MISSING is not None, reason=str(browsers.MISSING))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = browsers.Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture
def opened(browser, tmp_path):
    """`opened(text)`: a browser that shows the page of a file."""

    def show(text):
        path = tmp_path / "page.html"
        path.write_text("".join(page([text])))
        browser.open(path)
        assert browser.run("return typeof window.gevliteTrace") == "object", browser.errors()
        return browser

    yield show
    assert browser.errors() == []


def slices(browser, track):
    """`(number, category, name)` of those of a track."""
    return [(n, kind, name) for n, _, _, kind, name in browser.run("return gevliteTrace.slices(arguments[0])", track)]


def point(browser, n):
    return browser.run("return gevliteTrace.point(arguments[0])", n)


def chosen(browser):
    return browser.run("return gevliteTrace.view.chosen")


def details(browser):
    return browser.run("return document.getElementById('details').innerText")


def window(browser):
    return browser.run("return [gevliteTrace.view.from, gevliteTrace.view.to]")


def pixel(browser, n):
    """The colour of a slice, below its text."""
    x, y = point(browser, n)
    return tuple(browser.run("gevliteTrace.draw(); return gevliteTrace.pixel(...arguments)", x, y + 7))


@in_a_browser
@pytest.mark.timeout(200)
def test_slices_are_drawn_and_a_click_tells_about_them(opened):
    browser = opened(SMALL)
    assert browser.run("return gevliteTrace.rows()") == ["client", "server"]
    (first, wait, ready, last) = [n for n, _, _ in slices(browser, 0)]
    assert len({pixel(browser, n) for n in (wait, ready, last)}) == 3
    assert pixel(browser, last) == pixel(browser, slices(browser, 1)[1][0])
    browser.click(*point(browser, wait))
    assert chosen(browser) == wait
    text = details(browser)
    assert "client waits for Event" in text and "500 µs" in text and "app.py:7" in text
    assert "Ended by server (timer), 100 µs before it ran" in text
    browser.hover(*point(browser, last))
    assert browser.run("return document.getElementById('tip').innerText") == "client: running, 300 µs"
    assert first != last


@in_a_browser
@pytest.mark.timeout(200)
def test_a_wake_up_leads_to_who_caused_it_and_back(opened):
    browser = opened(SMALL)
    client, server = slices(browser, 0), slices(browser, 1)
    browser.click(*point(browser, client[3][0]))
    assert "Woken by server (timer)" in details(browser)
    browser.run("document.querySelector('#details button').click()")
    assert chosen(browser) == server[1][0]
    assert "Wakes client" in details(browser)
    browser.run("document.querySelector('#details button').click()")
    assert chosen(browser) == client[3][0]
    browser.run("document.activeElement.blur()")
    browser.press(browsers.ENTER)  # the same by keys
    assert chosen(browser) == server[1][0]
    browser.press(",")
    assert chosen(browser) == server[0][0]
    browser.press(browsers.ESCAPE)
    assert chosen(browser) == -1


@in_a_browser
@pytest.mark.timeout(200)
def test_wheel_keys_and_mouse_zoom_and_pan(opened):
    browser = opened(SMALL)
    n = slices(browser, 0)[1][0]
    before = window(browser)
    x, y = point(browser, n)
    browser.wheel(x, y, -200)
    zoomed = window(browser)
    assert zoomed[1] - zoomed[0] < 0.8 * (before[1] - before[0])
    assert abs(point(browser, n)[0] - x) < 2  # the point below the mouse stays there
    browser.drag((x, y), (x - 100, y))
    assert window(browser)[0] > zoomed[0]
    assert chosen(browser) == -1  # that was no click
    at = window(browser)
    browser.press("d")
    assert window(browser)[0] > at[0]
    browser.press("+")
    assert window(browser)[1] - window(browser)[0] < at[1] - at[0]
    browser.press(browsers.HOME)
    assert window(browser) == before


@in_a_browser
@pytest.mark.timeout(200)
def test_a_name_with_html_is_only_text(opened):
    browser = opened(trace_of([(EVIL, "run", "running", 0, 100), ("b", "wait", EVIL, 0, 100)], **{EVIL: EVIL}))
    browser.click(*point(browser, slices(browser, 0)[0][0]))
    assert EVIL in details(browser)
    browser.click(*point(browser, slices(browser, 1)[0][0]))
    assert f"b waits for {EVIL}" in details(browser)
    assert browser.run("return [window.hacked === undefined, document.querySelectorAll('img, b').length]") == [True, 0]
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


@in_a_browser
@pytest.mark.timeout(200)
def test_tracks_are_filtered_by_function(opened):
    browser = opened(trace_of([(f"{name}-{n}", "run", "running", 0, 1) for name in ("get", "put") for n in range(3)]))
    assert browser.run("return gevliteTrace.rows().length") == 8
    browser.press("/")
    browser.press(*"PUT-1")
    assert browser.run("return gevliteTrace.rows()") == ["1 × put", "put-1"]
    assert browser.run("return document.getElementById('count').textContent") == "1 of 6 tracks"


@in_a_browser
@pytest.mark.timeout(200)
def test_light_and_dark(opened):
    browser = opened(SMALL)

    def background():
        script = "gevliteTrace.draw(); return gevliteTrace.pixel(700, 400)"
        return sum(browser.run(script)[:3])

    before = background()
    browser.run("document.getElementById('theme').click()")
    after = background()
    assert abs(before - after) > 300
    browser.run("document.getElementById('theme').click()")
    assert background() == before


@in_a_browser
@pytest.mark.timeout(200)
def test_thousands_of_greenlets_and_hundreds_of_thousands_of_slices(opened):
    rows, flows = [], []
    for n in range(4000):
        for k in range(13):
            rows.append((f"client-{n}", "run", "running", at := 4000 * k + n, at + 0.5))
            rows.append((f"client-{n}", "wait", "sleep", at + 0.5, at + 4000))
            if n:
                flows.append((f"client-{n - 1}", at - 0.75, f"client-{n}", at))
    rows.append(("other", "run", "running", 0, 100_000))
    browser = opened(trace_of(rows, flows))
    assert browser.run("return gevliteTrace.rows()") == ["4000 × client", "other"]
    n = slices(browser, 3999)[2][0]
    browser.run("gevliteTrace.choose(arguments[0], true)", n)  # opens the group and scrolls there
    assert len(browser.run("return gevliteTrace.rows()")) == 4002
    assert browser.run("return document.getElementById('scroll').scrollTop") > 70_000
    browser.run("gevliteTrace.show(arguments[0] - 2000, arguments[0] + 2000)", (4000 * 1 + 3999) * 1000)
    browser.click(*point(browser, n))
    assert chosen(browser) == n
    browser.press(browsers.ENTER)
    assert browser.run("return gevliteTrace.trackOf(gevliteTrace.view.chosen)") == 3998


@in_a_browser
@pytest.mark.timeout(200)
def test_a_group_opens_and_closes_by_a_click(opened):
    many = [(f"client-{n}", "run", "running", n, n + 0.5) for n in range(100)]
    browser = opened(trace_of(many))
    assert browser.run("return gevliteTrace.rows()") == ["100 × client"]
    top = browser.run("const box = document.getElementById('chart').getBoundingClientRect(); return box.top")
    browser.click(60, top + 36)
    assert len(browser.run("return gevliteTrace.rows()")) == 101
    browser.click(60, top + 36)
    assert len(browser.run("return gevliteTrace.rows()")) == 1
    browser.click(*point(browser, 50))  # a slice of a greenlet in a closed group
    assert browser.run("return gevliteTrace.trackOf(gevliteTrace.view.chosen)") == 50
