"""Choosing one of several implementations, as a setting names it: what backends and resolvers have in common."""

import importlib
from collections.abc import Callable, Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


class Choice:
    """kind: the word for what is chosen. error: what is raised. available: finds `{name: None or a problem}`."""

    def __init__(self, kind: str, error: type[RuntimeError], available: Callable[[], dict[str, str | None]]) -> None:
        self.kind = kind
        self.error = error
        self.available = available

    def usable(self) -> str:
        """For the end of a message: which of them can be used here."""
        return "usable here: " + ", ".join(name for name, problem in self.available().items() if problem is None)

    def in_order(self, wanted: str | Iterable[object], source: str) -> list[object]:
        """The choices in `wanted`, a text with commas or a sequence, the favourite first. source: where it is from."""
        parts = wanted.split(",") if isinstance(wanted, str) else wanted
        choices = [part.strip() if isinstance(part, str) else part for part in parts]
        choices = [choice for choice in choices if choice]
        if not choices:
            raise self.error(f"{source} names no {self.kind}; {self.usable()}")
        return choices

    def first(self, choices: Iterable[object], make: "Callable[[object], _T]", failure: str) -> "_T":
        """`make` of the first choice for which that raises no `error`. failure: how the message begins without one."""
        problems = []
        for choice in choices:
            try:
                return make(choice)
            except self.error as exc:
                problems.append(exc)
        cause = problems[0].__cause__ if len(problems) == 1 else None
        raise self.error(f"{failure}: {'; '.join(map(str, problems))}; {self.usable()}") from cause

    def problem(self, make: Callable[[object], object], choice: object) -> str | None:
        """Why `make` of this choice fails, or None if it does not."""
        try:
            make(choice)
        except self.error as exc:
            return str(exc)
        return None

    def imported(self, target: str, name: object, explain: Callable[[Exception], str]) -> object:
        """What `module:attribute` names. explain: what to say of an import that failed, after the choice's `name`."""
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
