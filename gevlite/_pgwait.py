"""How psycopg2 waits for the server: in its wait callback. For `gevlite.integrations.psycopg2` and `gevlite.monkey`."""

from gevlite.socket import wait_read, wait_write

__all__ = ["wait"]


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
