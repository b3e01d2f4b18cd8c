import pytest

from tubedet.engine import load_config
from tubedet.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "_BASE_: http://127.0.0.1:9/x.yaml\n",
            "_BASE_ http://127.0.0.1:9/x.yaml: .* this computer",
        ),
        ("_BASE_: detectron2://x.yaml\n", "_BASE_ detectron2://x.yaml: .* this computer"),
        ("_BASE_: [good.yaml, file:///etc/x]\n", "_BASE_ file:///etc/x: .* this computer"),
        ("_BASE_: mine.yaml\n", "mine.yaml: _BASE_ .*mine.yaml: the file is its own _BASE_"),
        ("_BASE_: back.yaml\n", "back.yaml: _BASE_ .*mine.yaml: the file is its own _BASE_"),
        ("_BASE_: 3\n", "mine.yaml: _BASE_ 3: expected the path of a config"),
        ("_BASE_: [[good.yaml]]\n", r"mine.yaml: _BASE_ \['good.yaml'\]: expected the path"),
        ("_BASE_: wide0.yaml\n", "based on more than 100 files"),
        ("_BASE_: absent.yaml\n", "its _BASE_ .*absent.yaml: No such file"),
        ("_BASE_: runs.yaml\n", "runs.yaml:1: could not determine a constructor for the tag"),
    ],
)
def test_bases_are_files_of_this_computer(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "good.yaml").write_text("SEED: 3\n")
    (tmp_path / "back.yaml").write_text("_BASE_: ./mine.yaml\n")
    (tmp_path / "runs.yaml").write_text(f"SEED: !!python/object/apply:os.mkdir ['{tmp_path}/x']\n")
    for k in range(20):  # each twice: a million files
        (tmp_path / f"wide{k}.yaml").write_text(f"_BASE_: [wide{k + 1}.yaml, wide{k + 1}.yaml]\n")
    (tmp_path / "wide20.yaml").write_text("SEED: 3\n")
    with pytest.raises(UserError, match=message) as raised:
        load_config(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()


def test_several_bases_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("SEED: 3\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nVERSION: 2\n")
    (tmp_path / "mine.yaml").write_text("_BASE_: b.yaml\n")
    assert load_config(str(tmp_path / "mine.yaml")).SEED == 3
