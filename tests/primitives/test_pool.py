"""Group and Pool: a place is taken by one, given back once, and never lost; results arrive, or their errors do."""

import contextvars
import gc
import threading
import time
import weakref

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.greenlet import Greenlet
from gevlite.lock import Semaphore
from gevlite.pool import Group, Pool, PoolFull
from gevlite.queue import Full
from gevlite.testing import VirtualClock

BOTH = [Group, Pool, lambda: Pool(50)]


class Held:
    """A pool all of whose places are taken, until `let_go()`."""

    def __init__(self, size=1):
        self.pool = Pool(size)
        self.event = Event()
        self.members = [self.pool.spawn(self.event.wait) for _ in range(size)]
        gevlite.idle()

    def let_go(self):
        self.event.set()
        gevlite.joinall(self.members)


@pytest.fixture
def held():
    made = Held()
    yield made
    made.event.set()
    made.pool.kill()


def spin(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


def fail(value=None):
    raise ValueError(value)


# ---------------------------------------------------------------- membership


@pytest.mark.parametrize("make", BOTH)
def test_a_greenlet_is_a_member_until_it_ends(make):
    group, event = make(), Event()
    g = group.spawn(event.wait)
    assert g in group and list(group) == [g] and len(group) == 1 and group
    event.set()
    g.get()
    assert g not in group and list(group) == [] and len(group) == 0 and not group


@pytest.mark.parametrize(
    "wait", [Greenlet.join, Greenlet.get, lambda g: gevlite.joinall([g]), lambda g: gevlite.wait([g])]
)
def test_who_has_seen_the_end_of_a_member_finds_its_place_free(wait):
    pool = Pool(1)
    for _ in range(3):
        g = pool.spawn(gevlite.sleep, 0)
        wait(g)
        assert pool.free_count() == 1 and not pool.full()


def test_a_link_of_a_member_finds_its_place_free():
    pool, seen = Pool(1), AsyncResult()
    pool.spawn(gevlite.sleep, 0).rawlink(lambda g: seen.set(pool.free_count()))
    assert seen.get(timeout=5) == 1


def test_a_group_begins_with_the_greenlets_it_is_given():
    event = Event()
    greenlets = [gevlite.spawn(event.wait) for _ in range(3)]
    group = Group(greenlets)
    assert len(group) == 3
    event.set()
    assert group.join(timeout=5) is True
    assert len(group) == 0 and all(g.ready() for g in greenlets)


def test_adding_twice_takes_one_place(held):
    held.pool.add(held.members[0])
    held.pool.add(held.members[0], blocking=False)
    assert len(held.pool) == 1
    held.let_go()
    assert held.pool.free_count() == 1


def test_one_that_has_ended_is_not_added():
    pool = Pool(1)
    g = gevlite.spawn(lambda: None)
    g.join()
    pool.add(g)
    assert g not in pool and pool.free_count() == 1


def test_one_that_ends_while_it_waits_for_a_place_takes_none(held):
    g = gevlite.spawn(gevlite.sleep, 0)
    adding = gevlite.spawn(held.pool.add, g)
    g.join()
    held.let_go()
    adding.get(timeout=5)
    assert len(held.pool) == 0 and held.pool.free_count() == 1


def test_one_killed_before_it_began_gives_its_place_back():
    pool = Pool(1)
    g = pool.spawn(gevlite.sleep, 100)
    g.kill()
    assert pool.free_count() == 1


def test_discard_gives_the_place_back_and_the_end_does_not_do_so_again(held):
    held.pool.discard(held.members[0])
    assert held.pool.free_count() == 1 and len(held.pool) == 0
    held.let_go()
    assert held.pool.free_count() == 1


def test_discard_twice_or_of_a_stranger_gives_nothing_back(held):
    held.pool.discard(gevlite.getcurrent())
    assert held.pool.free_count() == 0
    for _ in range(2):
        held.pool.discard(held.members[0])
    assert held.pool.free_count() == 1


def test_one_that_was_discarded_does_not_keep_the_pool(held):
    pool = Pool(1)
    pool.add(held.members[0])
    pool.discard(held.members[0])
    ref = weakref.ref(pool)
    del pool
    assert ref() is None


def test_one_that_was_discarded_can_be_added_again(held):
    held.pool.discard(held.members[0])
    held.pool.add(held.members[0])
    assert held.pool.free_count() == 0
    held.let_go()
    assert held.pool.free_count() == 1


def test_a_greenlet_may_be_in_several_groups():
    groups = [Group(), Pool(1), Pool()]
    g = gevlite.spawn(gevlite.sleep, 0)
    for group in groups:
        group.add(g)
    g.join()
    assert [len(group) for group in groups] == [0, 0, 0] and groups[1].free_count() == 1


def test_start_adds_and_starts():
    for group in (Group(), Pool(1)):
        g = Greenlet(lambda: 5)
        group.start(g)
        assert g in group and g.get() == 5


def test_one_that_cannot_be_started_takes_no_place():
    class Bad(Greenlet):
        def start(self):
            raise OSError("no")

    pool = Pool(1, Bad)
    with pytest.raises(OSError, match="no"):
        pool.spawn(lambda: None)
    assert pool.free_count() == 1 and len(pool) == 0


def test_a_raw_greenlet_stays_until_it_is_discarded():
    pool = Pool(1)
    g = gevlite.spawn_raw(lambda: None)
    pool.add(g)
    gevlite.idle()
    assert g.dead and g in pool
    pool.discard(g)
    assert pool.free_count() == 1


def test_members_run_in_the_context_of_who_spawned_them():
    var = contextvars.ContextVar("var")
    var.set("mine")
    assert Pool(1).spawn(var.get).get() == "mine"


def test_a_greenlet_class_of_ones_own():
    class Named(Greenlet):
        def __init__(self, a, b):
            super().__init__()
            self.pair = a, b

        def _run(self):
            return self.pair

    class NamedPool(Pool):
        greenlet_class = Named

    for pool in (Pool(1, Named), Pool(1, greenlet_class=Named), NamedPool(1)):
        g = pool.spawn(1, b=2)
        assert type(g) is Named and g.get() == (1, 2)


def test_the_size_is_seen_in_its_numbers():
    pool, event = Pool(2), Event()
    assert (pool.size, pool.free_count(), pool.full()) == (2, 2, False)
    members = [pool.spawn(event.wait) for _ in range(2)]
    assert (pool.free_count(), pool.full(), len(pool)) == (0, True, 2)
    event.set()
    gevlite.joinall(members)
    unlimited = Pool()
    assert (unlimited.size, unlimited.free_count(), unlimited.full(), unlimited.wait_available()) == (None, 1, False, 1)
    assert Group().full() is False and Group().wait_available() is None
    assert (Pool(0).free_count(), Pool(0).full()) == (0, True)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda pool: Pool(-1), ValueError),
        (lambda pool: Pool("many"), TypeError),
        (lambda pool: Pool(1, greenlet_class=5), TypeError),
        (lambda pool: Group([5]), TypeError),
        (lambda pool: pool.add(5), TypeError),
        (lambda pool: pool.add(None), TypeError),
        (lambda pool: pool.spawn(5), TypeError),
        (lambda pool: pool.map(5, []), TypeError),
        (lambda pool: pool.map(len, 5), TypeError),
        (lambda pool: pool.imap(5, []), TypeError),
        (lambda pool: pool.imap(len, 5), TypeError),
        (lambda pool: pool.imap(len), TypeError),
        (lambda pool: pool.imap(len, [], size=3), TypeError),
        (lambda pool: pool.imap_unordered(len, [], maxsize=-1), ValueError),
        (lambda pool: pool.apply_async(5), TypeError),
        (lambda pool: pool.apply_async(len, ((),), callback=5), TypeError),
        (lambda pool: pool.kill(5), TypeError),
        (lambda pool: pool.wait_available("soon"), TypeError),
    ],
)
def test_bad_input_is_an_error_at_the_call_and_takes_no_place(held, call, error):
    with pytest.raises(error):
        call(held.pool)
    assert len(held.pool) == 1
    held.let_go()
    assert held.pool.free_count() == 1


