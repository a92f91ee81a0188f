"""The lag of the loop: how long its rounds take."""

import asyncio
import time

import gevlite
import gevlite.asyncio
from gevlite import _probe
from gevlite._report import Report
from gevlite.event import Event


def lag():
    """`(seconds, rounds by limit)` of this thread's hub, once the round that runs now is over."""
    gevlite.sleep(0.001)
    return lag_now()


def lag_now():
    report = Report(_probe.collect())
    [hub] = [hub for hub in report.hubs if hub.id == id(gevlite.get_hub())]
    return hub.lag_seconds, dict(zip([*report.lag_limits, None], hub.lags, strict=True))


def longer_than(limit, rounds):
    return sum(count for upto, count in rounds.items() if upto is None or upto > limit)


def test_a_greenlet_that_holds_up_the_loop_makes_its_round_long():
    seconds, rounds = lag()
    gevlite.spawn(time.sleep, 0.25).join()
    later, more = lag()
    assert later - seconds > 0.2
    assert longer_than(0.2, more) >= longer_than(0.2, rounds) + 1


def test_a_callback_of_the_hub_counts_too():
    _, rounds = lag()
    gevlite.get_hub().call_soon(time.sleep, 0.25)
    gevlite.sleep(0.001)
    assert longer_than(0.2, lag()[1]) >= longer_than(0.2, rounds) + 1


def test_the_time_in_which_a_callback_waits_is_no_lag():
    done = Event()

    def call():
        time.sleep(0.25)
        gevlite.sleep(0.5)
        done.set()

    began = time.monotonic()
    seconds, rounds = lag()
    gevlite.get_hub().call_soon(call)
    done.wait()
    later, more = lag()
    assert longer_than(0.2, more) >= longer_than(0.2, rounds) + 1
    ticks = 0.01 * (sum(more.values()) - sum(rounds.values()))
    assert later - seconds <= time.monotonic() - began - 0.5 + ticks


def test_a_round_lasts_until_all_that_was_ready_has_run():
    # None of them takes longer than a turn is allowed to.
    def work():
        for _ in range(3):
            time.sleep(0.003)
            gevlite.sleep(0)

    _, rounds = lag()
    gevlite.joinall([gevlite.spawn(work) for _ in range(100)])
    assert longer_than(0.2, lag()[1]) >= longer_than(0.2, rounds) + 2


def in_a_host(work):
    """The seconds of lag, and the rounds before and after it, of a greenlet that does `work` in asyncio's loop."""
    go_on = Event()

    def run():
        go_on.wait()
        work()

    async def main():
        with gevlite.asyncio.attach():
            one = gevlite.spawn(run)
            while not go_on.linkcount():
                await asyncio.sleep(0.001)
            seconds, before = lag_now()
            go_on.set()  # so that it is ready before the hub's turn begins
            while not one.dead:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
            later, after = lag_now()
        return later - seconds, before, after

    return asyncio.run(main())


def test_greenlets_of_a_guest_count_too():
    seconds, before, after = in_a_host(lambda: time.sleep(0.25))
    assert seconds > 0.2
    assert longer_than(0.2, after) >= longer_than(0.2, before) + 1


def test_the_time_in_which_a_host_waits_is_no_lag():
    began = time.monotonic()
    seconds, before, after = in_a_host(lambda: gevlite.sleep(0.5))
    ticks = 0.01 * (sum(after.values()) - sum(before.values()))
    assert seconds <= time.monotonic() - began - 0.5 + ticks


def test_a_loop_of_asyncio_counts_what_it_runs_and_not_its_waits():
    async def main():
        began = time.monotonic()
        await asyncio.sleep(0.001)
        seconds, before = lag_now()
        await asyncio.sleep(0.5)
        time.sleep(0.25)
        await asyncio.sleep(0.001)
        later, after = lag_now()
        return later - seconds, before, after, time.monotonic() - began

    with asyncio.Runner(loop_factory=gevlite.asyncio.EventLoop) as runner:
        seconds, before, after, elapsed = runner.run(main())
    assert longer_than(0.2, after) >= longer_than(0.2, before) + 1
    assert seconds <= elapsed - 0.5 + 0.01 * (sum(after.values()) - sum(before.values()))


def test_rest_is_no_lag():
    began = time.monotonic()
    seconds, rounds = lag()
    gevlite.sleep(0.5)
    later, more = lag()
    ticks = 0.01 * (sum(more.values()) - sum(rounds.values()))  # of the coarse clock
    assert later - seconds <= time.monotonic() - began - 0.5 + ticks


def test_each_turn_of_greenlets_that_are_always_ready_is_a_round():
    def spin():
        for _ in range(2000):
            gevlite.sleep(0)

    _, rounds = lag()
    gevlite.joinall([gevlite.spawn(spin) for _ in range(2)])
    made = sum(lag()[1].values()) - sum(rounds.values())
    assert made >= 4000 // 256, "256 switches at most are in one turn"
