"""The order in which greenlets run, as everybody learns it first."""

import greenlet

import gevlite


def test_switching_by_hand():
    order = []

    def first():
        order.append(1)
        two.switch()
        order.append(2)

    def second():
        order.append(3)
        one.switch()
        order.append("never")

    one = greenlet.greenlet(first)
    two = greenlet.greenlet(second)
    assert gevlite.getcurrent() is greenlet.getcurrent()
    one.switch()
    assert order == [1, 3, 2]
    assert one.dead and not two.dead


def test_switching_by_sleep():
    order = []

    def first():
        order.append(1)
        gevlite.sleep(0)
        order.append(2)

    def second():
        order.append(3)

    gevlite.joinall([gevlite.spawn(first), gevlite.spawn(second)])
    assert order == [1, 3, 2]


def test_a_busy_loop_that_gives_way_lets_a_timer_run_on_time():
    """The timer greenlet has run long before the loop ends, and not much later than asked for."""
    woken = []

    def timer():
        for n in range(1, 6):
            gevlite.sleep(0.01)
            woken.append((n, steps))

    steps = 0
    greenlet = gevlite.spawn(timer)
    while steps < 50_000_000 and len(woken) < 5:
        steps += 1
        if steps % 1000 == 0:
            gevlite.sleep(0)
    assert [n for n, _ in woken] == [1, 2, 3, 4, 5]
    # It was woken while the loop was going on, each time a little later.
    at = [step for _, step in woken]
    assert at == sorted(set(at)) and 0 < at[0] and at[-1] < 50_000_000
    greenlet.join()
