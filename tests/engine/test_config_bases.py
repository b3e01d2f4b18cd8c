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


def doubled(first, place):
    """Aliases, each of which holds the one before twice: 2^30 values in all."""
    aliases = [f"&a0 {first}", *(f"&a{k} {place.format(k - 1)}" for k in range(1, 30))]
    return f"[{', '.join(aliases)}]"


@pytest.mark.parametrize(
    "text",
    [
        f"_BASE_: {doubled('[1, 1]', '[*a{0}, *a{0}]')}\n",
        f"INPUT:\n  MIN_SIZE_TEST: {doubled('[1, 1]', '[*a{0}, *a{0}]')}\n",
        f"INPUT: {doubled('{x: 1}', '{{x: *a{0}, y: *a{0}}}')}\n",
        "SEED: &a [*a]\n",
        "INPUT: &a {x: *a}\n",
        "_BASE_: base.yaml\n",
    ],
)
def test_aliases_of_aliases_are_not_unfolded(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert path.stat().st_size < 1000
    (tmp_path / "base.yaml").write_text(f"SEED: {doubled('[1, 1]', '[*a{0}, *a{0}]')}\n")
    with pytest.raises(UserError, match="yaml: more than 100,000 values, those of an alias") as e:
        load_config(str(path))
    assert len(str(e.value)) < 300


def test_data_sets_are_names(tmp_path):
    (tmp_path / "mine.yaml").write_text("DATASETS:\n  TEST: [[a, b]]\n")
    with pytest.raises(UserError, match="DATASETS.TEST: an entry is a list; list names of data"):
        load_config(str(tmp_path / "mine.yaml"))
