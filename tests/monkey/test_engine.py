"""Save, replace, restore: the promises of `gevlite.monkey` itself."""

import inspect

import pytest

from gevlite import monkey


def test_original_is_given_before_and_after_patching(script):
    lines = script.run(
        """
        import time, socket
        before = [time.sleep]
        assert monkey.get_original("time", "sleep") is before[0]
        monkey.patch_time()
        assert time.sleep is not before[0]
        assert monkey.get_original("time", "sleep") is before[0]
        # a list of names, some patched and some not
        monkey.patch_socket()
        found = monkey.get_original("socket", ["socket", "AF_INET"])
        assert found[0] is not socket.socket and found[0].__module__ == "socket"
        assert found[1] is socket.AF_INET
        print("ok")
        """,
        patch="from gevlite import monkey\n",
    )
    assert lines == ["ok"]


def test_get_original_of_an_unknown_name_raises():
    with pytest.raises(AttributeError):
        monkey.get_original("time", "no_such_thing")
    with pytest.raises(ModuleNotFoundError):
        monkey.get_original("no_such_module", "thing")


def test_what_is_patched_can_be_asked(script):
    script.run(
        """
        assert not monkey.is_anything_patched()
        monkey.patch_time()
        assert monkey.is_anything_patched()
        assert monkey.is_module_patched("time") and not monkey.is_module_patched("socket")
        assert monkey.is_object_patched("time", "sleep") and not monkey.is_object_patched("time", "time")
        assert not monkey.is_object_patched("no_such_module", "thing")
        assert list(monkey.saved) == ["time"]
        """,
        patch="from gevlite import monkey\n",
    )


EVERYTHING = """
import importlib
import sys
import warnings
warnings.simplefilter("ignore")

NAMES = ["_queue", "_socket", "_thread", "_threading_local", "os", "queue", "select", "selectors", "signal", "socket",
         "ssl", "subprocess", "threading", "time", "logging"]
MODULES = [importlib.import_module(name) for name in NAMES]
import selectors, ssl, threading
CLASSES = [selectors.PollSelector, selectors.SelectSelector, ssl.SSLContext, threading.Thread]
main = threading.main_thread()

def everything():
    found = {(owner.__name__, key): value for owner in MODULES + CLASSES for key, value in vars(owner).items()}
    found.update({("main", key): value for key, value in vars(main).items()})
    return found
"""


def test_unpatch_all_restores_the_identity_of_every_item(script):
    script.run(
        EVERYTHING
        + """
from gevlite import monkey
monkey.patch_all(); monkey.unpatch_all()       # so that what is only imported on the way does not count
before = everything()
monkey.patch_thread(existing_locks=False)
monkey.patch_all(thread=False)
patched = everything()
changed = {key for key in before if patched.get(key) is not before[key]}
assert len(changed) > 40, sorted(changed)
monkey.unpatch_all()
after = everything()
assert after.keys() == before.keys(), after.keys() ^ before.keys()
different = [key for key in before if after[key] is not before[key]]
assert not different, different
assert not monkey.is_anything_patched()
import threading, time
native = threading.Thread(target=time.sleep, args=(0.01,))
native.start()
native.join()
assert native.native_id != threading.get_native_id()
""",
        patch="",
    )


def test_patching_twice_changes_nothing(script):
    script.run(
        EVERYTHING
        + """
from gevlite import monkey
monkey.patch_all()
before = everything()
saved = {name: dict(items) for name, items in monkey.saved.items()}
monkey.patch_all()
after = everything()
assert [key for key in before if after[key] is not before[key]] == []
assert saved == monkey.saved
""",
        patch="",
    )


def test_patching_again_after_unpatching_works(script):
    script.run(
        """
        import threading, time
        monkey.unpatch_all()
        monkey.patch_all()
        seen = []
        thread = threading.Thread(target=lambda: (time.sleep(0.01), seen.append(threading.get_native_id())))
        thread.start()
        thread.join()
        assert seen == [threading.get_native_id()]
        """
    )


@pytest.mark.parametrize("function", [name for name in monkey.__all__ if name.startswith("patch_")])
def test_unknown_argument_is_a_type_error(function):
    with pytest.raises(TypeError):
        getattr(monkey, function)(no_such_area=True)
    assert not monkey.is_anything_patched()


def test_an_area_can_be_left_out(script):
    lines = script.run(
        """
        monkey.patch_all(thread=False, dns=False, ssl=False, aggressive=False)
        print(*[monkey.is_module_patched(name) for name in ("threading", "_thread", "ssl", "socket", "time")])
        print(monkey.is_object_patched("socket", "getaddrinfo"))
        """,
        patch="from gevlite import monkey\n",
    )
    assert lines == ["False False False True True", "False"]


def test_aggressive_removes_what_would_block(script):
    lines = script.run(
        """
        import select, selectors
        select.kqueue = selectors.KqueueSelector = "pretend"
        monkey.patch_select(aggressive=False)
        print(hasattr(select, "kqueue"))
        monkey.patch_select()
        print(hasattr(select, "kqueue"), hasattr(selectors, "KqueueSelector"))
        monkey.unpatch_all()
        print(select.kqueue, selectors.KqueueSelector)
        """,
        patch="from gevlite import monkey\n",
    )
    assert lines == ["True", "False False", "pretend pretend"]


def test_every_selector_is_cooperative_also_one_imported_before(script):
    lines = script.run(
        """
        import selectors, socket
        from selectors import PollSelector, SelectSelector, DefaultSelector
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        for cls in (PollSelector, SelectSelector, DefaultSelector, selectors.DefaultSelector):
            ours, theirs = socket.socketpair()
            with cls() as selector, ours, theirs:
                selector.register(ours, selectors.EVENT_READ)
                gevlite.spawn(theirs.send, b"x")        # runs only if select() lets it
                print(len(selector.select(10)))
        """,
        patch="",
    )
    assert lines == ["1"] * 4


def test_a_module_can_be_patched_with_ones_own_twin(script):
    script.run(
        """
        import types, json
        mine = types.ModuleType("mine")
        mine.__implements__ = ["loads", "not_on_this_platform"]
        mine.loads = lambda text: "mine"
        original = json.loads
        monkey.patch_module(json, mine)
        assert json.loads("1") == "mine" and monkey.get_original("json", "loads") is original
        try:
            monkey.patch_module(json, mine, items=["not_on_this_platform"])
        except AttributeError:
            pass
        else:
            raise AssertionError("no error for a name that is not there")
        monkey.unpatch_all()
        assert json.loads is original
        """,
        patch="from gevlite import monkey\n",
    )


def test_no_argument_without_effect():
    """Every area that `patch_all` offers has a function of its own, or is an option of one."""
    areas = set(inspect.signature(monkey.patch_all).parameters)
    without = {name for name in areas if not hasattr(monkey, f"patch_{name}")}
    assert without == {"aggressive", "fix", "strict", "Event"}  # the last is there for gevent's callers


def test_nothing_below_imports_monkey(script):
    """The layers below must not need patching."""
    script.run(
        """
        import sys, pkgutil, importlib.util
        import gevlite
        left_out = ["monkey", "__main__"]
        if importlib.util.find_spec("_interpreters") is None:       # before Python 3.13
            left_out.append("_subinterpreters")
        for info in pkgutil.iter_modules(gevlite.__path__):
            if info.name not in left_out:
                importlib.import_module("gevlite." + info.name)
        assert not [name for name in sys.modules if name.startswith("gevlite.monkey")]
        """,
        patch="",
    )
