"""Patching after modules have taken originals: a warning explains it, and it is repaired where that is safe."""

import pytest

HOLDER = """
from socket import create_connection, getaddrinfo, AF_INET
from select import select
from time import sleep as pause
from threading import Thread

class Job(Thread):
    pass
"""

CATCH = """
import warnings
warnings.simplefilter("always")
from gevlite import monkey

def warned(patch, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch(**options)
    assert all(issubclass(warning.category, monkey.MonkeyPatchWarning) for warning in caught)
    return [str(warning.message) for warning in caught], [warning.filename.rpartition("/")[2] for warning in caught]
"""


def test_one_warning_names_all_holders_and_where_to_patch(script):
    script.write(HOLDER, "holder.py")
    lines = script.run(
        """
        import holder
        [text], [file] = warned(monkey.patch_all)
        print(text)
        print(file)
        """,
        patch=CATCH,
    )
    for part in (
        "holder.getaddrinfo (socket.getaddrinfo)",
        "holder.select (select.select)",
        "holder.pause (time.sleep)",
        "gevlite.monkey.patch_all()",
        "fix=True",
    ):
        assert part in lines[0]
    assert lines[1] == "script.py"


def test_what_becomes_cooperative_by_itself_is_not_named(script):
    """`create_connection` looks up `socket` when it is called, Thread its lock; all objects of the classes work."""
    script.write(
        """
        from queue import SimpleQueue
        from select import epoll, poll
        from socket import create_connection, socket
        from ssl import SSLContext, SSLSocket
        from subprocess import Popen
        from threading import Lock, RLock, Thread, local
        class Job(Thread): pass
        class A(SimpleQueue): pass
        class B(socket): pass
        class C(SSLContext): pass
        class D(SSLSocket): pass
        class E(Popen): pass
        class F(local): pass
        """,
        "a.py",
    )
    script.run("import a\nassert warned(monkey.patch_all) == ([], [])", patch=CATCH)


def test_each_holder_is_named_once(script):
    script.write("from time import sleep", "first.py")
    script.write("from select import select", "second.py")
    script.run(
        """
        import first, second
        [text], _ = warned(monkey.patch_time)
        assert "first.sleep" in text and "second" not in text
        [text], _ = warned(monkey.patch_all)
        assert "first" not in text and "second.select" in text
        assert warned(monkey.patch_all) == ([], [])
        """,
        patch=CATCH,
    )


def test_fix_puts_the_replacements_into_the_holders(script):
    script.write(HOLDER, "holder.py")
    script.run(
        """
        import holder, socket, select, time
        assert warned(monkey.patch_all, fix=True) == ([], [])
        def fixed():
            return (holder.getaddrinfo, holder.select, holder.pause) == (socket.getaddrinfo, select.select, time.sleep)
        assert fixed()
        monkey.unpatch_all()
        assert fixed() and holder.getaddrinfo.__module__ == "socket"
        """,
        patch=CATCH,
    )


def test_a_class_derived_from_what_stays_as_it_is_is_named(script):
    script.write("import threading\nclass Mine(type(threading.RLock())): pass", "holder.py")
    script.run(
        """
        import holder
        [text], _ = warned(lambda: monkey.patch_thread(existing_locks=False))
        assert "holder.Mine (derived from " in text and "fix=True" not in text
        """,
        patch=CATCH,
    )


def test_strict_refuses_and_changes_nothing(script):
    script.write(HOLDER, "holder.py")
    script.run(
        """
        import holder, os, queue, select, socket, subprocess, sys, threading, time, _thread
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        raw = process.stdout.raw
        monkey.patch_time()                 # which warns of this one already
        def state():
            modules = (_thread, os, queue, select, socket, subprocess, threading, time, socket.socket, subprocess.Popen)
            saved = {name: dict(items) for name, items in monkey.saved.items()}
            return [dict(vars(module)) for module in modules], saved
        from gevlite.monkey import _engine
        _engine.load_twins()
        before = state()
        for _ in range(2):
            try:
                monkey.patch_all(strict=True)
            except monkey.MonkeyPatchError as exc:
                text = str(exc)
            else:
                raise AssertionError
        for part in ("holder.getaddrinfo (socket.getaddrinfo)", "holder.select (select.select)", "nothing was patched"):
            assert part in text, text
        assert state() == before and process.stdout.raw is raw
        monkey.patch_all(strict=True, fix=True)
        assert holder.select is select.select and process.stdout.raw is not raw
        process.stdin.close(); process.stdout.close(); process.wait()
        """,
        patch="import warnings; warnings.simplefilter('ignore')\nfrom gevlite import monkey\n",
    )


