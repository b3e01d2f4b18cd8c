"""Names of actions: which are accepted, and how two lists of them belong together."""

import pytest
import torch
from safetensors.torch import save_file

from tubedet.checkpoint import CheckpointError, load_checkpoint_file
from tubedet.checkpoint.action_names import checked_action_names, match_columns, told_apart

SAME = [0, 1, 2]


@pytest.mark.parametrize(
    "theirs, ours, columns, renamed",
    [
        (["walk", "wave", "sit"], ["walk", "wave", "sit"], SAME, []),
        (["Walk", "wave", "sit  down"], ["walk ", "WAVE", "sit down"], SAME, []),
        (["walk", "wave", "sit"], ["wave", "walk", "sit"], [1, 0, 2], []),
        (["walk", "wave", "sit"], ["sit", "walk"], [2, 0], []),
        (["walk", "wave", "sit"], ["walk", "wave", "sitzen"], SAME, [("sit", "sitzen")]),
        (["a", "b", "c"], ["x", "y", "z"], SAME, [("a", "x"), ("b", "y"), ("c", "z")]),
        # Names without a meaning of their own, as read from a label map with gaps.
        (["walk", "wave", "sit"], ["walk", "action 2", "sit"], SAME, []),
        (["action 1", "wave", "sit"], ["walk", "wave", "sit"], SAME, []),
        # Nothing says which column is which.
        (["walk", "wave", "sit"], ["wave", "walk", "stand"], None, []),
        (["walk", "wave"], ["walk", "wave", "sit"], None, []),
        (["walk", "wave", "sit"], ["walk", "stand"], None, []),
        (["person"], ["walk", "wave"], None, []),
        (["walk", "walk", "sit"], ["sit", "walk"], None, []),
        (["walk", "walk"], ["walk", "walk"], [0, 1], []),
        (["walk", "walk"], ["walk", "sit"], None, []),
    ],
)
def test_columns_are_found_by_name(theirs, ours, columns, renamed):
    assert match_columns(theirs, ours) == (columns, renamed)


def test_a_difference_is_told_by_its_first_action():
    one, other = ["walk", "wave"], ["walk", "sit"]
    assert told_apart(one, other, "data set 'b'") == (
        "action 2 is 'wave' in the file and 'sit' in data set 'b'"
    )
    assert told_apart(list("abcde"), ["a"], "data set 'b'") == (
        "5 actions ('a', 'b', 'c', ...) in the file, 1 action ('a') in data set 'b'"
    )


@pytest.mark.parametrize(
    "names, message",
    [
        ({"1": "walk"}, "expected a list of names, got a dict"),
        ("walk", "expected a list of names, got a str"),
        ([], "expected 1 to 10,000 names, got 0"),
        (["x"] * 10_001, "expected 1 to 10,000 names, got 10,001"),
        (["walk", 3], "a name is 3, not a text"),
        (["x" * 501], "a name has 501 characters, more than 500"),
        (["\x1b[31mwalk"], "has characters that are no text"),
        (["two\nlines"], "has characters that are no text"),
        (["\ud800"], "has characters that are no text"),
    ],
)
def test_other_things_in_the_place_of_names_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        checked_action_names(names)
    torch.save({"model": {"a": torch.ones(1)}, "action_names": names}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"x.pth: action_names: .*{message}") as caught:
        load_checkpoint_file(str(tmp_path / "x.pth"))
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_names_are_read_of_all_formats(tmp_path):
    names, weights = ["geh'n", "手を振る"], {"a": torch.ones(1)}
    torch.save({"model": weights, "action_names": names}, tmp_path / "x.pth")
    save_file(weights, tmp_path / "x.safetensors", {"action_names": '["geh\'n", "手を振る"]'})
    for ending in ("pth", "safetensors"):
        file = load_checkpoint_file(str(tmp_path / f"x.{ending}"))
        assert file["action_names"] == names and list(file["model"]) == ["a"]
    save_file(weights, tmp_path / "x.safetensors", {"action_names": "[" * 100_000})
    with pytest.raises(CheckpointError, match="x.safetensors cannot be read"):
        load_checkpoint_file(str(tmp_path / "x.safetensors"))
