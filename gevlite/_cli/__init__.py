"""Modules that only the command line `python -m gevlite` uses, one for each command."""