def test_strict_refusal_leaves_what_was_patched_before_as_it_was(script):
    script.write("from select import select", "holder.py")
    script.run(
        """
        import holder, queue, threading
        waiting = queue.SimpleQueue()
        monkey.patch_thread()
        monkey.patch_queue()
        try:
            monkey.patch_all(strict=True)
        except monkey.MonkeyPatchError:
            pass
        threading.Thread(target=lambda: waiting.put(1)).start()
        assert waiting.get(timeout=20) == 1             # still adopted
        """,
        patch=CATCH,
    )


def test_strict_can_be_set_for_the_process(script):
    script.write("from select import select", "holder.py")
    program = script.write("import holder\nfrom gevlite import monkey\nmonkey.patch_all()")
    script.python(program, env={"GEVLITE_MONKEY_STRICT": "1"})
    assert script.returncode == 1 and "MonkeyPatchError: nothing was patched" in script.stderr
    script.python(program, env={"GEVLITE_MONKEY_STRICT": "0"})
    assert script.returncode == 0 and "MonkeyPatchWarning" in script.stderr


def test_a_pipe_that_cannot_be_changed_is_named(script):
    script.run(
        """
        import subprocess, gevlite
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        held = process.stdout
        try:
            monkey.patch_all(strict=True)
        except monkey.MonkeyPatchError as exc:
            assert "stdout of <subprocess.Popen object" in str(exc) and "stdin" not in str(exc), exc
        [text], _ = warned(monkey.patch_all)
        assert "stdout of <subprocess.Popen object" in text and "other code also holds it" in text
        assert warned(monkey.patch_all) == ([], [])
        process.stdin.close(); held.close(); process.wait()
        """,
        patch=CATCH,
    )


def test_hostile_objects_are_let_be(script):
    script.run(
        """
        class Hostile:
            def __getattribute__(self, name): raise SystemExit(f"asked for {name}")
            __class__ = property(lambda self: 1 / 0)
            __eq__ = __hash__ = __bool__ = __len__ = __repr__ = lambda *args: 1 / 0
        class Meta(type):
            def __instancecheck__(cls, other): raise SystemExit("instance check")
            def __subclasscheck__(cls, other): raise SystemExit("subclass check")
            def __getattribute__(cls, name): raise SystemExit(f"class asked for {name}")
            __eq__ = lambda *args: 1 / 0
            __hash__ = None
        held = [Hostile() for _ in range(3)], Meta("Odd", (), {})
        thing = held[0][0]
        monkey.patch_all(strict=True)
        """,
        patch=CATCH,
    )


def test_no_module_is_imported_that_the_program_has_not(script):
    """Except for what gevlite itself needs."""
    script.run(
        """
        import sys
        from gevlite.monkey import _engine
        _engine.load_twins()
        before = set(sys.modules)
        monkey.patch_all()
        assert {name for name in set(sys.modules) - before if not name.startswith("gevlite.")} <= {
            "_threading_local", "_multiprocessing", "_interpreters", "psycopg.waiting"}, set(sys.modules) - before
        """,
        patch=CATCH,
    )


def test_nothing_is_kept_alive(script):
    script.run(
        """
        import gc, queue, socket, subprocess, threading, weakref
        class Job(subprocess.Popen): pass
        class Mine(threading.local): pass
        process = Job(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        held = [threading.Lock(), threading.RLock(), queue.SimpleQueue(), Mine(), threading.local(), socket.socket(),
                process]
        references = [weakref.ref(thing) for thing in held]
        monkey.patch_all()
        import gevlite
        from gevlite import _adopted
        def use():
            for lock in held[:2]:
                with lock: gevlite.sleep(0)
            held[2].put(1); held[2].get()
            held[3].x = held[4].x = 1
            held[5].settimeout(1)
        gevlite.joinall([gevlite.spawn(use) for _ in range(3)], raise_error=True)
        try: held[2].get(timeout=0.001)
        except queue.Empty: pass
        process.communicate(b""); held[5].close()
        held.clear(); del process
        gc.collect()
        assert [reference() for reference in references] == [None] * 7
        """,
        patch=CATCH,
    )


def test_fixed_code_cooperates(script):
    script.write("from time import sleep\ndef work():\n    sleep(0.05)\n", "worker.py")
    lines = script.run(
        """
        import worker, time, gevlite
        monkey.patch_all(fix=True)
        start = time.monotonic()
        gevlite.joinall([gevlite.spawn(worker.work) for _ in range(40)], raise_error=True)
        print(time.monotonic() - start < 1)
        """,
        patch=CATCH,
    )
    assert lines == ["True"]


def test_the_standard_library_is_repaired_without_a_word_and_restored(script):
    """Some of its modules take copies before any program starts."""
    script.run(
        """
        import functools, reprlib, tempfile, threading, _thread
        before = [reprlib.get_ident]
        assert warned(monkey.patch_all) == ([], [])
        assert reprlib.get_ident is threading.get_ident
        monkey.unpatch_all()
        assert reprlib.get_ident is before[0]
        """,
        patch=CATCH,
    )


