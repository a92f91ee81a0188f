"""psycopg2: let its connections wait on the hub instead of in libpq.

::

    from gevlite import monkey; monkey.patch_all()
    from gevlite.integrations import psycopg2 as green
    green.patch()

psycopg 3 needs nothing of this: `monkey.patch_select()` has it wait in Python.
"""

from gevlite.socket import wait_read, wait_write

__all__ = ["patch", "unpatch", "wait"]


def patch():
    """Let every connection of psycopg2, existing ones too, block only the greenlet that uses it.

    Raises ImportError without psycopg2. What green connections cannot do, psycopg2 refuses: COPY and large objects
    (its documentation, "Support for coroutine libraries"). A connection is for one greenlet at a time.
    """
    from psycopg2 import extensions

    extensions.set_wait_callback(wait)


def unpatch():
    """Let psycopg2 wait in libpq again."""
    from psycopg2 import extensions

    extensions.set_wait_callback(None)


def wait(connection):
    """Block until the connection has done what was asked of it; psycopg2 calls it.

    What ends the wait early, a Timeout or `kill`, is raised in the query, and psycopg2 closes the connection then, as
    nobody could know what state it is in.
    """
    from psycopg2 import extensions

    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        if state == extensions.POLL_READ:
            wait_read(connection.fileno())
        elif state == extensions.POLL_WRITE:
            wait_write(connection.fileno())
        else:
            raise extensions.OperationalError(f"unexpected state of a connection: {state}")
