"""gevlite.local: attributes of its own for each greenlet."""

import copy
import gc
import threading
import weakref

import greenlet
import pytest

import gevlite
from gevlite.event import Event
from gevlite.local import local


class Thing:
    pass


def inside(function, *args):
    """The result of `function` in a greenlet of its own."""
    return gevlite.spawn(function, *args).get()


def test_each_greenlet_has_its_own_attributes():
    data = local()
    data.x = "main"

    def work(n):
        assert not hasattr(data, "x")
        data.x = n
        gevlite.sleep(0)
        return data.x, vars(data)

    greenlets = [gevlite.spawn(work, n) for n in range(5)]
    assert [g.get() for g in greenlets] == [(n, {"x": n}) for n in range(5)]
    assert data.x == "main"
    del data.x
    with pytest.raises(AttributeError):
        data.x  # noqa: B018
    with pytest.raises(AttributeError):
        del data.x


def test_threads_have_their_own_too():
    data = local()
    data.x = "main"
    seen = []
    thread = threading.Thread(target=lambda: seen.append(hasattr(data, "x")))
    thread.start()
    thread.join()
    assert seen == [False]


def test_values_are_freed_when_the_greenlet_ends_though_it_is_still_referred_to():
    data = local()

    def work():
        data.thing = Thing()
        return weakref.ref(data.thing)

    greenlet = gevlite.spawn(work)
    assert greenlet.get()() is None
    assert greenlet.dead


@pytest.mark.parametrize("how", ["kill", "error"])
def test_values_are_freed_however_the_greenlet_ends(how, errors):
    data = local()
    refs = []

    def work():
        data.thing = Thing()
        refs.append(weakref.ref(data.thing))
        go.wait()
        raise ValueError

    go = Event()
    greenlet = gevlite.spawn(work)
    gevlite.idle()
    assert refs[0]() is not None
    if how == "kill":
        greenlet.kill()
    go.set()
    greenlet.join()
    errors.clear()  # the traceback in it has the frame, not the attributes
    assert refs[0]() is None


def test_values_of_a_raw_greenlet_are_freed_with_it():
    data = local()
    refs = []

    def work():
        data.thing = Thing()
        refs.append(weakref.ref(data.thing))

    raw = gevlite.spawn_raw(work)
    gevlite.idle()
    del raw
    gevlite.idle()  # the hub lets go of it
    assert refs[0]() is None


def test_values_of_all_greenlets_are_freed_with_the_local():
    refs = []

    def use(data):
        data.thing = Thing()
        refs.append(weakref.ref(data.thing))

    def work(holder):
        use(*holder)
        gevlite.sleep(10)  # alive, but with no reference to the local in its frame

    holder = [local()]
    use(*holder)
    greenlets = [gevlite.spawn(work, holder) for _ in range(3)]
    gevlite.idle()
    assert len(refs) == 4 and all(ref() is not None for ref in refs)
    holder.clear()
    assert [ref() for ref in refs] == [None] * 4
    gevlite.killall(greenlets)


def test_a_value_that_refers_to_its_local_is_an_ordinary_cycle():
    data = local()
    data.me = data
    inside(setattr, data, "me", data)
    ref = weakref.ref(data)
    del data
    gc.collect()
    assert ref() is None


def test_a_local_used_by_many_greenlets_does_not_grow():
    data = local()

    def work(n):
        data.n = n

    for _ in range(3):
        gevlite.joinall([gevlite.spawn(work, n) for n in range(50)])
    assert len([d for d in gc.get_referents(data) if isinstance(d, dict)]) <= 3
    [dicts] = [d for d in gc.get_referents(data) if isinstance(d, dict) and all(isinstance(k, int) for k in d) and d]
    assert len(dicts) == 1  # of the main greenlet, which made it


def test_init_of_a_subclass_runs_once_in_each_greenlet_with_the_original_arguments():
    calls = []

    class Mine(local):
        kind = "class attribute"

        def __init__(self, a, *, b):
            calls.append(gevlite.getcurrent())
            self.both = [a, b]

    data = Mine(1, b=2)

    def work():
        data.both.append(data.kind)
        gevlite.sleep(0)
        return data.both

    greenlets = [gevlite.spawn(work) for _ in range(2)]
    assert [g.get() for g in greenlets] == [[1, 2, "class attribute"]] * 2
    assert data.both == [1, 2]
    assert len(calls) == len(set(calls)) == 3


def test_init_that_blocks_sees_its_own_greenlet_afterwards():
    class Mine(local):
        def __init__(self):
            self.before = gevlite.getcurrent()
            gevlite.sleep(0)
            self.after = gevlite.getcurrent()

    data = Mine()

    def work():
        return data.before is data.after is gevlite.getcurrent()

    assert [g.get() for g in [gevlite.spawn(work) for _ in range(3)]] == [True] * 3


