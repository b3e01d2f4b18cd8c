"""What ends an export."""

from tubedet.errors import UserError


class ExportError(UserError):
    """A detector that cannot be exported, or a file that does not compute what it should."""


def first_line(error: BaseException) -> str:
    """Type and first line of an error, whose other lines are advice about PyTorch's insides."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def root_cause(error: BaseException) -> BaseException:
    """Return the first of the errors that led to an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
