"""For the programs that the tests run: a check that they run on gevlite."""

import os
import sys


def check():
    """`"gevlite"`, if every module of gevent that this process has imported is gevlite's, and there is one."""
    import gevlite

    folder = os.path.dirname(gevlite.__file__)
    found = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "gevent"}
    others = {name: file for name, file in found.items() if not file.startswith(folder)}
    assert found and not others, others
    assert sys.modules["gevent"].spawn is gevlite.spawn
    return "gevlite"
