"""Patching after modules have taken what is replaced: it is explained, and repaired where that is safe."""

HOLDER = """
from socket import socket, create_connection, AF_INET
from ssl import SSLContext
from time import sleep as pause
from threading import Thread

class Mine(SSLContext):
    pass

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
        "holder.socket (socket.socket)",
        "holder.SSLContext (ssl.SSLContext)",
        "holder.pause (time.sleep)",
        "holder.Mine (derived from ssl.SSLContext)",
        "gevlite.monkey.patch_all()",
        "fix=True",
    ):
        assert part in lines[0]
    assert lines[1] == "script.py"


def test_what_becomes_cooperative_by_itself_is_not_named(script):
    """`create_connection` looks up `socket` when it is called, Thread its lock: those who hold them are not late."""
    script.write("from socket import create_connection\nfrom threading import Thread\nclass Job(Thread): pass", "a.py")
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
        import holder, socket, ssl, time
        [text], _ = warned(monkey.patch_all, fix=True)
        assert "holder.Mine" in text and "holder.socket" not in text and "fix=True" not in text
        assert holder.socket is socket.socket and holder.SSLContext is ssl.SSLContext and holder.pause is time.sleep
        monkey.unpatch_all()
        assert holder.socket is socket.socket and holder.SSLContext is ssl.SSLContext and holder.pause is time.sleep
        assert holder.socket.__module__ == "socket"
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
        before = (functools.RLock, reprlib.get_ident, tempfile._allocate_lock)
        before = [before]
        assert warned(monkey.patch_all) == ([], [])
        assert functools.RLock is threading.RLock().__class__
        assert reprlib.get_ident is threading.get_ident
        assert tempfile._allocate_lock is _thread.allocate_lock
        monkey.unpatch_all()
        assert (functools.RLock, reprlib.get_ident, tempfile._allocate_lock) == before[0]
        """,
        patch=CATCH,
    )


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
