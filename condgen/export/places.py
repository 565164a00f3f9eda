"""Where data lie on a machine concerns nobody else: the last part of a path stands for it."""

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["last_part", "without_place"]


def last_part(root: str) -> str:
    """What a folder of data is called, or nothing where its path does not tell, as of `.` and `..`."""
    return Path(root).name.replace("..", "")


def without_place(text: str, root: str, dress: Callable[[str], str] = str) -> str:
    """Text with the name of a folder in the place of its path.

    A path of one part is a name already, and may occur in any text as a word or, as `.` does, everywhere. A longer one
    is replaced where it stands for itself, not within a longer word, a tag or an address.

    Args:
        text: of a file.
        root: of data.
        dress: how the file writes text.
    """
    path = Path(root)
    if not last_part(root) or not (path.is_absolute() or len(path.parts) > 1):
        return text
    shown = dress(last_part(root))
    return re.sub(rf"(?<![\w.<+/-]){re.escape(dress(root))}(?![\w+-])", lambda _: shown, text)
