"""The check of a data set by its name."""

from tubedet.data.validation.checked_dataset import CheckedDataset
from tubedet.data.validation.dataset_checks import check_dataset, check_loading


def test_names_without_a_check_are_errors():
    for name, message in (("nope", "no such data set"), ("coco_2017_val_persons", "no check for")):
        (problem,) = check_dataset(name).errors
        assert problem.kind == "name" and message in problem.message


def test_a_yaml_that_is_missing_or_wrong_is_an_error(tmp_path):
    path = tmp_path / "my.yaml"
    assert [p.kind for p in check_dataset(str(path)).errors] == ["load"]
    path.write_text("videos: .\nfps: fast\n")
    (problem,) = check_dataset(str(path)).errors
    assert problem.text.startswith(f"{path}:2: key 'fps': expected a number")


def test_what_has_errors_is_not_loaded():
    checked = CheckedDataset("mine", "mine.csv")
    check_loading(checked, lambda: [{"annotations": [1]}])
    assert checked.key_frames == [{"annotations": [1]}] and checked.errors == []
    check_loading(checked, lambda: [{"annotations": []}])
    assert [problem.kind for problem in checked.errors] == ["empty"]
    check_loading(checked, lambda: 1 / 0)
    assert len(checked.errors) == 1
