"""The one exception that a user is meant to read: a line that says what is wrong and what to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

_LONGEST, _LONGEST_REASON = 2000, 200  # characters of a line that anybody reads, and of what a library says in it
_PICTURES = {sign: 0x2400 + sign for sign in range(0x20) if chr(sign) not in "\t\n"} | {0x7F: 0x2421}
_STRANGE = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
_SHOWN = _PICTURES | dict.fromkeys(_STRANGE, 0xFFFD)

UNSUITABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the code of libraries raises where values do not suit it."""


def shown(text: str) -> str:
    """Text without the characters that a terminal obeys, each of which becomes its picture, such as ␛, or a �."""
    return text.translate(_SHOWN)


def one_line(text: str) -> str:
    return shown(" ".join(text.split()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the known name that is most like this one, in any case; empty where none is near."""
    folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean {folded[close[0]]!r}?" if close else ""


class UserError(Exception):
    """Something that the user can mend. Its text is one line, names the culprit, and says what to do next."""

    def __init__(self, text: str) -> None:
        line = one_line(text)
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 3 :]}")


@contextmanager
def explain(problem: str, advice: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds into a UserError: the problem, in brackets the reason that they give, the advice."""
    try:
        yield
    except kinds as error:
        reason = one_line(str(getattr(error, "strerror", None) or error))[:_LONGEST_REASON] or type(error).__name__
        raise UserError(f"{problem} ({reason}): {advice}") from error


@contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """Around imports: turns the lack of a package into a UserError that names the extra which brings it."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"the package {error.name} is missing: pip install 'condgen[{extra}]'") from error
