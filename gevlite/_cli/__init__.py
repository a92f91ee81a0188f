"""The command line's insides: what only `python -m gevlite` uses, one module a command."""
