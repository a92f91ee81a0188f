"""Existing locks when patching, and imports between greenlets."""

import pytest


def test_only_those_of_logging_if_so_asked(script):
    script.run(
        """
        import logging, threading
        logging.basicConfig()
        lock = threading.Lock()
        kind = [type(lock)]
        from gevlite import monkey
        from gevlite._threadlock import RLock
        monkey.patch_thread(existing_locks=False, logging=False)
        assert type(logging._lock) is not RLock
        monkey.patch_thread(existing_locks=False)
        assert type(logging._lock) is RLock and type(logging.root.handlers[0].lock) is RLock
        assert type(lock) is kind[0]
        """,
        patch="",
    )


def test_imports_between_greenlets_do_not_block_each_other(script):
    """The lock of a module that is being imported was made before; its waiter must let others run."""
    script.write("import slow_part\nvalue = slow_part.value\n", "slow_module.py")
    script.write("import time\ntime.sleep(0.02)\nvalue = 1\n", "slow_part.py")
    script.write(
        """
        from gevlite import monkey
        monkey.patch_all()          # while this module's own lock is taken
        import threading
        seen = []
        def work():
            import slow_module
            seen.append(slow_module.value)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = threading.Thread(target=lambda: seen.append(__import__("patches_itself").late))
        late.start()                # waits for us to be imported
        threading.Event().wait(0.01)
        late_too_early = len(seen) > 3
        late_value = late = "done"
        """,
        "patches_itself.py",
    )
    lines = script.run(
        """
        import patches_itself, time
        while len(patches_itself.seen) < 4:
            time.sleep(0.001)
        print(patches_itself.seen, patches_itself.late_too_early)
        """,
        patch="",
    )
    assert lines == ["[1, 1, 1, 'done'] False"]


@pytest.mark.parametrize("settings", [{}, {"GEVLITE_BACKEND": "select"}, {"GEVLITE_MONITOR_THREAD": "1"}], ids=str)
def test_the_hub_that_waits_for_a_module_is_made_without_another_import(script, settings):
    """While a thread waits for the lock of a module, Python 3.11 does not allow it to take the lock of a second one."""
    script.write(
        """
        import sys
        from gevlite.monkey import get_original
        sys.begun.append(1)
        get_original("time", "sleep")(0.2)
        value = 1
        """,
        "slow_module.py",
    )
    path = script.write(
        """
        from gevlite import monkey
        monkey.patch_all()
        import sys
        from gevlite import _core
        start, sleep = (monkey.get_original(*name) for name in (("_thread", "start_new_thread"), ("time", "sleep")))
        sys.begun, seen = [], []
        def work():
            import slow_module
            seen.append(slow_module.value)
        assert not _core.hubs()
        start(work, ())
        while not sys.begun:
            sleep(0.001)
        start(work, ())
        while len(seen) < 2:
            sleep(0.001)
        """
    )
    script.python(path, env=settings)
    assert (script.returncode, script.stderr) == (0, "")


def test_the_hub_may_import_while_the_main_greenlet_waits_for_a_module(script):
    """As another thread may: code in the hub has the main greenlet's ident, but owns its own locks."""
    script.write("import time\ntime.sleep(0.2)\nvalue = 1\n", "slow_module.py")
    script.write("value = 2\n", "other_module.py")
    assert script.run(
        """
        import importlib, sys, gevlite
        importing = gevlite.spawn(importlib.import_module, "slow_module")
        gevlite.idle()
        seen = []
        def fetch():
            import other_module
            seen.append(other_module.value)
            import slow_module
            seen.append(slow_module.value)
        gevlite.get_hub().call_soon(fetch)
        import slow_module
        seen.append(slow_module.value)
        importing.get()
        while len(seen) < 3:
            gevlite.sleep(0.001)
        print(seen[0], seen[1:])
        monkey.unpatch_all()
        print(importlib._bootstrap._thread is sys.modules["_thread"])
        """
    ) == ["2 [1, 1]", "True"]


def test_patching_in_another_os_thread_leaves_the_main_thread_the_main_thread(script):
    lines = script.run(
        """
        import threading
        def patch():
            from gevlite import monkey
            monkey.patch_all()
        patcher = threading.Thread(target=patch)
        patcher.start()
        patcher.join()
        import time
        print(threading.current_thread() is threading.main_thread(), patcher.is_alive())
        seen = []
        thread = threading.Thread(target=lambda: (time.sleep(0.001), seen.append(threading.get_native_id())))
        thread.start()
        thread.join()
        print(seen == [threading.get_native_id()], threading.enumerate() == [threading.main_thread()])
        """,
        patch="",
    )
    assert lines == ["True False", "True True"]
