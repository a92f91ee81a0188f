"""`-p gevlite.testing.plugin`: gevlite's plug-in for pytest, for runs in which pytest loads no entry points.

The same as `-p gevlite`. docs/testing.md says what it does.
"""

import gevlite_pytest

__all__ = []


def pytest_addoption(pluginmanager):
    if not pluginmanager.has_plugin("gevlite"):
        pluginmanager.register(gevlite_pytest, "gevlite")  # as the entry point would be
