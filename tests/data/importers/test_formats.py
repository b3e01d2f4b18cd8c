"""Every format is recognised, and taken for no other one."""

import pytest

from tubedet.data.importers.formats import FORMATS, guess_format

# Name of the format -> names and beginnings of its files.
FILES = {
    "via3": [
        ("p.json", '{"project":{"pid":"__VIA_PROJECT_ID__","vid_list":["1"]},"config":{},'),
        ("p.json", '\ufeff{\n "project": {"vid_list": ["1"]}, "attribute": {"1": {}}}'),
        (
            "e.csv",
            "# Exported using VGG Image Annotator (http://...)\n# CSV_HEADER = "
            "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n",
        ),
    ],
    "label-studio": [
        (
            "t.json",
            '[{"id":1,"annotations":[{"result":[{"value":{"framesCount":9,"sequence":'
            '[{"frame":1,"enabled":true}]},"type":"videorectangle"}]}],"data":{}}]',
        ),
        (
            "t.json",
            '{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"completed_by": 1, '
            '"result": [{"type": "videorectangle", "value": {"sequence": []}}]}]}',
        ),
        # The type stands behind many key frames.
        ("t.json", '[{"annotations":[{"result":[{"value":{"sequence":[{"x":1,"enabled":true},'),
        ("m.json", '[{"video":"a.mp4","box":[{"sequence":[{"frame":1,"enabled":true}]}]}]'),
    ],
    "coco-video": [("c.json", '{"categories": [], "images": [], "annotations": []}')],
    "cvat": [("c.xml", '<?xml version="1.0"?>\n<annotations>\n<version>1.1</version>')],
}
CASES = [(name, *file) for name, files in FILES.items() for file in files]


@pytest.mark.parametrize(("name", "file", "head"), CASES)
def test_files_are_recognised(tmp_path, name, file, head):
    path = tmp_path / file
    path.write_text(head)
    found, sign = guess_format(path)
    assert found.name == name and sign
    assert [f.name for f in FORMATS.values() if f.sign(path, head.lstrip("\ufeff"))] == [name]


def test_every_format_has_a_file_here():
    assert set(FORMATS) == set(FILES)
