"""What ends an export."""


class ExportError(Exception):
    """A detector that cannot be exported, or a file that does not compute what it should."""
