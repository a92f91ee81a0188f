"""What `ps`, `tree`, `dump` and `stats` say about a process in each state, and that it goes on unharmed."""

import re
import sys

import pytest
from programs import BLOCKED_IN_C, LONG_NAMES, SPINNING, TEN_THOUSAND

import gevlite
from gevlite import _probe, util
from gevlite._report import Report
from gevlite.event import Event


def test_hung_on_a_lock_of_another_greenlet(program):
    hung = program("""
        lock = RLock()
        def holder():
            with lock:
                told()
        def victim():
            with lock:
                say("went on")
        greenlets = [gevlite.spawn(holder)]
        gevlite.idle()
        greenlets.append(gevlite.spawn(victim))
        greenlets[1].name = "the victim"
        gevlite.idle()
        say("ready")
        gevlite.joinall(greenlets)
    """)
    screen = hung.shows()
    assert re.search(r"the victim victim app\.py:106 waits for RLock held by holder app\.py:\d+ in told, \d", screen)
    assert re.search(r"holder app\.py:\d+ in told waits for read from a pipe, \d", screen)
    assert "Deadlock" not in screen
    assert hung.goes_on() == "went on\n"


@pytest.mark.parametrize("make", ["Semaphore()", "RLock()", "threading.Lock()", "threading.RLock()"])
def test_the_holder_of_each_kind_of_lock(program, make):
    hung = program(f"""
        from gevlite import monkey
        monkey.patch_all()
        import threading
        lock = {make}
        def holder():
            with lock:
                told()
        def victim():
            with lock:
                say("went on")
        greenlets = [gevlite.spawn(holder)]
        gevlite.idle()
        greenlets.append(gevlite.spawn(victim))
        gevlite.idle()
        say("ready")
        gevlite.joinall(greenlets)
    """)
    assert re.search(r"victim app\.py:109 waits for (Semaphore|R?Lock).* held by holder app\.py", hung.shows())
    assert hung.goes_on() == "went on\n"


def test_a_condition_is_held_by_whoever_is_in_its_block(program):
    hung = program("""
        from gevlite import monkey
        monkey.patch_all()
        import threading
        condition = threading.Condition(threading.Lock())
        def holder():
            with condition:
                told()
        def victim():
            with condition:
                say("went on")
        greenlets = [gevlite.spawn(holder)]
        gevlite.idle()
        greenlets.append(gevlite.spawn(victim))
        gevlite.idle()
        say("ready")
        gevlite.joinall(greenlets)
    """)
    assert re.search(r"victim app\.py:109 waits for Lock held by holder app\.py", hung.shows())
    assert hung.goes_on() == "went on\n"


def test_a_circle_is_named(program):
    stuck = program("""
        a, b, has_a, has_b = Semaphore(), RLock(), Event(), Event()
        def first():
            with a:
                has_a.set() or has_b.wait()
                with b:
                    pass
        def second():
            with b:
                has_b.set() or has_a.wait()
                with a:
                    pass
        def bystander():
            has_a.wait()
            with a:
                pass
        pair = [gevlite.spawn(first), gevlite.spawn(second), gevlite.spawn(bystander)]
        def releaser():
            told()
            gevlite.killall(pair)
            say("went on")
        last = gevlite.spawn(releaser)
        gevlite.idle()
        say("ready")
        last.join()
    """)
    screen = stuck.shows()
    found = re.search(r"^Deadlock: 2 greenlets wait for each other:\n  (.*)\n  (.*)\n\n", screen, re.M)
    assert found, screen
    lines = sorted(found.groups())
    assert re.match(r"first app\.py:105 waits for RLock held by second app\.py:110", lines[0])
    assert re.match(r"second app\.py:110 waits for Semaphore, 0 of 1 free held by first app\.py:105", lines[1])
    told = stuck.as_json()
    names = {one["id"]: one["function"] for one in told["greenlets"]}
    assert [sorted(names[one] for one in circle) for circle in told["deadlocks"]] == [["first", "second"]]
    assert stuck.goes_on() == "went on\n"


def test_a_pool_whose_members_wait_for_places_in_it(program):
    stuck = program("""
        pool = Pool(2)
        def member():
            pool.spawn(member)
        def releaser():
            told()
            pool.kill()
            say("went on")
        last = gevlite.spawn(releaser)
        with gevlite.uninterrupted():   # a member must not take the place of the second one
            for _ in range(2):
                pool.spawn(member)
        gevlite.idle()
        say("ready")
        last.join()
    """)
    screen = stuck.shows()
    assert "2 x member app.py:103 waits for a place in Pool, 2 of 2 taken in Group.spawn" in screen
    assert "Deadlock" in screen
    assert stuck.goes_on() == "went on\n"


