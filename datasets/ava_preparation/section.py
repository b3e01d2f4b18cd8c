"""Which part of the films is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .batch import PreparationError, read_record


@dataclass(frozen=True)
class Section:
    """The annotated part of the films.

    Attributes:
        start: its first second.
        length: seconds.
    """

    start: float = 900.0
    length: float = 901.0

    @property
    def arguments(self) -> list[str]:
        """Return ffmpeg's options in front of the input."""
        return ["-ss", f"{self.start:g}", "-t", f"{self.length:g}"]


def trimmed_section(trimmed: Path, **options: float) -> Section:
    """Return the section that the trimmed videos hold; steps that read them must use it.

    Args:
        trimmed: folder of the trimmed videos.
        options: ``start`` and ``length``, as far as the user gave them.

    Returns:
        Section: that in the record of the folder; without a record, the options or their defaults.

    Raises:
        PreparationError: an option contradicts the record, or the record is damaged.
    """
    settings = read_record(trimmed)["settings"]
    if not settings:
        return Section(**options)
    recorded = settings.get("section")
    try:
        section = Section(float(recorded["start"]), float(recorded["length"]))
    except (ValueError, TypeError, KeyError) as error:
        raise PreparationError(
            f"{trimmed}: its preparation.json has no section ({error!r}): move the folder away "
            "and run the step trim"
        ) from error
    for name, value in options.items():
        if value != getattr(section, name):
            raise PreparationError(
                f"--{name} {value:g}: the videos in {trimmed} were made with --start "
                f"{section.start:g} --length {section.length:g}: leave these options out, or move "
                "the folder away and run the step trim"
            )
    return section
