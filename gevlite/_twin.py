"""What the twins of standard modules have in common.

A twin says in `__implements__` what it does itself; everything else, `__imports__`, is the original's.
"""

import types


def present(original, *names):
    """Those of `names` that the original has on this platform and in this version of Python."""
    return [name for name in names if hasattr(original, name)]


def names_beside(implements, original, private=False):
    """The original's names that are not in `implements`; with `private`, also those with one underscore."""
    hidden = "__" if private else "_"
    return [name for name in dir(original) if not name.startswith(hidden) and name not in implements]


def take_over(namespace, original, names):
    """Put these names of the original into `namespace`, a twin's `globals()`. Returns them."""
    namespace.update({name: getattr(original, name) for name in names})
    return names


def with_globals(function, namespace):
    """The same function, looking up global names in `namespace`, a module's."""
    made = types.FunctionType(
        function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__doc__ = function.__doc__
    made.__qualname__ = function.__qualname__
    made.__module__ = namespace["__name__"]
    return made