def test_a_limited_wait_is_no_deadlock(program):
    waiting = program("""
        a, b, has_a, has_b = RLock(), RLock(), Event(), Event()
        def first():
            with a:
                has_a.set() or has_b.wait()
                b.acquire(timeout=1000)
        def second():
            with b:
                has_b.set() or has_a.wait()
                with gevlite.Timeout(1000):
                    with a:
                        pass
        pair = [gevlite.spawn(first), gevlite.spawn(second)]
        gevlite.idle()
        say("ready")
        told()
        gevlite.killall(pair)
    """)
    screen = waiting.shows()
    assert "Deadlock" not in screen
    assert re.search(r"first app\.py:105 .*, (16|17) min left", screen)
    assert re.search(r"second app\.py:110 .*, Timeout in (16|17) min", screen)
    waiting.goes_on()


def test_spinning(program):
    spinning = program(SPINNING)
    screen = spinning.shows()
    assert re.search(r"^  the spinner compute app\.py:1\d\d runs, \d", screen, re.M), screen
    assert re.search(r"^  other app\.py:114 not begun$", screen, re.M), screen
    assert re.search(r"1 running, 1 parked, 1 not begun", screen)
    assert spinning.goes_on() == "went on\n"


def test_blocked_in_c(start, way):
    blocked = start(BLOCKED_IN_C, GEVLITE_TIME_SLICE="", **({"GEVLITE_INSPECT": "1"} if way == "socket" else {}))
    if way == "socket":
        screen = blocked.shows()
        assert re.search(r"query app\.py:106 runs", screen)
        assert re.search(r"sleeper app\.py:103 ready", screen)
    else:
        done = blocked.look("ps", "--timeout", "1")
        assert done.returncode == 1 and done.stdout == ""
        assert "blocked in C" in done.stderr and "GEVLITE_INSPECT=1" in done.stderr
        if sys.version_info < (3, 15):  # the unwinder of 3.15 refuses the stack of a greenlet
            assert "query" in done.stderr
    assert blocked.goes_on() == "went on\n"


def test_ten_thousand_are_one_line(program):
    many = program(TEN_THOUSAND)
    screen = many.shows()
    assert re.search(r"^  10000 x serve app\.py:103 waits for Event, oldest \d", screen, re.M), screen
    assert len(screen.splitlines()) < 10
    assert len(many.as_json()["greenlets"]) == 10_001
    assert many.goes_on() == "all went on\n"


def test_hubs_in_threads(program):
    several = program("""
        import threading
        event = Event()
        def wait_here():
            event.wait()
        def body():
            gevlite.joinall([gevlite.spawn(wait_here)])
        threads = [threading.Thread(target=body, name=f"thread number {n}") for n in range(3)]
        for thread in threads:
            thread.start()
        while len(gevlite._core.hubs()) < 3 or sum(hub.stats()["parked"] for hub in gevlite._core.hubs()) < 6:
            pass
        gevlite.spawn(event.wait)
        gevlite.idle()
        say("ready")
        told()
        event.set()
        for thread in threads:
            thread.join()
        say("all ended")
    """)
    screen = several.shows()
    for number in range(3):
        hub = rf"^Hub of thread number {number} \(\w+\), idle: 2 parked\n  (.*\n)*?.*wait_here app\.py:104"
        assert re.search(hub, screen, re.M)
    assert re.search(r"^Hub of MainThread", screen, re.M)
    assert several.goes_on() == "all ended\n"


def test_what_has_ended_is_gone_and_what_begins_later_is_there(program):
    some = program("""
        def finished():
            pass
        def later():
            pass
        kept = gevlite.spawn(finished)
        kept.join()
        timer = gevlite.spawn_later(3000, later)
        say("ready")
        told()
        timer.kill()
    """)
    screen = some.shows()
    assert "finished" not in screen
    assert re.search(r"^  later app\.py:103 not begun, begins in \d+ min$", screen, re.M), screen
    some.goes_on()


def test_addresses(program):
    net = program("""
        from gevlite import socket
        listener = socket.create_server(("127.0.0.1", 0))
        def accepts():
            listener.accept()
        def reads():
            client.recv(10)
        client = socket.create_connection(listener.getsockname())
        greenlets = [gevlite.spawn(reads)]
        server, _ = listener.accept()
        greenlets.append(gevlite.spawn(accepts))
        gevlite.idle()
        say(str(listener.getsockname()[1]))
        told()
        gevlite.killall(greenlets)
    """)
    screen = net.shows()
    assert f"accepts app.py:104 waits for accept on 127.0.0.1:{net.ready}," in screen
    assert f"reads app.py:106 waits for recv from 127.0.0.1:{net.ready}," in screen
    net.goes_on()


