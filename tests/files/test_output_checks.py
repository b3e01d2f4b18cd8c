"""Whether files can be written is told before, and nothing is left of the question."""

import pytest

from tubedet.files.output_checks import check_can_write


def test_what_can_be_written_leaves_nothing(tmp_path):
    for path in (tmp_path / "a.csv", tmp_path / "new" / "folders" / "a.csv", tmp_path):
        check_can_write(path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_named_with_its_reason(tmp_path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("file", "broken"):
        with pytest.raises(NotADirectoryError, match=f"as .*/{name} is a file, not a folder"):
            check_can_write(tmp_path / name / "new" / "a.csv")
    check_can_write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "content"
