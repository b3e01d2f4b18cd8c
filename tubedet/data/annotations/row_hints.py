"""What to write instead of a row that cannot be read."""

from __future__ import annotations

from .text import is_number

_ROW = "video_id,timestamp,x1,y1,x2,y2,action_id[,score or person_id]"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def is_blank(cells: list[str]) -> bool:
    """Whether a row holds nothing: an empty line, or commas alone as spreadsheets write them.

    Args:
        cells: of the row.
    """
    return not any(cell.strip() for cell in cells)


def describe_header(cells: list[str]) -> str | None:
    """Return what is wrong with a first line that names the columns; None if it does not.

    Args:
        cells: of the first line.
    """
    if len(cells) < 6 or any(cell.strip() == "" or is_number(cell) for cell in cells):
        return None
    return f"this line names the columns: remove it, every line is a row {_ROW}"


def describe_column_count(cells: list[str]) -> str:
    """Return what is wrong with a row of too few or too many columns.

    Args:
        cells: of the row.
    """
    expected = f"expected 7 or 8 ({_ROW})"
    if not cells:
        return f"empty line, {expected.replace(' (', ' columns (')}"
    return f"{len(cells)} columns, {expected}{_advice(cells)}"


def _advice(cells: list[str]) -> str:
    row = ",".join(cells)
    if row.lstrip().startswith("#"):
        return "; this looks like a comment: remove the line"
    for separator, name in _SEPARATORS.items():
        if row.count(separator) >= 5:
            return f"; these columns are separated by {name}: separate them by commas" + (
                ", and write decimals with a point" if "," in row else ""
            )
    if len(cells) == 1 and len(row.split()) >= 7:
        return "; these columns are separated by spaces: separate them by commas"
    if len(cells) == 2:
        return (
            "; two-column rows belong to the AVA-Kinetics format: set the protocol official_2020 "
            "(TEST.AVA_PROTOCOL in a config)"
        )
    if len(cells) == 6:
        return "; is the action id missing?"
    if len(cells) == 9 and not cells[-1].strip():
        return "; remove the comma at the end of the line"
    if len(cells) in (11, 12, 13):  # of four coordinates, perhaps also of time and score
        return "; if commas are decimal points here, write 0.5 instead of 0,5"
    return ""