# ---------------------------------------------------------------- waiting for a place

WAITS_FOR_A_PLACE = {
    "spawn": lambda pool: pool.spawn(lambda: None),
    "start": lambda pool: pool.start(Greenlet(lambda: None)),
    "add": lambda pool: pool.add(gevlite.spawn(gevlite.sleep, 0)),
    "apply": lambda pool: pool.apply(lambda: None),
    "map": lambda pool: pool.map(lambda x: x, [1]),
    "wait_available": lambda pool: pool.wait_available(),
}


@pytest.fixture(params=WAITS_FOR_A_PLACE, name="wait")
def wait_fixture(request):
    return WAITS_FOR_A_PLACE[request.param]


def test_it_blocks_until_there_is_a_place(held, wait):
    g = gevlite.spawn(wait, held.pool)
    gevlite.idle()
    assert not g.ready()
    held.let_go()
    g.get(timeout=5)
    held.pool.join(timeout=5)
    assert held.pool.free_count() == 1


def test_kill_while_waiting_for_a_place_takes_none_and_starts_nothing(held, wait):
    before = gevlite.get_hub().stats()["spawned"]
    g = gevlite.spawn(wait, held.pool)
    gevlite.idle()
    g.kill()
    held.let_go()
    assert held.pool.free_count() == 1 and len(held.pool) == 0
    assert gevlite.get_hub().stats()["spawned"] - before <= 2  # the waiter, and what `add` adds
    assert held.pool.spawn(lambda: 7).get(timeout=5) == 7


def test_a_timeout_while_waiting_for_a_place_takes_none(held, wait):
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        wait(held.pool)
    held.let_go()
    assert held.pool.free_count() == 1 and len(held.pool) == 0


@pytest.mark.parametrize("kill_first", [True, False])
def test_a_place_that_comes_free_as_the_waiter_is_killed_is_not_lost(held, wait, kill_first):
    g = gevlite.spawn(wait, held.pool)
    gevlite.idle()
    if kill_first:
        g.kill(block=False)
        held.event.set()
    else:
        held.event.set()
        held.members[0].join()
        g.kill(block=False)
    g.join(timeout=5)
    assert held.pool.join(timeout=5) and held.pool.free_count() == 1


