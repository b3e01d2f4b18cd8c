import pytest

from tubedet.data.datasets.ava import AVAFiles, register_ava
from tubedet.data.datasets.input_files import check_output_file, input_files


def test_files_of_a_yaml_even_of_a_wrong_one(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("annotations: rows.csv\nclasses: maps/a.pbtxt\ncolour: /red\nfps: 25\n")
    found = input_files(str(path))
    assert found == [str(path), f"{tmp_path}/rows.csv", f"{tmp_path}/maps/a.pbtxt", "/red"] + [
        f"{tmp_path}/25"
    ]
    for text in ("a: [", "- a\n", "\0"):
        path.write_text(text)
        assert input_files(str(path)) == [str(path)]


def test_files_of_registered_data_sets(tmp_path):
    (tmp_path / "map").write_text('item { name: "sit" id: 1 }\n')
    files = AVAFiles("rows.csv", str(tmp_path / "map"), str(tmp_path / "map"), "excluded.csv")
    name = f"of {tmp_path}"
    register_ava(name, files)
    assert {"rows.csv", str(tmp_path / "map"), "excluded.csv"} <= set(input_files(name))
    assert input_files("no such data set") == []


def test_outputs_replace_no_input(tmp_path):
    kept, link = tmp_path / "a.csv", tmp_path / "b.csv"
    kept.touch()
    link.symlink_to(kept)
    check_output_file(kept, [tmp_path / "other.csv", tmp_path])
    check_output_file(tmp_path / "new.json", [kept])
    with pytest.raises(ValueError, match=f"would overwrite the input {link}; choose another"):
        check_output_file(link, [tmp_path / "gone.csv", kept])
    with pytest.raises(FileNotFoundError, match=f"no folder {kept} to write x.json to"):
        check_output_file(kept / "x.json", [])
    with pytest.raises(IsADirectoryError, match=f"{tmp_path} is a folder, expected"):
        check_output_file(tmp_path, [])
