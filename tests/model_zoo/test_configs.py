"""Configs by name."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.model_zoo import config_names, get_config_file

ROOT = Path(__file__).parents[2]


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AVA/TubeR_CSN50_AVA21.yaml", "configs/AVA/TubeR_CSN50_AVA21.yaml"):
        assert Path(get_config_file(name)) == ROOT / "configs/AVA/TubeR_CSN50_AVA21.yaml"
    assert load_config("AVA/TubeR_CSN50_AVA21.yaml").MODEL.META_ARCHITECTURE == "TubeR"
    assert "AVA/TubeR_CSN50_AVA21.yaml" in config_names()
    assert not any("Base-" in name for name in config_names())


def test_a_file_of_the_user_goes_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "AVA").mkdir()
    (tmp_path / "AVA/TubeR_CSN50_AVA21.yaml").write_text("SEED: 93\n")
    assert load_config("AVA/TubeR_CSN50_AVA21.yaml").SEED == 93


@pytest.mark.parametrize(
    "name, advice",
    [
        ("AVA/Tuber_CSN50_AVA.yaml", "; did you mean AVA/TubeR_CSN50_AVA21.yaml or "),
        ("AVA/none.yaml", ""),
        ("../setup.py", ""),
        ("AVA", ""),
    ],
)
def test_a_config_that_does_not_exist_is_named(name, advice):
    with pytest.raises(UserError) as raised:
        get_config_file(name)
    assert f"config file {name} does not exist, and tubedet has none of that name" in str(
        raised.value
    )
    assert advice in str(raised.value)


def test_a_wheel_holds_configs_label_maps_and_types(tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    source = tmp_path / "source"
    source.mkdir()
    files = subprocess.check_output(
        ["git", "ls-files", "tubedet", "configs", "setup.py", "pyproject.toml", "README.md"],
        cwd=ROOT,
        text=True,
    )
    for name in files.split("\n")[:-1]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"tubedet/configs/{name}" for name in config_names()} <= set(names)
    assert {"tubedet/configs/Base-TubeR.yaml", "tubedet/py.typed", "tubedet/cli/train.py"} <= set(
        names
    )
    assert "tubedet/data/datasets/label_maps/ava_action_list_v2.1.pbtxt" in names
    assert not any(name.startswith(("tools", "tests", "benchmarking")) for name in names)
