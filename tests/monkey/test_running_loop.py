"""asyncio's running loop and current task belong to the greenlet that runs them, and no other greenlet sees them."""

import asyncio
import contextlib
import gc
import sys
import threading
import weakref

import greenlet
import pytest

import gevlite
from gevlite import monkey
from gevlite.event import Event
from gevlite.selectors import DefaultSelector

ORIGINALS = {name: getattr(asyncio.events, f"{name}_set_running_loop") for name in ("_c_", "_py_")}


@pytest.fixture(autouse=True)
def patched():
    monkey.patch_asyncio()
    yield
    monkey.unpatch_all()


def make_loop():
    """asyncio's own loop, with a selector that waits cooperatively."""
    return asyncio.SelectorEventLoop(DefaultSelector())


def run(coroutine, *, debug=False, eager=False):
    with asyncio.Runner(loop_factory=make_loop, debug=debug) as runner:
        runner.get_loop().slow_callback_duration = 60  # debug mode would log each one that blocks
        if eager:
            runner.get_loop().set_task_factory(asyncio.eager_task_factory)
        return runner.run(coroutine)


def seen():
    """The state seen here: running loop, task, hooks of asynchronous generators, depth of coroutines' origins."""
    loop = asyncio._get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    return (
        loop,
        asyncio.current_task() if loop is not None else None,
        hooks.firstiter.__self__ if hooks.firstiter is not None else None,
        sys.get_coroutine_origin_tracking_depth(),
    )


NOTHING = (None, None, None, 0)

KINDS = [{}, {"debug": True}]
if sys.version_info >= (3, 12):
    KINDS += [{"eager": True}, {"debug": True, "eager": True}]


async def waits_in_the_loop(done):
    while not done.is_set():
        await asyncio.sleep(0.001)


async def blocks_in_a_coroutine(done):
    done.wait()


async def blocks_in_a_callback(done):
    asyncio.get_running_loop().call_soon(done.wait)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def blocks_in_a_task(done):
    async def inner():
        before = seen()
        done.wait()
        assert seen() == before
        return before

    outer = seen()
    _loop, task, *_ = await asyncio.create_task(inner())
    assert task is not outer[1]
    assert seen() == outer


WAYS = [waits_in_the_loop, blocks_in_a_coroutine, blocks_in_a_callback, blocks_in_a_task]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def busy(request, start, settle):
    """`busy(**kind)`: a greenlet that runs a loop and is parked, until the test sets `.done`."""
    made = []

    def begin(**kind):
        done = Event()
        inside = []

        async def main():
            inside.append(seen())
            await request.param(done)
            assert seen() == inside[0]
            return seen()[0]

        one = start(run, main(), **kind) if not kind else start(lambda: run(main(), **kind))
        one.done = done
        one.inside = inside
        assert settle(lambda: inside)
        gevlite.sleep(0.003)
        made.append(one)
        return one

    yield begin
    for one in made:
        one.done.set()
        assert one.get() is one.inside[0][0]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nobody_else_sees_it_while_its_greenlet_is_parked(busy, start, kind):
    one = busy(**kind)
    assert one.inside[0][0] is not None and one.inside[0][1] is not None and one.inside[0][2] is one.inside[0][0]
    assert (one.inside[0][3] > 0) == kind.get("debug", False)
    assert seen() == NOTHING
    # In one that is started meanwhile.
    assert start(seen).get() == NOTHING
    raw = []
    gevlite.spawn_raw(lambda: raw.append(seen()))
    gevlite.idle()
    assert raw == [NOTHING]
    # In the hub.
    gevlite.get_hub().call_soon(lambda: raw.append(seen()))
    gevlite.sleep(0)
    assert raw[1:] == [NOTHING]


def test_nobody_else_sees_it_while_it_is_about_to_begin(start):
    class Slow(asyncio.SelectorEventLoop):
        def get_debug(self):
            gevlite.sleep(0)
            return False

    def run_it():
        loop = Slow(DefaultSelector())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    running, found = start(run_it), set()
    while not running.greenlet.ready():
        found.add(asyncio._get_running_loop())
        gevlite.sleep(0)
    running.get()
    assert found == {None}


def test_each_greenlet_runs_a_loop_of_its_own(busy):
    loops = {busy().inside[0][0] for _ in range(5)}
    assert len(loops) == 5
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()

    async def main():
        return seen()[0]

    assert run(main()) not in loops


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_many_at_once_return_what_they_should(start, kind):
    async def part(n):
        mine = seen()
        for _ in range(3):
            await asyncio.sleep(0.0005)
            gevlite.sleep(0.0005)
            assert seen() == mine
        return n

    async def main(n):
        return sum(await asyncio.gather(*(part(n) for _ in range(3))))

    started = [start(lambda n=n: run(main(n), **kind)) for n in range(40)]
    assert [one.get() for one in started] == [3 * n for n in range(40)]
    assert seen() == NOTHING


class Stop(Exception):
    pass


