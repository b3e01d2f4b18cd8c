import pytest

from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.inference.writers import PredictionCsvWriter


def test_rows_are_those_of_evaluation(tmp_path, key_frames):
    path = tmp_path / "new" / "rows.csv"
    with PredictionCsvWriter(path, "a, b") as writer:
        for result, persons in key_frames:
            writer.write(result, persons)
        assert not path.exists()
    first = "0.100000000,0.100000000,0.500000000,1.000000000"
    rows = path.read_text().splitlines()
    assert rows[:2] == [f'"a, b",0007,{first},1,0.25', f'"a, b",0007,{first},3,0.5']
    # Untracked: the box is not cut, nothing is below a threshold, only what is not finite is gone.
    assert len(rows) == 5 and rows[2].startswith('"a, b",0007,0.750000000,-0.200000000,')
    assert read_ava_csv(path).action_ids.tolist() == [1, 3, 1, 2, 3]


def test_an_exception_leaves_the_older_file(tmp_path, key_frames):
    path = tmp_path / "rows.csv"
    path.write_text("older")
    with pytest.raises(RuntimeError), PredictionCsvWriter(path, "film") as writer:
        writer.write(*key_frames[0])
        raise RuntimeError
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]