@pytest.mark.parametrize("hidden", ["", "gc.freeze()"])
def test_defaults_in_the_standard_library_are_repaired_without_a_word_and_restored(script, hidden):
    script.run(
        f"""
        import gc, multiprocessing.connection, os, sched, time
        Connection = multiprocessing.connection.Connection
        functions = [Connection._send, Connection._recv, Connection._close, sched.scheduler.__init__]
        before = [function.__defaults__ for function in functions]
        {hidden}
        assert warned(monkey.patch_all) == ([], [])
        replaced = [function.__defaults__[-1] for function in functions]
        assert replaced == [os.write, os.read, os.close, time.sleep], replaced
        assert sched.scheduler().delayfunc is time.sleep
        monkey.unpatch_all()
        assert [function.__defaults__ for function in functions] == before
        """,
        patch=CATCH,
    )


def test_a_scheduler_imported_early_lets_others_run(script):
    """After each action, it calls the function for delays."""
    assert script.run(
        """
        import sched
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        scheduler, order = sched.scheduler(), []
        with gevlite.uninterrupted():
            gevlite.spawn(order.append, "another")
            for priority in range(2):
                scheduler.enter(0, priority, order.append, ("scheduled",))
            scheduler.run()
        print(order)
        """,
        patch="",
    ) == ["['scheduled', 'another', 'scheduled']"]


def test_patching_first_gives_no_warning(script):
    script.run(
        """
        import warnings
        warnings.simplefilter("error")
        from gevlite import monkey
        monkey.patch_all()
        import http.client, ssl, requests
        monkey.patch_all()
        """,
        patch="",
    )


def test_ssl_imported_early_without_holders_gives_no_warning(script):
    script.run("import ssl, http.client\nassert warned(monkey.patch_all) == ([], [])", patch=CATCH)


def test_modules_with_odd_contents_are_looked_through(script):
    """An object that cannot be compared or whose class lies about its bases must not stop patching."""
    script.run(
        """
        import sys, types
        class Meta(type):
            def __subclasscheck__(cls, other): raise TypeError("no")
            def __instancecheck__(cls, other): raise TypeError("no")
            def __eq__(cls, other): raise TypeError("no")
            __hash__ = None
        odd = types.ModuleType("odd")
        odd.thing = Meta("thing", (), {})
        sys.modules["odd"] = odd
        sys.modules["gone"] = None
        assert warned(monkey.patch_all) == ([], [])
        """,
        patch=CATCH,
    )


def test_who_has_asked_for_the_original_keeps_it(script):
    script.run(
        """
        wait, poll = monkey.get_original("time", "sleep"), monkey.get_original("select", ["poll"])[0]
        assert warned(monkey.patch_all, fix=True) == ([], [])
        import time, select
        assert wait is not time.sleep and poll is not select.poll
        """,
        patch=CATCH,
    )


@pytest.mark.parametrize(
    "made, named",
    [
        ("def work(a, sleep=time.sleep): pass", "__main__.work(sleep=...) (the default time.sleep)"),
        ("def work(*, a=1, wait=select.select): pass", "__main__.work(wait=...) (the default select.select)"),
        (
            "class Kept:\n    def work(self, sleep=time.sleep, b=2): pass",
            "__main__.Kept.work(sleep=...) (the default time.sleep)",
        ),
        ("work = functools.partial(time.sleep, 1)", "__main__.work (a partial of time.sleep)"),
    ],
)
def test_an_original_in_a_default_or_a_partial_is_named(script, made, named):
    code = (
        f"import functools, select, time, warnings\n{made}\n"
        + """
from gevlite import monkey
try: monkey.patch_all(strict=True)
except monkey.MonkeyPatchError as exc: print(NAMED in str(exc))
for fix in (False, True):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkey.patch_all(fix=fix)
    print([NAMED in str(warning.message) for warning in caught])
print([NAMED in problem for problem in monkey.problems()])
"""
    )
    assert script.run(code.replace("NAMED", repr(named)), patch="") == ["True", "[True]", "[]", "[True]"]


def test_defaults_that_are_no_originals_or_were_asked_for_are_not_named(script):
    assert script.run(
        """
        import time
        from gevlite import monkey
        def calculate(a=time.time, b=print, *, c=len): pass
        kept = monkey.get_original("time", "sleep")
        def work(sleep=kept): pass
        monkey.patch_all(strict=True)
        print(monkey.problems())
        """,
        patch="",
    ) == ["[]"]


def test_who_holds_input_gets_the_replacement_and_no_word(script):
    assert script.run(
        """
        import builtins
        prompt = input
        from gevlite import monkey
        monkey.patch_all(strict=True)
        print(prompt is builtins.input, monkey.problems())
        monkey.unpatch_all()
        print(prompt is builtins.input)
        """,
        patch="",
    ) == ["True []", "True"]