@pytest.mark.parametrize("place_first", [True, False])
def test_a_place_and_a_timeout_in_the_same_round(held, place_first, hub):
    """Either it is taken and given back, or not taken."""
    outcome = []

    def add():
        try:
            held.pool.start(Greenlet(lambda: None), timeout=0.002)
            outcome.append("in")
        except PoolFull:
            outcome.append("full")

    if place_first:
        hub.call_later(0.002, held.event.set)
    g = gevlite.spawn(add)
    gevlite.idle()
    if not place_first:
        hub.call_later(0.002, held.event.set)
    spin(0.005)
    g.get(timeout=5)
    held.pool.join(timeout=5)
    assert len(outcome) == 1 and held.pool.free_count() == 1


def test_add_and_start_raise_pool_full_in_time(held):
    for call in (held.pool.add, held.pool.start):
        g = Greenlet(lambda: None)
        for arguments in ({"timeout": 0.001}, {"timeout": 0}, {"blocking": False}):
            with pytest.raises(PoolFull):
                call(g, **arguments)
        assert not g.started and g not in held.pool
    assert issubclass(PoolFull, Full)


def test_wait_available_returns_after_its_timeout(held):
    assert held.pool.wait_available(0.001) == 0
    held.let_go()
    assert held.pool.wait_available(0) == 1


def test_places_are_given_to_those_who_wait_in_the_order_in_which_they_came(held):
    order = []
    waiting = [gevlite.spawn(held.pool.spawn, order.append, n) for n in range(20)]
    gevlite.idle()
    held.let_go()
    gevlite.joinall(waiting, raise_error=True)
    held.pool.join()
    assert order == list(range(20))


def test_who_waits_is_not_overtaken_by_a_newcomer(held):
    order = []
    waiting = gevlite.spawn(held.pool.spawn, order.append, "waiting")
    gevlite.idle()
    held.let_go()
    held.pool.spawn(order.append, "newcomer")
    waiting.join()
    held.pool.join()
    assert order == ["waiting", "newcomer"]


def test_never_more_at_a_time_than_the_size():
    pool, running, most = Pool(3), set(), []

    def work(n):
        running.add(n)
        most.append(len(running))
        gevlite.sleep(0.0001 * (n % 3))
        running.remove(n)

    for n in range(50):
        pool.spawn(work, n)
    pool.join()
    assert max(most) == 3 and len(most) == 50 and pool.free_count() == 3


def test_a_member_may_spawn_into_a_pool_with_room():
    pool = Pool(2)
    assert pool.spawn(lambda: pool.spawn(lambda: 5).get()).get(timeout=5) == 5


# ---------------------------------------------------------------- join


@pytest.mark.parametrize("make", BOTH)
def test_join_blocks_until_all_have_ended(make):
    group = make()
    greenlets = [group.spawn(gevlite.sleep, 0.001 * n) for n in range(5)]
    assert group.join() is True
    assert all(g.ready() for g in greenlets)
    assert group.join() is True  # empty already


def test_join_returns_false_after_its_timeout_and_leaves_nothing(held):
    assert held.pool.join(timeout=0.001) is False
    assert held.pool.join(timeout=0) is False
    assert not held.pool._emptied._waiting


def test_a_killed_join_leaves_nothing(held):
    g = gevlite.spawn(held.pool.join)
    gevlite.idle()
    g.kill()
    assert not held.pool._emptied._waiting


@pytest.mark.parametrize("end_first", [True, False])
def test_the_end_and_the_timeout_of_a_join_in_the_same_round(held, end_first, hub):
    if end_first:
        hub.call_later(0.002, held.event.set)
    g = gevlite.spawn(held.pool.join, 0.002)
    gevlite.idle()
    if not end_first:
        hub.call_later(0.002, held.event.set)
    spin(0.005)
    assert g.get(timeout=5) in (True, False) and not held.pool._emptied._waiting


def test_a_join_ends_even_if_the_group_has_filled_again():
    group, joined = Group(), []
    event = Event()
    group.spawn(gevlite.sleep, 0.001)
    g = gevlite.spawn(lambda: joined.append(group.join()))
    gevlite.idle()
    for member in group:
        member.rawlink(lambda ended: group.spawn(event.wait))
    g.join(timeout=5)
    assert joined == [True]
    event.set()
    group.join()


def test_all_who_join_are_woken_in_order(held):
    order = []

    @gevlite.uninterrupted  # otherwise a later one may be the first to join
    def join(n):
        held.pool.join()
        order.append(n)

    joining = [gevlite.spawn(join, n) for n in range(10)]
    gevlite.idle()
    held.let_go()
    gevlite.joinall(joining)
    assert order == list(range(10))


def test_join_raises_the_first_error_if_asked_to(errors, settle):
    group = Group()
    group.spawn(gevlite.sleep, 0.002)
    early = group.spawn(lambda: settle(lambda: group._failures) and fail("early"))  # once the join below has begun
    group.spawn(lambda: settle(lambda: early not in group) and fail("late"))
    with pytest.raises(ValueError, match="early"):
        group.join(raise_error=True)
    assert len(group) == 0
    group.spawn(fail)
    assert group.join() is True
    assert group.join(raise_error=True) is True  # failed before
    assert not group._failures