def test_queues_results_and_ends(program):
    waiting = program("""
        queue, full = Queue(), Queue(1, [1])
        def getter():
            queue.get()
        def putter():
            full.put(2)
        def joins(other):
            other.join()
        greenlets = [gevlite.spawn(getter), gevlite.spawn(putter)]
        greenlets.append(gevlite.spawn(joins, greenlets[0]))
        gevlite.idle()
        say("ready")
        told()
        gevlite.killall(greenlets)
    """)
    screen = waiting.shows()
    assert "getter app.py:103 waits for an item in Queue, empty, " in screen
    assert "putter app.py:105 waits for room in Queue, full with 1, " in screen
    assert "joins app.py:107 waits for the end of getter, " in screen
    waiting.goes_on()


def test_tasks_of_an_event_loop(program):
    loop = program("""
        import asyncio
        import gevlite.asyncio
        async def part():
            await asyncio.sleep(1000)
        async def whole():
            await asyncio.gather(part(), part())
        def runs_it():
            gevlite.asyncio.run(whole())
        one = gevlite.spawn(runs_it)
        gevlite.idle()
        say("ready")
        told()
        one.kill()
    """)
    screen = loop.shows()
    assert re.search(r"runs_it app\.py:108 waits for 3 tasks of its event loop", screen)
    assert len(re.findall(r"^    task \S+ part app\.py:104 awaits sleep$", screen, re.M)) == 2
    loop.goes_on()


def test_the_event_loop_of_the_main_greenlet(program):
    loop = program("""
        import asyncio
        from gevlite.asyncio import EventLoop
        async def whole():
            await asyncio.sleep(0)
            say("ready")
            await asyncio.to_thread(told)
        def runs_it():
            with asyncio.Runner(loop_factory=EventLoop) as runner:
                runner.run(whole())
        runs_it()
    """)
    screen = loop.shows()
    assert re.search(r"main greenlet app\.py:109 in runs_it waits for 1 task of its event loop", screen)
    assert re.search(r"^    task \S+ whole app\.py:106 awaits to_thread$", screen, re.M)
    loop.goes_on()


def test_code_of_the_program_is_not_run(program):
    touchy = program("""
        class Touchy:
            def __repr__(self): say("repr ran")
            def __str__(self): say("str ran")
            def __getattr__(self, name): say(f"getattr {name} ran"); raise AttributeError(name)
            def __call__(self): event.wait()
            def __eq__(self, other): say("eq ran")
            def __hash__(self): say("hash ran"); return 1
        class Named(gevlite.Greenlet):
            __slots__ = ()
            @property
            def name(self): say("name ran")
            def __repr__(self): say("repr ran")
            def __getattribute__(self, name): say(f"get {name} ran"); return object.__getattribute__(self, name)
        event = Event()
        touchy = Touchy()
        greenlets = [gevlite.spawn(touchy)]
        greenlets[0].name = touchy
        def ordinary(argument): event.wait()
        greenlets.append(Named(ordinary, touchy))
        greenlets[1].start()
        gevlite.idle()
        say("ready")
        told()
        say("the end")
        os._exit(0)
    """)
    while touchy.ready != "ready":
        touchy.ready = touchy.line()
    screen = touchy.shows()
    assert "Touchy app.py:105 in Touchy.__call__ waits for Event" in screen
    assert "ordinary app.py:118 waits for Event" in screen
    for command in ("tree", "dump", "stats"):
        touchy.shows(command)
    assert touchy.goes_on() == "the end\n"


def test_tree_dump_and_stats(program):
    parent = program("""
        event = Event()
        def child():
            event.wait()
        def mother():
            gevlite.spawn(child)
            event.wait()
        one = gevlite.spawn(mother)
        gevlite.idle()
        say("ready")
        told()
        event.set()
        one.join()
    """)
    tree = parent.shows("tree")
    assert re.search(r"^( +)mother app\.py:106 .*\n\1  child app\.py:103 ", tree, re.M), tree
    dump = parent.shows("dump")
    assert re.search(
        r"child app\.py:103 .*\n +at 0x\w+\n +spawned in mother \(app\.py:105\)\n"
        r" +stack, innermost call first:\n +child \(app\.py:103\)\n",
        dump,
    ), dump
    stats = parent.shows("stats")
    assert re.search(r"^  parked +3$", stats, re.M), stats
    parent.goes_on()


