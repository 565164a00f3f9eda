"""The one exception that a user is meant to read: a single line that says what is wrong and what to do."""

__all__ = ["UserError"]


class UserError(Exception):
    """Something that the user can mend. Its text is one line, names the culprit, and says what to do next."""
