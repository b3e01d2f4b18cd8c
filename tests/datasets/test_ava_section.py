"""Which part of the films the trimmed videos hold."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "datasets"))

from ava_preparation.batch import PreparationError
from ava_preparation.section import Section, trimmed_section


def write_record(folder, **settings):
    (folder / "preparation.json").write_text(json.dumps({"settings": settings, "results": {}}))


def test_the_record_of_the_trimmed_videos_goes_before_the_defaults(tmp_path):
    write_record(tmp_path, ffmpeg="6", section={"start": 10.0, "length": 6.0})
    assert trimmed_section(tmp_path) == Section(10.0, 6.0)
    assert trimmed_section(tmp_path, start=10.0) == Section(10.0, 6.0)
    for options in ({"start": 900.0}, {"start": 10.0, "length": 901.0}):
        with pytest.raises(PreparationError) as error:
            trimmed_section(tmp_path, **options)
        name, value = list(options.items())[-1]
        assert str(error.value) == (
            f"--{name} {value:g}: the videos in {tmp_path} were made with --start 10 --length 6: "
            "leave these options out, or move the folder away and run the step trim"
        )


def test_without_a_record_the_options_count(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        assert trimmed_section(folder) == Section(900.0, 901.0)
        assert trimmed_section(folder, length=6.0) == Section(900.0, 6.0)


@pytest.mark.parametrize(
    "settings",
    [{"ffmpeg": "6"}, {"section": {"start": 1}}, {"section": {"start": 1, "length": "x"}}],
)
def test_a_damaged_record_is_refused(tmp_path, settings):
    write_record(tmp_path, **settings)
    with pytest.raises(PreparationError, match="its preparation.json has no section"):
        trimmed_section(tmp_path)
