"""The applications of test_async_views.py: `flask_application` and `django_application`, with async views.

`/<number>?together=N` answers with the view's findings, as JSON, when N of the views have been inside at once.
"""

import asyncio
import contextvars
import json
import sys
import threading
import time
import types

import django
import flask
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from gevlite import monkey
from gevlite.asyncio import EventLoop

os_thread = monkey.get_original("_thread", "get_ident")

number = contextvars.ContextVar("number")
here = threading.local()
inside = peak = 0


async def meet(wanted):
    """Wait until as many views as that have been here at once."""
    global inside, peak
    inside += 1
    peak = max(peak, inside)
    deadline = time.monotonic() + 40
    while peak < wanted:
        assert time.monotonic() < deadline, f"at most {peak} at once"
        await asyncio.sleep(0.002)
    inside -= 1


async def nested(loop):
    await asyncio.sleep(0)
    assert asyncio.get_running_loop() is loop
    return number.get()


def blocks(loop):
    """In a thread or greenlet without a loop. It makes calls that block, and goes back to the loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise AssertionError("a loop runs here")
    here.number = number.get()
    time.sleep(0.001)
    assert here.number == number.get() == async_to_sync(nested)(loop)
    return os_thread()


async def answer(wanted, value):
    loop = asyncio.get_running_loop()
    number.set(value)
    await meet(wanted)
    doubles = await asyncio.gather(*(asyncio.sleep(0.001 * i, 2 * value) for i in range(3)))
    first, second, third = await asyncio.gather(
        sync_to_async(blocks, thread_sensitive=True)(loop),
        sync_to_async(blocks, thread_sensitive=False)(loop),
        asyncio.to_thread(os_thread),
    )
    time.sleep(0.001)
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is not None
    assert number.get() == value
    return {
        "number": value,
        "doubles": doubles,
        "gevlite": type(loop) is EventLoop,
        "in the caller's thread": first == os_thread(),
        "in OS threads": os_thread() not in (second, third),
        "peak": peak,
    }


# ---------------------------------------------------------------- Flask

flask_application = flask.Flask(__name__)


@flask_application.get("/<int:value>")
async def flask_view(value):
    before = flask.request.path
    found = await answer(int(flask.request.args["together"]), value)
    assert flask.request.path == before == f"/{value}"
    return flask.Response(json.dumps(found), mimetype="application/json")


# ---------------------------------------------------------------- Django


class Middleware:
    """A middleware for sync views only: Django goes from one way to the other and back."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["X-Path"] = request.path
        return response


async def django_view(request, value):
    return JsonResponse(await answer(int(request.GET["together"]), value))


urls = types.ModuleType("urls_of_async_views")
urls.urlpatterns = [path("<int:value>", django_view)]
sys.modules[urls.__name__] = urls
settings.configure(
    ROOT_URLCONF=urls.__name__,
    MIDDLEWARE=[f"{__name__}.Middleware"],
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="x",
    LOGGING_CONFIG=None,
)
django.setup()
django_application = get_wsgi_application()
