"""psycopg2: make its connections wait on the hub instead of in libpq.

::

    from gevlite import monkey; monkey.patch_all()
    from gevlite.integrations import psycopg2 as green
    green.patch()

`monkey.patch_all()` does this by itself if `gevlite.config.monkey_drivers` is true.

psycopg 3 does not need this: after `monkey.patch_select()` it waits in Python.
"""

from typing import Any

__all__ = ["patch", "unpatch", "wait"]

def patch() -> None:
    """Make every connection of psycopg2, existing ones too, block only the greenlet that uses it.

    Raises ImportError without psycopg2. psycopg2 refuses COPY and large objects on such connections (see its
    documentation, "Support for coroutine libraries"). Only one greenlet may use a connection at a time.
    """

def unpatch() -> None:
    """Make psycopg2 wait in libpq again."""

# A psycopg2.extensions.connection.
def wait(connection: Any) -> None:
    """Block until the connection has finished its query; called by psycopg2.

    If a Timeout or `kill` ends the wait early, it is raised in the query, and psycopg2 closes the connection, because
    its state is not known.
    """
