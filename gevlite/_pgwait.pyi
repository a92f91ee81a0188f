"""How psycopg2 waits for the server: in its wait callback. For `gevlite.integrations.psycopg2` and `gevlite.monkey`."""

from typing import Any

__all__ = ["wait"]

# A psycopg2.extensions.connection.
def wait(connection: Any) -> None:
    """Block until the connection has finished its query; called by psycopg2.

    If a Timeout or `kill` ends the wait early, it is raised in the query, and psycopg2 closes the connection, because
    its state is not known.
    """
