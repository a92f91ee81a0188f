"""psycopg2: make its connections wait on the hub instead of in libpq.

::

    from gevlite import monkey; monkey.patch_all()
    from gevlite.integrations import psycopg2 as green
    green.patch()

psycopg 3 does not need this: after `monkey.patch_select()` it waits in Python.
"""

from gevlite.socket import wait_read, wait_write

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


def wait(connection):
    """Block until the connection has finished its query; called by psycopg2.

    If a Timeout or `kill` ends the wait early, it is raised in the query, and psycopg2 closes the connection, because
    its state is not known.
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
