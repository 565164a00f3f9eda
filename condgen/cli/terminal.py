"""The console of all commands."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from condgen.errors import shown


class _Quoting(Console):
    """Shows control characters in names that others chose, instead of obeying them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


console = _Quoting(highlight=False)


class Stopped(Exception):
    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped, nothing is lost: the same command resumes from here")
        self.exit_code = 128 + signal_number


def say(text: str) -> None:
    """Prints plain text, without markup or wrapping."""
    console.print(text, markup=False, soft_wrap=True)
