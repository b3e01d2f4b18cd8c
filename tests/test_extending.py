"""What docs/extending.md shows is run, block by block, as a reader would."""

import re

from documented_commands import ROOT, blocks, run_page

PAGE = ROOT / "docs" / "extending.md"
BLOCKS = [block for block in blocks(PAGE) if block.language == "python"]


def test_every_kind_of_extension_has_an_example_that_asserts_numbers():
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    titles = [part.splitlines()[0] for part in parts]
    assert titles == [
        "A backbone",
        "An architecture",
        "A data set",
        "An importer",
        "An evaluator",
    ]
    for part in parts:
        assert re.search(r"^assert .*\d", part, re.MULTILINE), part.splitlines()[0]


def test_the_blocks_run_in_order(tmp_path):
    last_line = "print('recall', figures['persons']['recall'])"
    assert run_page(PAGE, tmp_path, last_line) == "recall 100.0"
    assert (tmp_path / "gestures/output/model_final.pth").is_file()
    rows = (tmp_path / "gestures/train.csv").read_text().splitlines()
    assert len(rows) == 20 and rows[0] == "lobby,21,8,10,28,40,1,1"