def test_init_that_fails_is_tried_again_at_the_next_access():
    class Mine(local):
        fail = False

        def __init__(self):
            self.half = True
            if Mine.fail:
                raise ValueError("not yet")
            self.whole = True

    data = Mine()
    Mine.fail = True

    def work():
        with pytest.raises(ValueError, match="not yet"):
            data.half  # noqa: B018
        Mine.fail = False
        return data.whole

    assert inside(work)


def test_arguments_without_an_init_are_a_type_error():
    for arguments, keywords in (((1,), {}), ((), {"a": 1})):
        with pytest.raises(TypeError, match="Initialization arguments"):
            local(*arguments, **keywords)


def test_properties_slots_and_methods_of_a_subclass():
    class Mine(local):
        __slots__ = ("shared",)

        @property
        def double(self):
            return self.x * 2

        @double.setter
        def double(self, value):
            self.x = value / 2

        def method(self):
            return self.x

        def __getattr__(self, name):
            return f"no {name}"

    data = Mine()
    data.shared = "by all"
    data.x = 1

    def work():
        assert data.shared == "by all"
        assert data.x == "no x"
        data.double = 10
        return data.x, data.double, data.method()

    assert inside(work) == (5, 10, 5)
    assert (data.x, data.double, data.method(), data.anything) == (1, 2, 1, "no anything")
    del data.shared
    assert data.shared == "no shared"


def test_a_property_that_blocks_gets_the_right_attributes():
    class Mine(local):
        @property
        def slow(self):
            before = self.x
            gevlite.sleep(0)
            return before, self.x

    data = Mine()

    def work(n):
        data.x = n
        return data.slow

    assert [g.get() for g in [gevlite.spawn(work, n) for n in range(3)]] == [(n, n) for n in range(3)]


def test_dict_is_that_of_the_greenlet_and_cannot_be_replaced():
    data = local()
    data.x = 1
    assert data.__dict__ == {"x": 1} and inside(lambda: data.__dict__) == {}
    with pytest.raises(AttributeError, match="read-only"):
        data.__dict__ = {}
    with pytest.raises(AttributeError, match="read-only"):
        del data.__dict__
    data.__dict__["y"] = 2
    assert data.y == 2 and {"x", "y"} < set(dir(data))


def test_a_copy_has_the_attributes_of_the_greenlet_that_made_it_and_starts_afresh_elsewhere():
    class Data(local):
        __slots__ = ("shared", "unset")

        def __init__(self, n):
            self.n = n

    data = Data(1)
    data.n, data.x, data.shared = 2, [3], 4
    other = copy.copy(data)
    assert type(other) is Data and (other.n, other.shared, vars(other)) == (2, 4, {"n": 2, "x": [3]})
    assert other.x is data.x and not hasattr(other, "unset")
    other.n = 5
    assert data.n == 2
    assert inside(lambda: vars(other)) == {"n": 1}


def test_the_hub_has_its_own():
    data = local()
    data.x = "main"
    seen = []

    def callback():
        seen.append(hasattr(data, "x"))
        data.x = "hub"

    gevlite.get_hub().call_soon(callback)
    gevlite.sleep(0)
    gevlite.get_hub().call_soon(lambda: seen.append(data.x))
    gevlite.sleep(0)
    assert seen == [False, "hub"] and data.x == "main"


def test_finalizer_of_a_value_may_use_the_local():
    data = local()
    seen = []

    class Last:
        def __del__(self):
            data.late = True
            seen.append(vars(data))

    def work():
        data.last = Last()

    inside(work)
    assert seen and seen[0].get("late")
    assert vars(data) == {}


def test_a_local_and_a_greenlet_may_end_while_the_attributes_of_the_other_are_freed():
    class Ends:
        def __init__(self, *what):
            self.what = what

        def __del__(self):
            ended.append(len(self.what))
            self.what = None

    ended = []

    def fill(values, last):
        values.last = last
        gevlite.sleep(10)

    # The attributes of each greenlet own the next local, so freeing the first frees all, each within the one before.
    first = values = local()
    greenlets = []
    for _ in range(20):
        following = local()
        greenlets.append(gevlite.spawn(fill, values, Ends(following)))
        greenlets.append(gevlite.spawn(fill, values, Ends(following, following)))
        values = following
    gevlite.sleep(0)
    gevlite.killall(greenlets)
    assert len(ended) == 40
    values = following = None
    first.x = Ends(first)
    gone = weakref.ref(first)
    del first, greenlets
    gc.collect()
    assert gone() is None and len(ended) == 41


def test_a_freed_local_leaves_nothing_in_its_greenlets():
    def use(count):
        for _ in range(count):
            values = local()
            values.name = 1

    def raw():
        greenlet.getcurrent().parent.switch()
        use(100)
        greenlet.getcurrent().parent.switch()

    for run in (lambda: use(100), lambda: inside(use, 100)):
        run()
        gc.collect()
        before = len(gc.get_objects())
        run()
        gc.collect()
        assert len(gc.get_objects()) - before < 50
    other = greenlet.greenlet(raw)
    other.switch()
    other.switch()
    assert len(gc.get_referents(other.__dict__)) <= 2
    other.switch()