def test_json_is_what_the_documentation_says(program):
    simple = program("""
        event = Event()
        def serve():
            event.wait(1000)
        one = gevlite.spawn(serve)
        one.name = "server"
        gevlite.idle()
        say("ready")
        told()
        event.set()
        one.join()
    """)
    report = simple.as_json()
    assert set(report) == {"version", "pid", "program", "python", "gevlite", "hubs", "greenlets", "deadlocks"}
    assert (report["version"], report["pid"], report["program"]) == (1, simple.pid, ["app.py"])
    [hub] = report["hubs"]
    assert set(hub) == {"hub", "thread", "thread_name", "name", "backend", "state", "turn_seconds", "counts", "lag"}
    assert set(hub["lag"]) == {"seconds", "rounds"} and hub["lag"]["rounds"][-1][0] is None
    [serve] = [one for one in report["greenlets"] if one["name"] == "server"]
    assert set(serve) == {
        *("id", "hub", "kind", "name", "function", "state", "seconds", "waits", "timeout_seconds_left", "line"),
        *("stack", "spawned_at", "spawner", "tasks"),
    }
    assert serve["state"] == "parked" and serve["function"] == "serve" and serve["seconds"] >= 0
    assert set(serve["waits"]) == {"for", "object", "descriptor", "holders", "seconds_left"}
    assert serve["waits"]["for"] == "Event" and 900 < serve["waits"]["seconds_left"] < 1000
    assert serve["line"]["line"] == 103 and serve["line"]["function"] == "serve"
    assert serve["spawned_at"]["line"] == 104
    simple.goes_on()


@pytest.mark.parametrize("command", ["ps", "tree", "dump", "stats"])
def test_every_line_fits(start, command):
    narrow = start(LONG_NAMES, GEVLITE_INSPECT="1")
    screen = narrow.shows(command, "--width", "40")
    assert max(len(line) for line in screen.splitlines()) <= 40, screen
    assert "a_function_with" in narrow.shows(command) or command == "stats"
    narrow.goes_on()


STEERS = r"\x1b[2J\ttwo\nlines\u202e\udc80"


@pytest.mark.parametrize("command", ["ps", "tree", "dump", "stats", "top"])
def test_names_do_not_steer_the_terminal(start, command):
    program = start(
        f"""
        sys.argv = ["app.py", "{STEERS}"]
        def client():
            event.wait()
        event = Event()
        greenlet = gevlite.spawn(client)
        greenlet.name = "{STEERS}"
        gevlite.spawn(client.__class__(client.__code__.replace(co_qualname="{STEERS}"), globals()))
        gevlite.idle()
        say("ready")
        told()
        """,
        GEVLITE_INSPECT="1",
        PYTHONIOENCODING="ascii:strict",
    )
    screen = program.shows(command, *(["--count", "1", "--interval", "0.1"] if command == "top" else []))
    assert STEERS in screen.split("gevlite 0.")[0].split("\nCPU")[0]
    assert command == "stats" or STEERS in screen.replace(STEERS, "", 1)
    assert all(line.isprintable() for line in screen.split("\n"))
    assert program.goes_on() == ""


@pytest.mark.parametrize("command", ["ps", "tree", "dump", "stats", "top", "ps --json"])
def test_very_long_names_are_cut(program, command):
    process = program(
        """
        import asyncio, gevlite.asyncio, threading
        long = "long" * 250_000
        sys.argv = ["app.py", long]
        gevlite.get_hub().name = long
        threading.current_thread().name = long
        def client():
            event.wait()
        async def wait():
            asyncio.current_task().set_name(long)
            await event
        wait.__qualname__ = long
        event = Event()
        greenlet = gevlite.spawn(client)
        greenlet.name = long
        gevlite.spawn(client.__class__(client.__code__.replace(co_qualname=long), globals()))
        gevlite.spawn(greenlet.join)
        gevlite.spawn(gevlite.asyncio.run, wait())
        gevlite.sleep(0.01)
        say("ready")
        told()
        """
    )
    screen = process.shows(*command.split(), *(["--count", "1", "--interval", "0.1"] if command == "top" else []))
    assert "longl..." in screen and "long" * 50 not in screen
    assert process.goes_on() == ""


def test_print_run_info_uses_the_same_words():
    event = Event()
    one = gevlite.spawn(event.wait)
    gevlite.sleep(0)
    tree = next(tree for tree in util.GreenletTree.forest() for tree in tree._all() if tree.greenlet is one)
    assert tree.waits == "waiting for Event"
    event.set()
    one.join()


def test_a_report_can_be_asked_for_in_the_middle_of_anything():
    """By a greenlet, a callback of the hub, and a callback of a greenlet's end; nothing is left behind."""
    seen = []

    def look(*_):
        found = Report(_probe.collect())
        seen.append([one.kind for one in found.greenlets if one.state == "running"])

    look()
    gevlite.spawn(look).join()
    gevlite.get_hub().call_soon(look)
    gevlite.sleep(0.001)
    one = gevlite.spawn(lambda: None)
    one.rawlink(look)
    one.join()
    gevlite.sleep(0.001)
    assert seen == [["main"], ["greenlet"], ["hub"], ["hub"]]
