import pytest

from tubedet.data import AnnotationError
from tubedet.data.importers.json_file import Entry


def entry(value):
    return Entry(value, "boxes.json", "boxes[3]")


def test_values_and_places():
    content = entry({"a": {"b": [1, 2.5]}, "id": "007", "name": " x ", "none": None})
    assert content.child("absent", "a").child("b").numbers(2) == (1, 2.5)
    assert content.child("a").child("b").place == "boxes[3].a.b"
    assert content.whole("absent", "id") == 7 and content.text("name") == " x "
    assert "a" in content and "none" not in content and "absent" not in content
    assert Entry({}, "boxes.json").place == "the file"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "has no count or number"),
        (True, "has no count or number"),
        ([1], "has no count or number"),
        (2.0, "has the number 2.0, expected a whole number"),
        ("1e3", "has the number '1e3', expected a whole number"),
        ("-1", "has the number '-1', expected a whole number"),
        ("١", "has the number '١', expected a whole number"),
        (2**53, "has the number 9007199254740992, expected less than 9007199254740992"),
        (-(2**53), "has the number -9007199254740992, expected less"),
        (10**400, "has the number 1000000000"),
        ("9" * 19, "has the number '9999999999999999999', expected a whole number"),
    ],
)
def test_other_values_than_whole_numbers(value, message):
    with pytest.raises(AnnotationError, match=rf"^boxes\.json: boxes\[3\] {message}") as raised:
        entry({"number": value}).whole("count", "number")
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        [1, 2],
        [1, 2, 3, "4"],
        [1, 2, 3, True],
        [1, 2, 3, None],
        [1, 2, 3, float("nan")],
        [1, 2, 3, float("inf")],
        [1, 2, 3, 10**7],
        [1, 2, 3, 10**400],  # too large for a floating point number
    ],
)
def test_other_values_than_coordinates(value):
    with pytest.raises(AnnotationError, match=r"boxes\[3\] is .*, expected 4 numbers"):
        entry(value).numbers(4)
