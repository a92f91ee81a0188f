"""psycopg2: make its connections wait on the hub instead of in libpq.

::

    from gevlite import monkey; monkey.patch_all()
    from gevlite.integrations import psycopg2 as green
    green.patch()

`monkey.patch_all()` does this by itself if `gevlite.config.monkey_drivers` is true.

psycopg 3 does not need this: after `monkey.patch_select()` it waits in Python.
"""

from gevlite._pgwait import wait

__all__ = ["patch", "unpatch", "wait"]


def patch():
    """Make every connection of psycopg2, existing ones too, block only the greenlet that uses it.

    Raises ImportError without psycopg2. psycopg2 refuses COPY and large objects on such connections (see its
    documentation, "Support for coroutine libraries"). Only one greenlet may use a connection at a time.
    """
    from psycopg2 import extensions

    extensions.set_wait_callback(wait)


def unpatch():
    """Make psycopg2 wait in libpq again."""
    from psycopg2 import extensions

    extensions.set_wait_callback(None)
