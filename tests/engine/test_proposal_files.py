"""Person boxes of files for the key frames of a run."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from tubedet.data import AnnotationError
from tubedet.engine import load_config
from tubedet.engine.dataset_lists import read_key_frames
from tubedet.engine.trainer import Trainer
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/RoI_toy.yaml"


@pytest.fixture
def config(two_key_frames, tmp_path):
    """Makes a config of the two key frames and a file with the given rows of boxes."""

    def make(text, *opts, test=(two_key_frames,)):
        (tmp_path / "boxes.csv").write_text(text)
        files = (str(tmp_path / "boxes.csv"),)
        cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", *opts])
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = tuple(test)
        cfg.DATASETS.PROPOSAL_FILES_TEST = cfg.DATASETS.PROPOSAL_FILES_TRAIN = files
        return cfg

    return make


@pytest.fixture
def rows(two_key_frames):
    """Predicted boxes at the first of the two key frames, the annotated ones among them."""
    with open(MetadataCatalog.get(two_key_frames).groundtruth_csv) as stream:
        lines = [line.split(",") for line in stream]
    moment = lines[0][:2]
    places = dict.fromkeys(tuple(line[2:6]) for line in lines if line[:2] == moment)
    return "".join(",".join([*moment, *place, "", "0.9"]) + "\n" for place in places)


def test_key_frames_get_the_boxes_of_the_file_and_it_is_said(config, rows, two_key_frames, caplog):
    with caplog.at_level("INFO", logger="tubedet"):
        first, second = read_key_frames(config(rows), [two_key_frames], is_train=False)
    number = len(rows.splitlines())
    assert len(first["proposal_boxes"]) == number == len(first["annotations"])
    assert set(first["proposal_scores"]) == {0.9} and len(second["proposal_boxes"]) == 0
    recall = number / (number + len(second["annotations"]))
    assert (
        f"boxes.csv (slowfast-csv): {number} boxes, 1 of 2 key frames (50.0 %) have one; recall of "
        f"annotated boxes at IoU 0.5: {recall:.3f}"
    ) in caplog.text


def test_the_model_sees_them_in_pixels_of_the_clip(config, rows, two_key_frames):
    cfg = config(rows)
    batches = list(Trainer.build_test_loader(cfg, two_key_frames))
    first, second = (clip for batch in batches for clip in batch)
    (height, width), scale = first["clip"].shape[2:], first["clip"].shape[2] / first["height"]
    assert first["proposals"].image_size == (height, width)
    fractions = torch.tensor([[float(x) for x in row.split(",")[2:6]] for row in rows.split()])
    found = first["proposals"].proposal_boxes.tensor
    expected = fractions * torch.tensor([first["width"], first["height"]] * 2) * scale
    torch.testing.assert_close(found, expected, atol=0.5, rtol=0)
    assert len(second["proposals"]) == 0
    model = build_model(cfg).eval()
    with torch.no_grad():
        outputs = model([first, second])
    assert [len(output["instances"]) for output in outputs] == [len(fractions), 0]


def test_boxes_below_the_threshold_and_beyond_the_best_are_left_out(config, rows, two_key_frames):
    strict = config(rows.replace("0.9\n", "0.79\n") + rows.splitlines()[0].replace("0.9", "0.8"))
    first, _ = read_key_frames(strict, [two_key_frames], is_train=False)
    assert first["proposal_scores"].tolist() == [0.8]
    few = config(rows, "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN", 1)
    first, _ = read_key_frames(few, [two_key_frames], is_train=True)
    assert len(first["proposal_scores"]) == 1


def test_the_rule_of_mmaction2_keeps_the_best_box(config, rows, two_key_frames):
    best = ["DATASETS.PROPOSAL_KEEP_BEST_BELOW", 0.95]
    with pytest.raises(UserError, match="set MODEL.ROI_ACTION.BOX_SCORE_THRESH to 0: it would"):
        read_key_frames(config(rows, *best), [two_key_frames], is_train=False)
    cfg = config(rows, *best, "MODEL.ROI_ACTION.BOX_SCORE_THRESH", 0.0)
    first, second = read_key_frames(cfg, [two_key_frames], is_train=False)
    assert set(first["proposal_scores"]) == {0.9}
    assert second["proposal_scores"].tolist() == [1.0]  # the whole frame


def test_fault_files_that_do_not_match_are_refused(config, rows, two_key_frames):
    cfg = config(rows, "MODEL.LOAD_PROPOSALS", False)
    with pytest.raises(
        UserError, match="FILES_TEST names boxes, but MODEL.LOAD_PROPOSALS is False"
    ):
        read_key_frames(cfg, [two_key_frames], is_train=False)
    cfg = config(rows, test=(two_key_frames, "ava_toy_val"))
    with pytest.raises(UserError, match="PROPOSAL_FILES_TRAIN has 1 files for the 2 data sets of"):
        read_key_frames(cfg, [two_key_frames], is_train=True)
    cfg = config(rows)
    cfg.DATASETS.PROPOSAL_IMAGES_TEST = ("a.json", "b.json")
    with pytest.raises(UserError, match="PROPOSAL_IMAGES_TEST has 2 files for 1 files of boxes"):
        read_key_frames(cfg, [two_key_frames], is_train=False)
    with pytest.raises(AnnotationError, match="no boxes of the video .*; the file has 'other'"):
        cfg = config("other,902,0.1,0.1,0.5,0.5,,0.9\n")
        read_key_frames(cfg, [two_key_frames], is_train=False)


def test_without_a_file_key_frames_stay_as_they_are(config, rows, two_key_frames):
    cfg = config(rows)
    cfg.DATASETS.PROPOSAL_FILES_TEST = ()
    key_frames = read_key_frames(cfg, [two_key_frames], is_train=False)
    assert len(key_frames) == 2 and not any("proposal_boxes" in record for record in key_frames)
