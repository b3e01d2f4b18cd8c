"""What a check of a data set finds, and reading files so that all of it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from tubedet.data.annotations.row_faults import RowFault
from tubedet.data.annotations.text import AnnotationError

_MOST_UNREADABLE_ROWS = 10_000  # of a file: there are better ways to say what is wrong with it


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Attributes:
        severity: "error" if training would stop or learn something wrong, else "warning".
        kind: what is wrong, as a short fixed word.
        file: path of the file at fault, or the name of the data set.
        line: its 1-based line, or None.
        message: what is wrong there.
    """

    severity: str
    kind: str
    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.text} [{self.kind}]"

    @property
    def text(self) -> str:
        """Place and message."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, eq=False)
class PixelBoxes:
    """The boxes of a video whose size is not known yet.

    Attributes:
        file: csv that has them.
        lines: (N,) int, its 1-based line of each.
        boxes: (N, 4) float, XYXY in pixels.
    """

    file: str
    lines: np.ndarray
    boxes: np.ndarray


@dataclass
class CheckedDataset:
    """What a check of one data set found.

    Attributes:
        name: of the data set.
        source: path of its annotation, or its name.
        problems: in the order of finding.
        first_lines: first line of each annotated video (None for annotations without lines).
        num_rows: annotation rows that could be read.
        records: dataset dicts for checks of the media, without annotations; ``pixel_boxes`` are the
            :class:`PixelBoxes` of the whole video, where the annotation is in pixels.
        missing_videos: videos whose media have been looked for and are not there.
        needs_2020: the first row that only the protocol official_2020 can evaluate.
        key_frames: the dataset dicts, if they have been loaded.
    """

    name: str
    source: str
    problems: list[Problem] = field(default_factory=list)
    first_lines: dict[str, int | None] = field(default_factory=dict)
    num_rows: int = 0
    records: list[dict] = field(default_factory=list)
    missing_videos: set[str] = field(default_factory=set)
    needs_2020: RowFault | None = None
    key_frames: list[dict] | None = None

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a training."""
        return [problem for problem in self.problems if problem.severity == "error"]

    def error(self, kind: str, message: str, *, line: int | None = None, file: str = "") -> None:
        """Add an error; without a file it is the annotation's."""
        self.problems.append(Problem("error", kind, file or self.source, line, message))

    def warn(self, kind: str, message: str, *, line: int | None = None) -> None:
        """Add a warning about the annotation."""
        self.problems.append(Problem("warning", kind, self.source, line, message))

    def add_faults(self, faults: Iterable[RowFault]) -> None:
        """Add faults of rows of the annotation as errors."""
        for fault in faults:
            self.error(fault.kind, fault.message, line=fault.line)

    def unreadable(self, file: str, kind: str) -> Callable[[Exception], None]:
        """Return a function that adds the errors of the reader of a file.

        Args:
            file: the file.
            kind: of these problems.

        Returns:
            the function; it raises AnnotationError when there are more than 10,000 of them.
        """
        left = _MOST_UNREADABLE_ROWS

        def add(error: Exception) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise AnnotationError(
                    f"{file}: more than {_MOST_UNREADABLE_ROWS:,} rows cannot be read; the others "
                    "are not looked at"
                )
            place, _, message = str(error).removeprefix(file).removeprefix(":").partition(": ")
            line = int(place) if place.isdecimal() else None
            self.error(kind, message if line else str(error), line=line, file=file)

        return add

    def read(self, kind: str, file: str, read: Callable[..., object], default, **options):
        """Read a file; what stops its reader becomes a problem, and the default is returned."""
        add = self.unreadable(file, kind)
        try:
            return read(file, **options)
        except AnnotationError as error:
            add(error)
        except OSError as error:
            self.error("missing-file", error.strerror or str(error), file=file)
        return default
