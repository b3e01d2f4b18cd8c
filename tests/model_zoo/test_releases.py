"""What is known by name."""

import re
import urllib.request
from pathlib import Path

import pytest
from detectron2.config import get_cfg

from tubedet.config import add_tubedet_config
from tubedet.engine import load_config, load_model, load_released_config
from tubedet.errors import UserError
from tubedet.model_zoo import (
    check_weights_name,
    find_release,
    get_config_file,
    released_models,
)
from tubedet.model_zoo.releases import WEIGHT_KEYS

TUBER_FILES = "https://yzaws-data-log.s3.amazonaws.com/shared/TubeR_cvpr22/"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing is fetched before weights are loaded."""

    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)


def test_the_papers_releases_and_what_trainings_start_from():
    tuber = {find_release("detr-r50-e632da11").source, find_release("TubeR_CSN50_AVA21").source}
    tuber.add(find_release("irCSN_50_ft_kinetics_from_ig65m_f233743920").source)
    releases = {release.name: release for release in released_models() if release.source in tuber}
    assert {name: release.url for name, release in releases.items()} == {
        "TubeR_CSN50_AVA21": f"{TUBER_FILES}TubeR_CSN50_AVA21.pth",
        "TubeR_CSN152_AVA21": f"{TUBER_FILES}TubeR_CSN152_AVA21.pth",
        "TubeR_CSN152_AVA22": f"{TUBER_FILES}TubeR_CSN152_AVA22.pth",
        "TubeR_CSN152_JHMDB": f"{TUBER_FILES}TubeR_CSN152_JHMDB.pth",
        "irCSN_50_ft_kinetics_from_ig65m_f233743920": (
            f"{TUBER_FILES}irCSN_50_ft_kinetics_from_ig65m_f233743920.mat"
        ),
        "irCSN_152_ft_kinetics_from_ig65m_f126851907": (
            f"{TUBER_FILES}irCSN_152_ft_kinetics_from_ig65m_f126851907.mat"
        ),
        "detr-r50-e632da11": "https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth",
    }
    for release in releases.values():
        assert release.licence == "Apache-2.0" and release.source.startswith("https://github.com/")
        assert (release.part == "model") == (release.config is not None)
    figures = {name: release.published for name, release in releases.items() if "_AVA" in name}
    assert [float(text.split()[-1]) for text in figures.values()] == [27.2, 29.7, 31.1]


def test_the_releases_of_vits_and_class_queries():
    releases = {release.name: release for release in released_models()}
    files = "https://huggingface.co/OpenGVLab/VideoMAE2/resolve/main/distill/"
    assert releases["vit_b_k710_dl_from_giant"].url == f"{files}vit_b_k710_dl_from_giant.pth"
    umt = releases["b16_ptk710_ftk710_ftava_f8_res224"]
    assert umt.url.endswith(
        "aliyuncs.com/umt/single_modality/b16_ptk710_ftk710_ftava_f8_res224.pth"
    )
    figures = {
        "ClassQuery_CSN152_AVA22": 33.5,
        "ClassQuery_ViTB_AVA22": 32.9,
        "ClassQuery_ViTB_v2_AVA22": 38.4,
    }
    for name, figure in figures.items():
        assert releases[name].published == f"frame-mAP@0.5 {figure}"
    by_hand = [release for release in releases.values() if release.by_hand]
    assert len(by_hand) == 8 + 2 + 2 + 5 + 3 + 2
    licences = {
        "naver-ai/class-query-vad": "CC-BY-NC-4.0",
        "MCG-NJU/VideoMAE": "CC-BY-NC-4.0",
        "MCG-NJU/VideoMAE-Action-Detection": "CC-BY-NC-4.0",
        "MCG-NJU/STMixer": "unstated",
        "OpenGVLab/VideoMAEv2": "MIT",
        "OpenGVLab/unmasked_teacher": "MIT",
        "amazon-science/tubelet-transformer": "Apache-2.0",
        "facebookresearch/VMZ": "Apache-2.0",
        "facebookresearch/detr": "Apache-2.0",
        "fundamentalvision/Deformable-DETR": "Apache-2.0",
    }
    for release in releases.values():
        assert release.licence == licences[release.source.removeprefix("https://github.com/")]
        assert release.by_hand == release.url.startswith("https://drive.google.com/file/d/")
        assert release.config is None or release.part == "model"
    assert len({release.url for release in releases.values()}) == len(releases)


@pytest.mark.parametrize(
    "name, config, num_actions",
    [
        ("ClassQuery_CSN152_AVA22", "AVA/ClassQuery_CSN152_AVA22.yaml", 80),
        ("ClassQuery_ViTB_v2_AVA22", "AVA/ClassQuery_ViTB_AVA22.yaml", 80),
        ("ClassQuery_ViTB_JHMDB", "JHMDB/ClassQuery_ViTB_JHMDB.yaml", 21),
        ("ClassQuery_ViTB_UCF24", "UCF101-24/ClassQuery_ViTB_UCF24.yaml", 24),
    ],
)
def test_class_query_detectors_have_configs(name, config, num_actions):
    assert find_release(name, detector=True).config == config
    cfg = load_released_config(name)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.NUM_ACTIONS) == (
        "ClassQueryDetector",
        num_actions,
    )


def test_every_other_release_names_a_config_and_the_changes_it_needs():
    others = [release for release in released_models() if release.config is None]
    assert len(others) == 2 + 1 + 2 + 2 + 4 + 8 + 1 + 3
    for release in others:
        keys = {part: key for key, part in WEIGHT_KEYS.items()}
        opts = [*release.opts, keys[release.part], release.name]
        cfg = load_config(get_config_file(release.used_with), opts)
        if "vit" in release.name.lower() or "_ptk710" in release.name:
            size = re.search(r"ViT([SBLH])|vit_([sb])|^([bl])16", release.name)
            assert cfg.MODEL.VIT.SIZE == next(filter(None, size.groups())).upper()
            assert cfg.MODEL.VIT.TUBELET == (1 if "_ptk710" in release.name else 2)
        elif release.name.startswith("irCSN"):
            assert f"_{cfg.MODEL.CSN.DEPTH}_" in release.name
    assert find_release("l16_ptk710_ftk710_ftava_f8_res224").opts[-2:] == (
        "INPUT.CLIP.FRAME_SHIFT",
        3,
    )
    refine = find_release("deformable_detr_r50_refine")
    assert load_config(get_config_file(refine.used_with)).MODEL.DEFORMABLE_TUBER.BOX_REFINE
    assert find_release("deformable_detr_r50").opts == ("MODEL.DEFORMABLE_TUBER.BOX_REFINE", False)
    assert (refine.published, refine.url.split("/")[-2]) == (
        "box AP 46.2",
        "1JYKyRYzUH7uo9eVfDaVCiaIGZb5YTCuI",
    )


def test_stmixers_have_their_config():
    for name in ("STMixer_ViTB_AVA22", "STMixer_ViTB_v2_AVA22"):
        cfg = load_released_config(name)
        assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS) == ("STMixer", name)
        assert cfg.MODEL.PIXEL_MEAN == [114.75] * 3 and cfg.INPUT.CLIP.ROUND_LONG_SIDE


@pytest.mark.parametrize(
    "name, depth, num_actions", [("TubeR_CSN50_AVA21", 50, 80), ("TubeR_CSN152_JHMDB", 152, 21)]
)
def test_a_released_detector_has_a_config(name, depth, num_actions):
    cfg = load_released_config(name)
    assert cfg.MODEL.WEIGHTS == name
    assert (cfg.MODEL.CSN.DEPTH, cfg.MODEL.NUM_ACTIONS) == (depth, num_actions)
    expected = load_config(get_config_file(find_release(name).config))
    expected.MODEL.WEIGHTS = name
    assert cfg == expected


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "tuber_csn152_ava21",
            "tuber_csn152_ava21 is not the name of a released model; did you mean "
            "TubeR_CSN152_AVA21 or ",
        ),
        ("detr-r50-e632da11", "detr-r50-e632da11 is not a whole detector; known are TubeR_CSN50_"),
        (
            "VideoMAE_ViTS_AVA22",
            "VideoMAE_ViTS_AVA22 has no config of its own here; did you mean",
        ),
        ("weather", "known are TubeR_CSN50_AVA21, TubeR_CSN152_AVA21, "),
    ],
)
def test_other_names_are_refused_in_one_line(name, message):
    for use in (load_released_config, load_model):
        with pytest.raises(UserError) as raised:
            use(name)
        assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "opts, message",
    [
        (
            ["MODEL.WEIGHTS", "TubeR_CSN152_AVA"],
            "MODEL.WEIGHTS TubeR_CSN152_AVA is neither a file nor the name of a released model; "
            "did you mean TubeR_CSN152_AVA",
        ),
        (
            ["MODEL.INIT.BACKBONE", "irCSN_50"],
            "MODEL.INIT.BACKBONE irCSN_50 is neither a file nor the name of a released model; ",
        ),
        (
            ["MODEL.WEIGHTS", "detr-r50-e632da11"],
            "MODEL.WEIGHTS detr-r50-e632da11: these weights are for MODEL.INIT.TRANSFORMER",
        ),
        (
            ["MODEL.INIT.TRANSFORMER", "irCSN_152_ft_kinetics_from_ig65m_f126851907"],
            "these weights are for MODEL.INIT.BACKBONE",
        ),
    ],
)
def test_names_are_checked_with_the_config(opts, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        load_config("AVA/TubeR_CSN50_AVA21.yaml", opts)
    assert str(raised.value).startswith(message) or message in str(raised.value)
    # A file of that name is the user's own.
    (tmp_path / opts[1]).touch()
    assert load_config("AVA/TubeR_CSN50_AVA21.yaml", opts).MODEL.META_ARCHITECTURE == "TubeR"


def test_paths_urls_and_known_names_pass_the_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default = add_tubedet_config(cfg := get_cfg()) or cfg.MODEL.WEIGHTS
    for source in ("", default, "weights.pth", "a/b", "https://host/x", "TubeR_CSN152_AVA22"):
        check_weights_name(source, "MODEL.WEIGHTS")
    # A detector has a backbone and a transformer.
    for key in ("MODEL.INIT.BACKBONE", "MODEL.INIT.TRANSFORMER"):
        check_weights_name("TubeR_CSN50_AVA21", key)


def test_the_table_of_the_documentation_is_that_of_the_zoo():
    page = (Path(__file__).parents[2] / "docs/zoo.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.*?) \| (.*?) ?\| (\S+) ", page, re.MULTILINE)
    keys = {part: key for key, part in WEIGHT_KEYS.items()}
    assert rows == [
        (release.name, keys[release.part], release.data, release.published or "", release.licence)
        for release in released_models()
    ]