def test_join_raises_the_error_of_one_that_came_later(errors):
    group = Group()

    def first():
        gevlite.idle()
        group.spawn(fail, "second")

    group.spawn(first)
    with pytest.raises(ValueError, match="second"):
        group.join(raise_error=True)


def test_a_member_cannot_join_its_own_group(errors):
    group = Group()
    g = group.spawn(group.join)
    with pytest.raises(RuntimeError):
        g.get(timeout=5)


# ---------------------------------------------------------------- kill


@pytest.mark.parametrize("make", BOTH)
def test_kill_ends_all_members_and_waits_for_them(make):
    group, ended = make(), []

    def member(n):
        try:
            gevlite.sleep(100)
        finally:
            gevlite.sleep(0.001)
            ended.append(n)

    greenlets = [group.spawn(member, n) for n in range(5)]
    gevlite.idle()
    not_begun = group.spawn(ended.append, "never")
    group.kill()
    assert sorted(ended) == list(range(5)) and len(group) == 0
    assert all(isinstance(g.value, gevlite.GreenletExit) for g in [*greenlets, not_begun])


def test_kill_without_blocking(held):
    held.pool.kill(block=False)
    assert len(held.pool) == 1
    assert held.pool.join(timeout=5)


def test_kill_waits_no_longer_than_its_timeout(held):
    hold_on = Event()

    def stubborn():
        try:
            gevlite.sleep(100)
        finally:
            hold_on.wait()

    group = Group()
    g = group.spawn(stubborn)
    gevlite.idle()
    group.kill(timeout=0.001)
    assert not g.ready() and g in group
    hold_on.set()
    group.kill()
    assert len(group) == 0


def test_killing_again_does_not_disturb_the_cleaning_up():
    group, steps = Group(), []

    def member():
        try:
            gevlite.sleep(100)
        finally:
            gevlite.sleep(0.002)
            steps.append("clean")

    g = group.spawn(member)
    gevlite.idle()
    group.kill(block=False)
    gevlite.idle()
    group.kill(block=False)
    group.killone(g, block=False)
    group.kill()
    assert steps == ["clean"]


def test_kill_also_ends_those_that_the_dying_start():
    pool, count = Pool(2), []

    @gevlite.uninterrupted  # otherwise it may be killed before the `try`
    def respawn():
        try:
            gevlite.sleep(100)
        finally:
            if len(count) < 5:
                count.append(1)
                pool.spawn(respawn)

    pool.spawn(respawn)
    gevlite.idle()
    pool.kill(timeout=5)
    assert len(count) == 5 and len(pool) == 0 and pool.free_count() == 2


def test_kill_with_another_exception(errors):
    group = Group()
    g = group.spawn(gevlite.sleep, 100)
    gevlite.idle()
    group.kill(KeyError("reason"))
    assert isinstance(g.exception, KeyError)


def test_a_bad_exception_kills_nobody(held):
    with pytest.raises(TypeError):
        held.pool.kill("enough")
    held.pool.kill()
    assert isinstance(held.members[0].value, gevlite.GreenletExit)


def test_a_member_that_kills_its_group_is_the_last_to_go():
    group, order = Group(), []

    def victim():
        try:
            gevlite.sleep(100)
        finally:
            gevlite.sleep(0.001)
            order.append("victim")

    def killer():
        try:
            group.kill()
        finally:
            order.append("killer")

    group.spawn(victim)
    gevlite.idle()
    g = group.spawn(killer)
    g.join(timeout=5)
    assert order == ["victim", "killer"] and isinstance(g.value, gevlite.GreenletExit) and len(group) == 0


def test_a_kill_that_is_killed_leaves_nothing_linked(held):
    stubborn = Group()
    hold_on = Event()

    def member():
        try:
            gevlite.sleep(100)
        finally:
            hold_on.wait()

    stubborn.spawn(member)
    gevlite.idle()
    g = gevlite.spawn(stubborn.kill)
    gevlite.idle()
    g.kill()
    hold_on.set()
    assert stubborn.join(timeout=5)


def test_killone_kills_a_member_only(held):
    stranger = gevlite.spawn(gevlite.sleep, 100)
    gevlite.idle()
    held.pool.killone(stranger)
    assert not stranger.ready()
    stranger.kill()
    held.pool.killone(held.members[0])
    assert held.members[0].ready() and held.pool.free_count() == 1


def test_killone_of_oneself():
    group = Group()
    g = group.spawn(lambda: group.killone(gevlite.getcurrent()))
    g.join(timeout=5)
    assert isinstance(g.value, gevlite.GreenletExit)


def test_a_raw_greenlet_is_killed_and_taken_off_the_list():
    pool, seen = Pool(1), []

    def raw():
        try:
            gevlite.sleep(100)
        except gevlite.GreenletExit:
            seen.append("killed")

    pool.add(gevlite.spawn_raw(raw))
    gevlite.idle()
    pool.kill()
    gevlite.idle()
    assert seen == ["killed"] and pool.free_count() == 1


# ---------------------------------------------------------------- apply


@pytest.mark.parametrize("make", BOTH)
def test_apply_returns_or_raises(make, errors):
    group = make()
    assert group.apply(lambda a, b=0: (a, b), (1,), {"b": 2}) == (1, 2)
    assert group.apply(lambda: 3) == 3
    with pytest.raises(ValueError, match="reason"):
        group.apply(fail, ("reason",))
    assert len(group) == 0


