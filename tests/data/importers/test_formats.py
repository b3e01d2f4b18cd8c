"""Every format is recognised, and taken for no other one."""

import gzip
import json

import pytest
from coco_samples import COCO_VID, CVAT, TAO, YOUTUBE_VIS

from tubedet.data import AnnotationError
from tubedet.data.importers.formats import FORMATS, guess_format

# The beginnings of files, and what they are recognised by (None: any words); one or more for each
# format.
BEGINNINGS = {
    "cvat": {
        "a.xml": (
            '<?xml version="1.0"?>\n<annotations>\n<version>1.1',
            "the element <annotations>",
        ),
    },
    "coco-video": {
        "cocovid.json": (json.dumps(COCO_VID), "the key 'categories'"),
        "cvat.json": (json.dumps(CVAT), "the key 'categories'"),
        "tao.json": (json.dumps(TAO), "the key 'categories'"),
        "ytvis.json": (json.dumps(YOUTUBE_VIS), "the key 'categories'"),
        # In large files the categories come late.
        "videos.json": (
            '{"info": {}, "videos": [{"file_names": ["a/0.jpg"',
            "the key 'file_names'",
        ),
        "images.json": ('{"images": [{"id": 1, "file_name": "0.jpg"', "the key 'file_name'"),
        "annotations.json": (
            '\ufeff {"annotations": [{"category_id": 1',
            "the key 'category_id'",
        ),
    },
    "via3": {
        "p.json": (
            '{"project":{"pid":"__VIA_PROJECT_ID__","vid_list":["1"]},"config":{},',
            None,
        ),
        "bom.json": ('\ufeff{\n "project": {"vid_list": ["1"]}, "attribute": {"1": {}}}', None),
        "e.csv": (
            "# Exported using VGG Image Annotator (http://...)\n# CSV_HEADER = "
            "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n",
            None,
        ),
    },
    "label-studio": {
        "tasks.json": (
            '[{"id":1,"annotations":[{"result":[{"value":{"framesCount":9,"sequence":'
            '[{"frame":1,"enabled":true}]},"type":"videorectangle"}]}],"data":{}}]',
            None,
        ),
        "task.json": (
            '{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"completed_by": 1, '
            '"result": [{"type": "videorectangle", "value": {"sequence": []}}]}]}',
            None,
        ),
        # The type stands behind many key frames.
        "long.json": (
            '[{"annotations":[{"result":[{"value":{"sequence":[{"x":1,"enabled":true},',
            None,
        ),
        "min.json": ('[{"video":"a.mp4","box":[{"sequence":[{"frame":1,"enabled":true}]}]}]', None),
    },
}
CASES = [(f, n, *case) for f, files in BEGINNINGS.items() for n, case in files.items()]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "file", "beginning", "sign"), CASES)
def test_one_format_recognises_the_file(tmp_path, name, file, beginning, sign, compressed):
    content = beginning.encode()
    (tmp_path / file).write_bytes(gzip.compress(content) if compressed else content)
    found, by = guess_format(tmp_path / file)
    assert found.name == name and by == (sign or by) and by
    head = beginning.lstrip("\ufeff")
    assert [f.name for f in FORMATS.values() if f.sign(tmp_path / file, head)] == [name]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"a": 1}', "a,1,2,3,4,5,6\n", "categories"])
def test_other_files_are_refused_with_the_formats(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.txt: the format is not recognised; .*cvat,"):
        guess_format(tmp_path / "a.txt")


def test_every_format_is_tried_here():
    assert set(BEGINNINGS) == set(FORMATS)
