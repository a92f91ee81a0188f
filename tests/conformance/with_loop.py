"""Has asyncio make loops of `gevlite.asyncio`, and nothing else patched: `runner.py --loop`."""

import asyncio

from gevlite.asyncio import EventLoop


class Loop(EventLoop):
    """Replaces `asyncio.SelectorEventLoop`, which the tests also call with a selector."""

    def __init__(self, selector=None):
        if selector is not None:
            selector.close()
        super().__init__()


def install():
    policies = asyncio.events, asyncio.unix_events
    for name in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy", "_UnixDefaultEventLoopPolicy"):
        for module in policies:
            policy = getattr(module, name, None)
            if policy is not None:
                policy._loop_factory = Loop
    for name in ("SelectorEventLoop", "EventLoop"):
        for module in (asyncio, asyncio.unix_events):
            if hasattr(module, name):
                setattr(module, name, Loop)
