"""Choosing one of several implementations by a setting: the common part of backends and resolvers."""

import importlib
from collections.abc import Callable, Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


class Choice:
    """kind: the word for messages. error: the exception class. available: returns `{name: None or a problem}`."""

    def __init__(self, kind: str, error: type[RuntimeError], available: Callable[[], dict[str, str | None]]) -> None:
        self.kind = kind
        self.error = error
        self.available = available

    def usable(self) -> str:
        """The end of a message: the usable ones."""
        return "usable here: " + ", ".join(name for name, problem in self.available().items() if problem is None)

    def in_order(self, wanted: str | Iterable[object], source: str) -> list[object]:
        """The choices in `wanted`, a string with commas or a sequence, the preferred one first. source: its origin."""
        parts = wanted.split(",") if isinstance(wanted, str) else wanted
        choices = [part.strip() if isinstance(part, str) else part for part in parts]
        choices = [choice for choice in choices if choice]
        if not choices:
            raise self.error(f"{source} names no {self.kind}; {self.usable()}")
        return choices

    def first(self, choices: Iterable[object], make: "Callable[[object], _T]", failure: str) -> "_T":
        """`make` of the first choice for which it does not raise `error`. failure: the message's beginning if all
        fail."""
        problems = []
        for choice in choices:
            try:
                return make(choice)
            except self.error as exc:
                problems.append(exc)
        cause = problems[0].__cause__ if len(problems) == 1 else None
        raise self.error(f"{failure}: {'; '.join(map(str, problems))}; {self.usable()}") from cause

    def problem(self, make: Callable[[object], object], choice: object) -> str | None:
        """The reason why `make` of this choice fails, or None if it succeeds."""
        try:
            make(choice)
        except self.error as exc:
            return str(exc)
        return None

    def imported(self, target: str, name: object, explain: Callable[[Exception], str]) -> object:
        """The object named by `module:attribute`. explain: the text for a failed import, after the choice's `name`."""
        module, _, attribute = (part.strip() for part in target.partition(":"))
        try:
            found: object = importlib.import_module(module)
        except Exception as exc:  # whatever a plug-in does while it is imported
            raise self.error(f"{name}{explain(exc)}") from exc
        for part in attribute.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise self.error(f"{name}: module {module!r} has no {attribute!r}") from None
        return found