def test_apply_by_a_member_of_a_full_pool_runs_in_place():
    pool = Pool(1)
    assert pool.apply(lambda: pool.apply(gevlite.getcurrent) is gevlite.getcurrent())


def test_a_killed_apply_leaves_its_greenlet_running(held):
    """As documented: a running call belongs to the pool."""
    pool, event = Pool(1), Event()
    g = gevlite.spawn(pool.apply, event.wait)
    gevlite.idle()
    g.kill()
    assert len(pool) == 1
    event.set()
    assert pool.join(timeout=5)


def test_apply_async_and_callbacks(errors):
    pool, called = Pool(1), []
    assert pool.apply_async(lambda: 5, callback=called.append).get() == 5
    with pytest.raises(ValueError):
        pool.apply_async(fail, callback=called.append).get()
    assert pool.apply_cb(lambda: 6, callback=called.append) == 6
    assert pool.map_cb(lambda x: x, [7], callback=called.append) == [7]
    assert pool.map_async(lambda x: x, [8], callback=called.append).get() == [8]
    gevlite.idle()
    assert called == [5, 6, [7], [8]]


def test_apply_async_of_a_full_pool_does_not_block_and_waits_its_turn(held):
    g = held.pool.apply_async(lambda: 5)
    gevlite.idle()
    assert not g.started and len(held.pool) == 1
    held.let_go()
    assert g.get(timeout=5) == 5 and held.pool.free_count() == 1


def test_apply_async_that_is_killed_before_its_turn_never_runs(held):
    ran = []
    g = held.pool.apply_async(ran.append, (1,))
    gevlite.idle()
    g.kill()
    held.let_go()
    assert held.pool.spawn(lambda: 6).get(timeout=5) == 6
    assert held.pool.free_count() == 1 and ran == []


# ---------------------------------------------------------------- map


@pytest.mark.parametrize("make", BOTH)
def test_map_keeps_the_order_and_runs_concurrently(make, clock):
    def work(n):
        gevlite.sleep(20 - n)
        return n * 2

    assert make().map(work, range(20)) == [n * 2 for n in range(20)]
    assert clock.elapsed == 20  # one after the other: 210


def test_map_of_more_items_than_places():
    pool = Pool(2)
    assert pool.map(lambda n: gevlite.sleep(0) or n, range(20)) == list(range(20))
    assert pool.map(lambda n: n, []) == [] and pool.map(lambda n: n, iter("ab")) == ["a", "b"]
    assert pool.free_count() == 2


def test_map_raises_the_first_error_in_order_and_the_others_go_on(errors, clock):
    pool, done = Pool(3), []

    def work(n):
        if n in (1, 2):
            gevlite.sleep(0.002 / n)
            fail(n)
        gevlite.sleep(0.003)
        done.append(n)

    with pytest.raises(ValueError, match="1"):
        pool.map(work, [1, 2, 3, 4])
    pool.join()
    assert done == [3, 4]


def test_an_error_of_the_iterable_is_raised_by_map():
    def items():
        yield 1
        raise KeyError("item")

    pool = Pool(2)
    with pytest.raises(KeyError):
        pool.map(lambda n: n, items())
    assert pool.join(timeout=5) and pool.free_count() == 2


@pytest.mark.parametrize("how", ["kill", "timeout", "map_async"])
def test_a_map_that_is_given_up_starts_nothing_more_and_leaves_alone_what_runs(how):
    pool, done, go_on = Pool(2), [], Event()

    @gevlite.uninterrupted  # otherwise the second may be the first to wait
    def work(n):
        go_on.wait()
        done.append(n)

    if how == "timeout":
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
            pool.map(work, range(10))
    else:
        g = pool.map_async(work, range(10)) if how == "map_async" else gevlite.spawn(pool.map, work, range(10))
        gevlite.idle()
        g.kill()
    go_on.set()
    assert pool.join(timeout=5)
    assert done == [0, 1] and pool.free_count() == 2


def test_results_of_members_that_were_killed_are_their_greenlet_exits():
    pool = Pool(2)
    g = gevlite.spawn(pool.map, gevlite.sleep, [100, 100])
    gevlite.idle()
    pool.kill()
    assert [type(value) for value in g.get(timeout=5)] == [gevlite.GreenletExit] * 2


# ---------------------------------------------------------------- imap

IMAPS = ["imap", "imap_unordered"]


@pytest.fixture(params=IMAPS, name="imap")
def imap_fixture(request):
    """`imap(pool, func, *iterables, maxsize=...)` of either kind."""
    return lambda pool, *args, **kwargs: getattr(pool, request.param)(*args, **kwargs)


class Counted:
    """The numbers below `end`, and how many have been taken."""

    def __init__(self, end=1000):
        self.taken = 0
        self.end = end

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self.end:
            raise StopIteration
        self.taken += 1
        return self.taken - 1


@pytest.mark.parametrize("make", BOTH)
def test_all_results_come(make, imap):
    assert sorted(imap(make(), lambda n: gevlite.sleep(0) or n * 2, range(100))) == list(range(0, 200, 2))
    assert list(imap(make(), len, [])) == []