@pytest.mark.parametrize("way", ["kill", "timeout", "throw"])
def test_an_exception_thrown_in_finds_its_own_loop(start, settle, way):
    found = []

    async def main():
        mine = seen()
        try:
            with gevlite.Timeout(0.01, Stop) if way == "timeout" else contextlib.nullcontext():
                found.append(None)
                Event().wait()
        finally:
            found.append(seen() == mine)
            await asyncio.sleep(0)
            found.append(seen() == mine)

    one = gevlite.Greenlet(lambda: pytest.raises(Stop, run, main()))
    one.start()
    assert settle(lambda: found)
    if way == "kill":
        one.kill(Stop)
    elif way == "throw":
        gevlite.get_hub().call_soon(one.throw, Stop)
    one.join()
    assert found == [None, True, True]
    assert seen() == NOTHING


def test_whoever_throws_from_a_coroutine_keeps_its_own(start, settle):
    async def forever():
        Event().wait()

    target = gevlite.Greenlet(lambda: pytest.raises(Stop, run, forever()))
    target.start()
    gevlite.idle()

    async def main():
        mine = seen()
        me = gevlite.getcurrent()
        with gevlite.uninterrupted():  # else it may come back while we wait for our next time slice
            gevlite.get_hub().call_later(0.01, me.switch)
            target.throw(Stop)  # ends in the hub, which comes back to us by hand
        assert seen() == mine
        return True

    assert start(run, main()).get()
    assert target.ready()


def test_a_greenlet_switched_to_by_hand_runs_under_the_same_loop(start):
    """As SQLAlchemy does: the code in it belongs to the coroutine that has started it."""

    async def main():
        mine = seen()

        def inside():
            assert seen() == mine
            gevlite.sleep(0.002)
            assert seen() == mine
            awaited = greenlet.getcurrent().parent.switch(asyncio.sleep(0.001, "slept"))
            assert seen() == mine
            return awaited

        other = greenlet.greenlet(inside)
        wanted = other.switch()
        result = other.switch(await wanted)
        assert seen() == mine
        return result

    started = [start(run, main()) for _ in range(10)]
    gevlite.sleep(0)
    assert seen() == NOTHING
    assert [one.get() for one in started] == ["slept"] * 10


def test_waiting_by_hand_in_the_hub_hides_it_too(start, hub):
    views = []

    async def main():
        mine = seen()
        with gevlite.uninterrupted():  # else it may be called while we wait for our next time slice
            hub.call_soon(lambda: views.append(seen()))
            hub.loop.timer(0.002).start(gevlite.getcurrent().switch)
            hub.switch()
        assert seen() == mine
        return True

    assert start(run, main()).get()
    assert views == [NOTHING]


def test_the_main_greenlet_may_run_one(start):
    views = []

    async def main():
        mine = seen()
        views.append(start(seen).get())
        assert seen() == mine
        return True

    assert run(main())
    assert views == [NOTHING]


def test_a_hub_made_while_a_loop_runs_learns_of_it():
    """In an OS thread of its own, whose hub is made by the first call that blocks."""
    views = []

    async def main():
        mine = seen()
        gevlite.spawn(lambda: views.append(seen())).join()
        gevlite.get_hub().destroy()
        assert seen() == mine
        gevlite.spawn(lambda: views.append(seen())).join()
        return seen() == mine

    result = []
    thread = threading.Thread(target=lambda: result.append(run(main())))
    thread.start()
    while thread.is_alive():
        gevlite.sleep(0.001)
    assert result == [True]
    assert views == [NOTHING, NOTHING]


def test_what_a_greenlet_leaves_behind_is_not_found(start):
    loop = make_loop()
    asyncio.events._set_running_loop(None)
    start(asyncio.events._set_running_loop, loop).get()
    assert start(seen).get() == NOTHING
    assert seen() == NOTHING
    loop.close()


def test_the_loop_of_the_parent_does_not_run_in_the_child_of_a_fork(run_script):
    code = """
import gevlite.monkey; gevlite.monkey.patch_all()
import asyncio, os, sys, time
async def main():
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if not pid:
        time.sleep(0.01)
        os._exit(asyncio._get_running_loop() is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert asyncio.get_running_loop() is loop
asyncio.run(main())
"""
    run_script(code, flags=("-W", "ignore"))


@pytest.mark.parametrize("name", ORIGINALS)
def test_both_implementations_are_known(start, name):
    """asyncio has them in C and in Python; its own tests replace one with the other."""
    get = getattr(asyncio.events, f"{name}_get_running_loop")
    set_loop = getattr(asyncio.events, f"{name}_set_running_loop")
    assert set_loop is not ORIGINALS[name]
    done = Event()
    loop = make_loop()

    def hold():
        set_loop(loop)
        done.wait()
        found = get()
        set_loop(None)
        return found

    one = start(hold)
    gevlite.sleep(0)
    assert get() is None
    done.set()
    assert one.get() is loop
    assert get() is None
    loop.close()


