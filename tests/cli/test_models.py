"""The list of released weights."""

import json

import pytest
from release_server import toy_release

from tubedet.cli.running import run_command
from tubedet.model_zoo import fetch_release, released_models


def listed(capsys, *words):
    assert run_command("models", [*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_release_is_listed_with_all_that_is_known(release_cache, capsys):
    rows = {row["name"]: row for row in listed(capsys)}
    assert list(rows) == [release.name for release in released_models()]
    for row in rows.values():
        assert row["task"] and row["data"] and row["licence"] and row["key"].startswith("MODEL.")
        assert (row["config"] is None) != (row["used_with"] is None)
        assert row["fetched"] is None and row["num_bytes"] is None
    detr = rows["detr-r50-e632da11"]
    assert (detr["key"], detr["task"], detr["stated_mib"]) == (
        "MODEL.INIT.TRANSFORMER",
        "boxes in images",
        159,
    )
    tasks = {
        "TubeR_CSN152_AVA21": "boxes and actions",
        "VideoMAE_ViTB_AVA22": "actions of given boxes",
        "irCSN_50_ft_kinetics_from_ig65m_f233743920": "features of clips",
        "ClassQuery_start_JHMDB": "boxes and actions",
    }
    assert {name: rows[name]["task"] for name in tasks} == tasks


def test_the_table_has_the_rows_with_all_words_and_names_to_copy(release_cache, capsys):
    assert run_command("models", ["tuber", "V2.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Detectors: for --model NAME")
    rows = [line.split() for line in lines if line.startswith("TubeR_")]
    assert " size " not in lines[2]  # none is known before the files are fetched
    assert [row[0] for row in rows] == ["TubeR_CSN50_AVA21", "TubeR_CSN152_AVA21"]
    assert rows[1][-3:] == ["29.7", "Apache-2.0", "AVA/TubeR_CSN152_AVA21.yaml"]
    assert lines[-1].startswith("2 files of weights") and "MODEL.INIT" not in "".join(lines)
    assert run_command("models", []) == 0
    text = capsys.readouterr().out
    assert all(f"\n{release.name} " in text for release in released_models())
    for words in ("159 MiB", "MODEL.INIT.BACKBONE NAME", "MODEL.VIT.SIZE H"):
        assert words in text


def test_a_fetched_file_has_its_size_and_place(release, released_checkpoint, capsys):
    (row,) = listed(capsys, "TubeR_toy_released")
    assert row["fetched"] is None
    path = fetch_release(release)
    capsys.readouterr()
    (row,) = listed(capsys, "TubeR_toy_released")
    assert (row["fetched"], row["num_bytes"]) == (path, len(released_checkpoint))


def test_the_size_is_printed_in_mib(release_cache, add_release, capsys):
    add_release(toy_release("http://localhost", num_bytes=7 * 2**20))
    assert run_command("models", ["toy_released"]) == 0
    table = capsys.readouterr().out
    assert "  7 MiB  " in table and " size " in table.splitlines()[2]


@pytest.mark.parametrize("words", [["weather"], ["TubeR", "weather"]])
def test_words_that_no_row_has_are_one_line(words, capsys):
    assert run_command("models", words, prog="tubedet models") == 2
    assert capsys.readouterr() == (
        "",
        f"tubedet models: error: no released weights have all of: {', '.join(words)}; without "
        "words, all are listed\n",
    )