def test_several_iterables_are_taken_together_as_far_as_the_shortest(imap):
    assert sorted(imap(Pool(2), lambda a, b: a + b, [1, 2, 3], [10, 20])) == [11, 22]


def test_imap_keeps_the_order_and_imap_unordered_does_not():
    def work(n):
        gevlite.sleep(3 - n)
        return n

    with VirtualClock():  # whoever sleeps longer ends later, however slow this machine is
        assert list(Group().imap(work, range(3))) == [0, 1, 2]
        assert list(Group().imap_unordered(work, range(3))) == [2, 1, 0]


def test_it_begins_before_anybody_asks(imap):
    pool, done = Pool(2), []
    results = imap(pool, done.append, range(5))
    gevlite.idle()
    assert done == list(range(5))
    assert list(results) == [None] * 5


def test_an_error_of_a_call_is_raised_in_its_place_and_the_rest_comes(imap, errors):
    results, seen = imap(Pool(1), lambda n: 6 // n, [3, 0, 2]), []
    while True:
        try:
            seen.append(next(results))
        except ZeroDivisionError:
            seen.append("error")
        except StopIteration:
            break
    assert seen == [2, "error", 3]


def test_an_error_of_the_iterable_comes_after_the_results_and_ends_it(imap, errors):
    def items():
        yield 1
        yield 2
        raise KeyError("item")

    results, seen = imap(Pool(1), lambda n: gevlite.sleep(0) or n, items()), []
    with pytest.raises(KeyError):
        for value in results:
            seen.append(value)
    assert seen == [1, 2]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)
    assert errors == []


def test_an_error_of_spawn_reaches_the_consumer(imap):
    class Refusing(Pool):
        def spawn(self, *args, **kwargs):
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(imap(Refusing(1), len, ["a"]))


def test_after_the_end_it_stays_at_its_end(imap):
    results = imap(Pool(1), len, ["a"])
    assert list(results) == [1]
    assert list(results) == []


@pytest.mark.parametrize("make", BOTH)
def test_maxsize_bounds_what_is_begun_and_not_taken(make, imap):
    items = Counted()
    results = imap(make(), lambda n: n, items, maxsize=3)
    for taken in range(5):
        gevlite.idle()
        assert items.taken == 3 + taken
        next(results)
    results.close()


@pytest.mark.parametrize("maxsize", [None, 0])
def test_without_maxsize_everything_is_begun(imap, maxsize):
    items = Counted(100)
    results = imap(Pool(3), lambda n: n, items, maxsize=maxsize)
    gevlite.idle()
    assert items.taken == 100
    assert sorted(results) == list(range(100))


def test_places_are_free_while_results_wait_to_be_taken(imap):
    pool = Pool(2)
    results = imap(pool, lambda n: n, range(10), maxsize=2)
    gevlite.idle()
    assert pool.free_count() == 2
    assert len(list(results)) == 10


@pytest.mark.parametrize("wait", ["for a place", "for room", "for its items"])
@pytest.mark.parametrize("how", ["drop", "close", "with"])
def test_a_consumer_that_goes_away_leaves_nobody_waiting(imap, how, wait, settle, hub):
    before = hub.stats()["greenlets"]
    pool, event = Pool(1), Event()
    if wait == "for a place":
        results = imap(pool, lambda n: event.wait(), range(10))
    elif wait == "for room":
        results = imap(pool, lambda n: n, range(10), maxsize=1)
    else:
        results = imap(pool, lambda n: n, (event.wait() for _ in range(10)))
    gevlite.idle()
    if how == "drop":
        del results
    elif how == "close":
        results.close()
    else:
        with results:
            pass
    event.set()
    assert settle(lambda: hub.stats()["greenlets"] == before)
    assert pool.free_count() == 1


def test_one_that_is_dropped_before_it_began_starts_nothing(imap):
    done = []
    imap(Pool(1), done.append, range(5))
    gevlite.idle()
    assert done == []


def test_calls_that_run_go_on_after_a_close(imap):
    pool, event, done = Pool(2), Event(), []
    # Otherwise the second may be the first to wait.
    results = imap(pool, gevlite.uninterrupted(lambda n: event.wait() and done.append(n)), range(10))
    gevlite.idle()
    results.close()
    event.set()
    assert pool.join(timeout=5) and done == [0, 1]
    assert list(results) == []


def test_a_generator_of_items_is_closed_with_it(imap):
    closed = Event()

    def items():
        try:
            while True:
                yield gevlite.sleep(0.001)
        finally:
            closed.set()

    results = imap(Pool(1), lambda n: n, items())
    gevlite.idle()
    results.close()
    assert closed.wait(5)


def test_close_ends_the_waiting_of_others():
    event = Event()
    results = Pool(1).imap_unordered(lambda n: event.wait(), range(3))
    g = gevlite.spawn(list, results)
    gevlite.idle()
    results.close()
    assert g.get(timeout=5) == []
    event.set()


def test_kill_while_waiting_for_a_result_loses_none(imap):
    event = Event()
    results = imap(Pool(2), lambda n: event.wait() and n, range(5))
    g = gevlite.spawn(next, results)
    gevlite.idle()
    g.kill()
    event.set()
    assert sorted(results) == list(range(5))


