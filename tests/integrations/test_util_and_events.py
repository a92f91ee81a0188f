"""`gevlite.util`, which looks at running greenlets, and `gevlite.events`, which reports patching."""

import io
import time

import pytest
from greenlet import greenlet

import gevlite
from gevlite import util
from gevlite.util import GreenletTree, assert_switches


def test_wrap_errors_returns_what_it_was_told_to_expect():
    number = util.wrap_errors((ValueError, TypeError), int)
    assert number("3") == 3
    assert isinstance(number("x"), ValueError)
    assert number.__name__ == "int" and str(number) == str(int)
    with pytest.raises(OverflowError):
        number(float("inf"))


# ---------------------------------------------------------------- assert_switches


def test_a_block_that_gives_way_is_fine():
    with assert_switches():
        gevlite.sleep(0.001)
    with assert_switches(max_blocking_time=20, hub_only=True):
        gevlite.sleep(0.001)


def test_a_block_that_does_not_give_way_is_an_error():
    with pytest.raises(AssertionError, match="did not switch to another"), assert_switches():
        time.monotonic()
    with pytest.raises(AssertionError, match="did not switch to the hub"), assert_switches(hub_only=True):
        greenlet(time.monotonic).switch()  # another, but not the hub


def test_who_runs_for_too_long_is_an_error_also_in_another_greenlet():
    def spin():
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    with pytest.raises(AssertionError, match="longer than 0.01 s"), assert_switches(max_blocking_time=0.01):
        gevlite.spawn(spin).join()


def test_what_the_block_raises_goes_on():
    with pytest.raises(KeyError), assert_switches():
        raise KeyError


def test_a_trace_function_that_was_there_goes_on_and_is_put_back():
    import greenlet

    seen = []

    def trace(event, args):
        seen.append(event)

    before = greenlet.settrace(trace)
    try:
        with assert_switches():
            gevlite.sleep(0.001)
        assert "switch" in seen and greenlet.gettrace() is trace
    finally:
        greenlet.settrace(before)


# ---------------------------------------------------------------- what runs


def wait_here(event):
    event.wait()


def test_the_report_shows_threads_and_greenlets_with_their_stacks():
    event = gevlite.event.Event()
    job = gevlite.spawn(wait_here, event)
    gevlite.sleep(0)
    output = io.StringIO()
    util.print_run_info(file=output)
    event.set()
    job.join()
    text = output.getvalue()
    assert "* Threads" in text and "(MainThread) (current)" in text
    assert "in wait_here" in text and "test_the_report_shows" in text
    assert text.splitlines() == text.rstrip("\n").split("\n")
    assert "* Greenlets" not in util.format_run_info(greenlet_stacks=False)
    assert "* Threads" not in util.format_run_info(thread_stacks=False)


def test_the_tree_has_greenlets_from_before_gc_freeze(run_script):
    """As a preforking server calls it. The collector no longer lists those objects."""
    assert (
        run_script("""
        import gc
        import gevlite
        from gevlite.util import GreenletTree

        parked = gevlite.spawn(gevlite.sleep, 60)
        gevlite.sleep(0)
        gc.freeze()
        tree = GreenletTree.current_tree()
        print(tree.greenlet is gevlite.getcurrent(), parked in [below.greenlet for below in tree.child_trees])
        """).stdout
        == "True True\n"
    )


def test_the_tree_has_who_was_spawned_below_who_has_spawned():
    event = gevlite.event.Event()
    children = []

    def parent():
        children.append(gevlite.spawn(wait_here, event))
        event.wait()

    job = gevlite.spawn(parent)
    gevlite.idle()
    tree = GreenletTree.current_tree()
    [of_parent] = [below for below in tree.child_trees if below.greenlet is job]
    assert [below.greenlet for below in of_parent.child_trees] == children
    assert tree.root and tree.is_current_tree and not of_parent.root
    lines = tree.format_lines(details=False)
    assert any("; current" in line for line in lines)
    depth = [line.index("+") for line in lines if "parent" in line or "wait_here" in line]
    assert depth == [1, 2]
    assert tree.format(details=False) == "".join(f"{line}\n" for line in lines)
    event.set()
    gevlite.joinall([job, *children])


# ---------------------------------------------------------------- events


def test_subscribers_are_told_of_patching(run_script):
    assert (
        run_script("""
        from gevlite import events, monkey
        seen = []
        events.subscribers.append(seen.append)
        assert monkey.patch_all(ssl=False) is True
        import time, gevlite.time
        first, *modules, builtin, last = seen
        assert type(first) is events.GeventWillPatchAllEvent and first.patch_all_arguments["ssl"] is False
        assert first.will_patch_module("time") and not first.will_patch_module("ssl")
        assert type(builtin) is events.GeventDidPatchBuiltinModulesEvent
        assert type(last) is events.GeventDidPatchAllEvent and last.source is monkey
        will, did = [event for event in modules if event.module_name == "time"]
        assert type(will) is events.GeventWillPatchModuleEvent and type(did) is events.GeventDidPatchModuleEvent
        assert will.source is did.source is gevlite.time and will.target is did.target is time
        assert will.items == ["sleep"] and "ssl" not in {event.module_name for event in modules}
        print("told")
    """).stdout
        == "told\n"
    )


def test_a_subscriber_can_prevent_the_patching_of_a_module(run_script):
    assert (
        run_script("""
        from gevlite import events, monkey
        def refuse(event):
            if isinstance(event, events.GeventWillPatchModuleEvent) and event.module_name == "time":
                raise events.DoNotPatch
        events.subscribers.append(refuse)
        monkey.patch_all()
        print(monkey.is_object_patched("time", "sleep"), monkey.is_object_patched("socket", "socket"))
    """).stdout
        == "False True\n"
    )


def test_a_subscriber_can_prevent_all_patching(run_script):
    assert (
        run_script("""
        from gevlite import events, monkey
        def refuse(event):
            if isinstance(event, events.GeventWillPatchAllEvent):
                raise events.DoNotPatch
        events.subscribers.append(refuse)
        assert monkey.patch_all() is False
        print(monkey.is_anything_patched())
    """).stdout
        == "False\n"
    )


def test_run_info_says_what_belongs_to_each_greenlet():
    from gevlite.local import all_local_dicts_for_greenlet, local

    class Mine(local):
        pass

    kept = Mine()

    def root():
        kept.value = "in-a-local"
        gevlite.getcurrent().spawn_tree_locals["key"] = "in-the-tree"
        child = gevlite.spawn(gevlite.sleep, 10)
        gevlite.sleep(0)
        try:
            return "\n".join(util.format_run_info()), all_local_dicts_for_greenlet(gevlite.getcurrent())
        finally:
            child.kill()

    text, found = gevlite.spawn(root).get()
    assert text.count("in-the-tree") == 2  # the child has them too
    assert text.count("in-a-local") >= 1
    assert "Parent: " in text
    assert [(kind, attributes) for (kind, _), attributes in found if kind is Mine] == [(Mine, {"value": "in-a-local"})]
    assert [ident for (kind, ident), _ in found if kind is Mine] == [id(kept)]
    with pytest.raises(TypeError):
        all_local_dicts_for_greenlet(None)