def test_nothing_is_kept_after_it_has_run(start):
    class Loop(asyncio.SelectorEventLoop):
        pass

    async def main():
        gevlite.sleep(0.001)
        await asyncio.sleep(0.001)

    def once():
        loop = Loop(DefaultSelector())
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
        return weakref.ref(loop)

    gone = start(once).get()
    gc.collect()
    assert gone() is None


def test_unpatching_puts_it_back():
    hook = asyncio.events._set_running_loop
    monkey.unpatch_all()
    original = ORIGINALS["_c_"]
    assert asyncio.events._set_running_loop is asyncio._set_running_loop is original is not hook
    assert sys.modules["_asyncio"]._set_running_loop is original
    assert asyncio.events._py__set_running_loop is ORIGINALS["_py_"]


# ---------------------------------------------------------------- in a patched program

USE = """
import asyncio, socket, threading, time, sys
debug = len(sys.argv) > 1

async def main():
    await asyncio.to_thread(time.sleep, 0.01)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, time.sleep, 0.01)
    assert await loop.getaddrinfo("127.0.0.1", 80)
    future = loop.create_future()
    threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, 1)).start()
    await future
    return 1

results = []
threads = [threading.Thread(target=lambda: results.append(asyncio.run(main(), debug=debug))) for _ in range(5)]
for thread in threads: thread.start()
results.append(asyncio.run(main(), debug=debug))
for thread in threads: thread.join()
print(results)
"""


@pytest.mark.parametrize("arguments", [(), ("debug",)], ids=["plain", "debug"])
@pytest.mark.parametrize("before", ["", "import asyncio\n", "import asyncio; asyncio.run(asyncio.sleep(0))\n"])
def test_what_runs_in_a_green_thread_wakes_the_loop(script, before, arguments):
    lines = script.run(USE, *arguments, patch=before + "from gevlite import monkey\nmonkey.patch_all()\n")
    assert lines == ["[1, 1, 1, 1, 1, 1]"]


@pytest.mark.parametrize("before", ["", "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop())\n"])
def test_each_thread_has_an_event_loop_set_for_it(script, before):
    lines = script.run(
        """
import asyncio, threading, time
if asyncio.events._event_loop_policy is None or asyncio.events._event_loop_policy._local._loop is None:
    asyncio.set_event_loop(asyncio.new_event_loop())
mine = asyncio.get_event_loop()
def other():
    try:
        asyncio.get_event_loop()
    except RuntimeError as exc:
        print("none" if "no current event loop" in str(exc) else exc)
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    time.sleep(0)
    print(asyncio.get_event_loop() is own)
    asyncio.set_event_loop(None)
    own.close()
thread = threading.Thread(target=other); thread.start(); thread.join()
print(asyncio.get_event_loop() is mine)
mine.close()
""",
        patch=before + "from gevlite import monkey\nmonkey.patch_all()\n",
    )
    assert lines == ["none", "True", "True"]


def test_a_loop_that_was_imported_before_is_known_too(tmp_path, script):
    """uvloop holds references to functions of asyncio, in C."""
    (tmp_path / "uvloop.py").write_text(
        "import asyncio\n"
        "from asyncio import _set_running_loop as found\n"
        "keep = [found]\n"
        "del found\n"
        "class Base(asyncio.SelectorEventLoop):\n"
        "    def run_forever(self):\n"
        "        keep[0](self)\n"
        "        try:\n"
        "            while not self._stopping:\n"
        "                self._run_once()\n"
        "        finally:\n"
        "            self._stopping = False\n"
        "            keep[0](None)\n"
        "class Loop(Base):\n"
        "    pass\n"
    )
    for place in ("before", "after"):
        patch = "import uvloop\n" * (place == "before") + "from gevlite import monkey\nmonkey.patch_all()\n"
        lines = script.run(
            """
import asyncio, gevlite, time, uvloop
async def main():
    loop = asyncio.get_running_loop()
    time.sleep(0.01)
    assert asyncio.get_running_loop() is loop
    await asyncio.sleep(0.01)
def go():
    loop = uvloop.Loop()
    loop.run_until_complete(main())
    loop.close()
    return 1
jobs = [gevlite.spawn(go) for _ in range(3)]
gevlite.sleep(0.005)
print(asyncio._get_running_loop())
print([job.get() for job in jobs])
""",
            patch=patch,
        )
        assert lines == ["None", "[1, 1, 1]"]


def test_asyncio_is_not_imported_by_patching(script):
    assert script.run("import sys; print('asyncio' in sys.modules, 'asyncio.events' in sys.modules)") == ["False False"]


def test_a_module_that_is_patched_when_it_is_imported_keeps_its_loader(script):
    lines = script.run(
        """
import sys
import asyncio
print(type(asyncio.__loader__).__name__, type(asyncio.__spec__.loader).__name__)
monkey.unpatch_all()
print([type(finder).__name__ for finder in sys.meta_path if "gevlite" in type(finder).__module__])
print(type(asyncio.events._set_running_loop).__name__)
"""
    )
    assert lines == ["SourceFileLoader SourceFileLoader", "[]", "builtin_function_or_method"]