def test_a_timeout_while_waiting_for_a_result_loses_none(imap):
    event = Event()
    results = imap(Pool(2), lambda n: event.wait() and n, range(5))
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        next(results)
    event.set()
    assert sorted(results) == list(range(5))


@pytest.mark.parametrize("kill_first", [True, False])
def test_a_result_that_comes_as_the_consumer_is_killed_is_not_lost(imap, kill_first):
    event, got = Event(), []
    results = imap(Group(), lambda n: event.wait() and n, range(3))

    def consume():
        for value in results:
            got.append(value)
            gevlite.sleep(100)

    g = gevlite.spawn(consume)
    gevlite.idle()
    if kill_first:
        g.kill(block=False)
        event.set()
    else:
        event.set()
        gevlite.idle()
        g.kill(block=False)
    g.join()
    assert sorted(got + list(results)) == [0, 1, 2]


def test_several_consumers_share_the_results(imap):
    results = imap(Pool(3), lambda n: gevlite.sleep(0.0001 * (n % 3)) or n, range(60), maxsize=5)
    consumers = [gevlite.spawn(list, results) for _ in range(4)]
    got = [g.get(timeout=5) for g in consumers]
    assert sorted(value for part in got for value in part) == list(range(60))


def test_consumers_of_an_ordered_one_are_served_in_their_order():
    gate = Event()
    results = Group().imap(lambda n: gate.wait() and n, range(5))
    consumers = [gevlite.spawn(next, results) for _ in range(5)]
    gevlite.idle()
    gate.set()
    assert [g.get(timeout=5) for g in consumers] == [0, 1, 2, 3, 4]


def test_a_killed_pool_ends_what_runs_and_the_results_say_so(imap):
    pool = Pool(2)
    results = imap(pool, gevlite.sleep, [100, 100])
    gevlite.idle()
    pool.kill()
    assert [type(value) for value in results] == [gevlite.GreenletExit] * 2


def test_items_are_not_kept(imap):
    class Item:
        pass

    items = [Item() for _ in range(3)]
    refs = [weakref.ref(item) for item in items]
    results = imap(Pool(1), lambda item: None, iter([items.pop() for _ in range(3)]), maxsize=1)
    for _ in range(3):
        next(results)
    gevlite.idle()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3
    results.close()


# ---------------------------------------------------------------- threads


def test_a_pool_shared_by_threads_never_has_more_than_its_size(fast_thread_switches):
    pool, running, most, done = Pool(3), [], [], []

    def work():
        running.append(1)
        most.append(len(running))
        gevlite.sleep(0.0001)
        running.pop()
        done.append(1)

    def thread():
        gevlite.joinall([pool.spawn(work) for _ in range(50)])

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert len(done) == 150 and max(most) <= 3
    assert pool.free_count() == 3 and len(pool) == 0


def test_a_place_that_another_thread_frees_wakes_who_waits_for_it_here():
    pool, begun, end, release = Pool(1), threading.Event(), threading.Event(), threading.Event()

    def member():
        begun.set()
        while not end.is_set():
            gevlite.sleep(0.001)

    def thread():
        pool.spawn(member).join()
        release.wait(30)

    t = threading.Thread(target=thread)
    t.start()
    begun.wait(30)
    assert pool.full()
    waiting = gevlite.spawn(lambda: pool.spawn(lambda: 5).get(timeout=20))
    gevlite.sleep(0)
    end.set()
    assert waiting.get(timeout=20) == 5
    release.set()
    t.join()


def test_members_of_a_thread_that_ends_give_their_places_back():
    pool = Pool(2)

    def thread():
        for _ in range(2):
            pool.spawn(gevlite.sleep, 100)
        gevlite.idle()

    t = threading.Thread(target=thread)
    t.start()
    t.join(30)
    assert pool.spawn(lambda: 5).get(timeout=5) == 5
    assert pool.free_count() == 2


def test_join_and_kill_reach_members_of_another_thread():
    group, begun = Group(), threading.Event()
    values = []

    def thread():
        g = group.spawn(gevlite.sleep, 100)
        gevlite.idle()
        begun.set()
        g.join()
        values.append(g.value)

    t = threading.Thread(target=thread)
    t.start()
    begun.wait(30)
    assert group.join(timeout=0.001) is False
    group.kill(timeout=5)
    t.join(30)
    assert len(group) == 0 and isinstance(values[0], gevlite.GreenletExit)


def test_join_from_two_threads_while_members_come_and_go(fast_thread_switches):
    group = Group()
    stop, joined = threading.Event(), []

    def joiner():
        while not stop.is_set():
            joined.append(group.join(timeout=5))

    t = threading.Thread(target=joiner)
    t.start()
    for _ in range(300):
        group.spawn(gevlite.sleep, 0).join()
    assert group.join(timeout=5)
    stop.set()
    t.join(30)
    assert all(joined)


# ---------------------------------------------------------------- fork, memory


