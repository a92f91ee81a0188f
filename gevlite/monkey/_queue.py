"""`queue`: SimpleQueue. The other queues use locks and become cooperative with `patch_thread`."""

from gevlite.monkey._engine import adopt, patch_twin
from gevlite.monkey._patching import patcher

__all__ = ["patch_queue"]


@patcher
def patch_queue():
    """Make `queue.SimpleQueue` cooperative, and with it the executors of `concurrent.futures`."""
    patch_twin("queue")
    from gevlite import _adopted

    adopt("queue.SimpleQueue objects", _adopted.adopt_queue)
