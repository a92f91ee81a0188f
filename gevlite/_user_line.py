"""Which of the calls on a stack is the program's own: the line that a message about a wait should show.

The innermost frames of a call that waits mostly belong to gevlite, the standard library or an installed package. A
reader knows the line of their own code that made the call.
"""

import os

__all__ = ["distance", "in_words", "is_compiled", "is_own", "nearest", "of_traceback", "shown_path"]

_GEVLITE = os.path.dirname(__file__) + os.sep
_COMPILED = ("gevlite/", "backends/")  # as Cython has them in tracebacks
_STANDARD = os.path.dirname(os.__file__) + os.sep
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def distance(filename, gevlite=_GEVLITE, standard=_STANDARD):
    """How far from the program's own code a file is: 0 its own, 1 a package, 2 the standard library, 3 gevlite.

    gevlite, standard: the folders of these two in the process that the file comes from; empty if they are not known.
    """
    if gevlite and filename.startswith(gevlite):
        return 3
    if is_compiled(filename):
        return 3
    if any(part in filename for part in _PACKAGES):
        return 1
    return 2 if filename.startswith("<frozen ") or standard and filename.startswith(standard) else 0


def is_compiled(filename):
    """True for a file of gevlite's compiled modules, as tracebacks name it."""
    return filename.endswith((".pyx", ".pxi")) and filename.startswith(_COMPILED)


def is_own(filename):
    """True for a file of the program itself: neither of the standard library nor of an installed package."""
    return distance(filename) == 0


def nearest(places, otherwise=(None,), distance=distance):
    """The first of the places nearest to the program's own code; the first of `otherwise` if all are gevlite's.

    places: tuples that begin with a filename, innermost first.
    """
    best, least = otherwise[0], 3
    for place in places:
        found = distance(place[0])
        if found < least:
            best, least = place, found
            if not found:
                break
    return best


def of_traceback(traceback):
    """`(file, line, function)` of the program's innermost call below which the exception of a traceback was raised.

    If there is none, that of an installed package, else of the standard library; None if there are only gevlite's.
    """
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return nearest(reversed(places))


def shown_path(filename):
    """A path for people: relative if it is below the current folder."""
    try:
        folder = os.path.join(os.getcwd(), "")
    except OSError:
        return filename
    return filename[len(folder) :] if filename.startswith(folder) else filename


def in_words(place):
    """`function (file.py:12)`."""
    file, line, function = place
    return f"{function} ({shown_path(file)}:{line})"