def test_works_on_after_fork(run_script):
    run_script("""
        import os, gevlite
        from gevlite.event import Event
        from gevlite.pool import Pool
        pool, event = Pool(1), Event()
        member = pool.spawn(event.wait)
        waiting = gevlite.spawn(pool.spawn, lambda: 5)
        results = Pool(2).imap(lambda n: event.wait() and n, range(5))
        gevlite.idle()
        pid = os.fork()
        event.set()
        assert waiting.get(timeout=5).get(timeout=5) == 5
        assert list(results) == list(range(5))
        assert pool.map(lambda n: n * 2, range(3)) == [0, 2, 4]
        assert pool.join(timeout=5) and pool.free_count() == 1
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            os._exit(0)
    """)


def test_a_pool_nobody_refers_to_is_freed():
    for make in BOTH:
        group = make()
        assert group.map(lambda n: n, range(3)) == [0, 1, 2]
        assert list(group.imap(lambda n: n, range(3))) == [0, 1, 2]
        never_started = Greenlet(lambda: None)
        group.add(never_started)
        ref = weakref.ref(group)
        del group, never_started
        gc.collect()
        assert ref() is None


def test_many_who_time_out_or_are_killed_leave_all_places_free():
    pool, busy = Pool(4), Semaphore(1)

    def work(n):
        with busy:
            gevlite.sleep(0.00005 * (n % 5))

    def client(n):
        try:
            with gevlite.Timeout(0.0005 * (n % 7 + 1)):
                pool.spawn(work, n)
                pool.apply(work, (n,))
        except gevlite.Timeout:
            pass

    clients = [gevlite.spawn(client, n) for n in range(200)]
    for victim in clients[::9]:
        gevlite.idle()
        victim.kill(block=False)
    gevlite.joinall(clients, raise_error=True)
    assert pool.join(timeout=10) and pool.free_count() == 4 and busy.counter == 1


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("make", [Group, lambda: Pool(4)])
def test_callbacks_have_run_when_join_returns(make):
    results = []
    pool = make()
    for n in range(4):
        pool.apply_async(lambda n: n, (n,), callback=results.append)
    assert pool.join() is True
    assert sorted(results) == [0, 1, 2, 3]


@pytest.mark.uninterrupted  # else a member can end before its link is there
@pytest.mark.parametrize("link", ["link", "link_value", "rawlink"])
def test_links_of_members_have_run_when_join_returns(link):
    seen = []
    pool = Pool(2)
    for n in range(2):
        getattr(pool.spawn(lambda n=n: n), link)(seen.append)  # no Python function, which could be interrupted
    pool.join()
    assert sorted(source.value for source in seen) == [0, 1]


def test_join_waits_for_new_members_when_links_of_the_last_ones_are_still_to_run():
    pool, seen = Pool(2), []
    member = gevlite.Greenlet(dict)  # no Python function, which could be interrupted
    member.link(seen.append)
    pool.start(member)
    gevlite.sleep(0)  # it has ended, and the hub has not called the link
    assert not pool.greenlets and not seen
    other = pool.spawn(gevlite.sleep, 0.01)
    assert pool.join() is True and other.ready() and seen == [member]


@pytest.mark.parametrize("link", ["link", "link_value", "rawlink"])
def test_links_of_the_last_member_have_run_when_a_join_after_its_end_returns(link):
    pool, seen = Pool(1), []
    member = gevlite.Greenlet(dict)  # no Python function, which could be interrupted
    getattr(member, link)(seen.append)
    pool.start(member)
    gevlite.sleep(0)  # it has ended, and the hub has not called the link
    assert not pool.greenlets and not seen
    assert pool.join() is True and seen == [member]
    pool.start(gevlite.Greenlet(gevlite.sleep, 0.001))
    assert pool.join() is True


def test_a_join_in_a_link_of_the_last_member_does_not_wait_for_that_link():
    pool, seen = Pool(1), []
    for link in ("link", "rawlink"):
        member = gevlite.Greenlet(dict)
        getattr(member, link)(lambda source: seen.append(pool.join(timeout=30)))
        pool.start(member)
        pool.join()
    gevlite.idle()
    assert seen == [True, True]


def test_a_callback_has_run_one_turn_after_get():
    seen = []
    job = Pool(1).apply_async(lambda: 49, callback=seen.append)
    assert job.get() == 49
    gevlite.idle()
    assert seen == [49]


def test_the_place_is_free_when_a_link_is_called():
    pool = Pool(1)
    free = []
    g = pool.spawn(lambda: None)
    g.rawlink(lambda source: free.append((pool.free_count(), source in pool)))
    g.join()
    assert free == [(1, False)]


def test_discarding_a_member_that_has_links_ends_join():
    group = Group()
    g = gevlite.spawn(gevlite.sleep, 1000)
    g.link(print)
    group.add(g)
    waiting = gevlite.spawn(group.join)
    gevlite.idle()
    group.discard(g)
    assert waiting.get(timeout=5) is True
    g.unlink(print)
    g.kill()


def test_the_greenlets_of_a_group_are_as_a_set_but_in_order():
    group = Group()
    first, second = [group.spawn(gevlite.sleep, 60) for _ in range(2)]
    shown = group.greenlets
    assert list(shown) == [first, second] and shown == {first, second} and first in shown and len(shown) == 2
    before = shown.copy()
    group.kill()
    assert before == {first, second} and isinstance(before, set) and not shown and not group.greenlets
