import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from tubedet.data.video.sources import open_frame_source
from tubedet.errors import UserError
from tubedet.inference import (
    DrawingOptions,
    VideoActionDetector,
    VideoOutputs,
    write_video_results,
)
from tubedet.inference.ground_truth import VideoGroundTruth
from tubedet.inference.model_caption import model_caption

_HEIGHT, _WIDTH = 320, 400
_FRAMES = np.random.default_rng(0).integers(0, 256, (26, _HEIGHT, _WIDTH, 3), dtype=np.uint8)


def _left(time):
    """Left side of the person, who walks unevenly, as a fraction of the width."""
    return 0.1 + 0.1 * time + 0.005 * np.sin(4 * np.pi * time)


class _Model(torch.nn.Module):
    """Finds a person of whom it loses sight at 1 s."""

    def forward(self, batched_inputs):
        outputs = []
        for model_input in batched_inputs:
            left = _left(model_input["timestamp"])
            box = torch.tensor([[left, 0.3, left + 0.2, 0.8]]) * torch.tensor(
                [_WIDTH, _HEIGHT, _WIDTH, _HEIGHT]
            )
            score = 0.1 if model_input["timestamp"] == 1.0 else 0.9
            instances = Instances(
                (_HEIGHT, _WIDTH),
                pred_boxes=Boxes(box),
                scores=torch.tensor([score]),
                action_scores=torch.tensor([[0.6]]),
            )
            outputs.append({"instances": instances})
        return outputs


def _draw(options, *, threshold=1.0, trained_on=()):
    model = _Model()
    model.trained_on = trained_on
    detector = VideoActionDetector(
        model=model, augmentations=[], num_frames=2, frame_stride=1, fps=10.0
    )
    pictures = []
    with open_frame_source(_FRAMES, fps=10) as source:
        write_video_results(
            detector,
            source,
            VideoOutputs(),
            action_names=["walk"],
            every=0.5,
            confidence_threshold=threshold,
            drawing=options,
            show=lambda picture: pictures.append(picture) or True,
        )
    return np.stack(pictures)


@pytest.mark.parametrize("blur, bottom", [("persons", 0.8), ("faces", 0.3 + 0.3 * 0.5)])
def test_no_frame_of_a_person_stays_unblurred(blur, bottom):
    """Not even where the person is lost for a key frame, nor with no action above the threshold."""
    pictures = _draw(DrawingOptions(blur=blur))
    assert pictures.shape == _FRAMES.shape
    changed = (pictures != _FRAMES).any(axis=-1)
    for number, picture in enumerate(pictures):
        left = _left(number / 10)
        columns = slice(round(left * _WIDTH), round((left + 0.2) * _WIDTH))
        rows = slice(round(0.3 * _HEIGHT), round(bottom * _HEIGHT))
        assert changed[number, rows, columns].mean() > 0.99
        # Cells, not noise: neighbours are equal almost everywhere.
        part = picture[rows, columns].astype(int)
        assert (np.diff(part, axis=1) == 0).all(axis=-1).mean() > 0.9
        # Far away from the person everything is as it was.
        assert not changed[number, :, 250:].any() and not changed[number, 295:].any()


def test_without_options_nothing_is_hidden_or_added():
    assert np.array_equal(_draw(None), _FRAMES)


def test_the_toy_model_says_what_it_is():
    assert model_caption(torch.nn.Linear(1, 1)) is None
    captions = {("ava_toy_train",): True, ("ava_v2.2_train",): False}
    captions |= {("ava_v2.2_train", "ava_toy_train"): False}
    for trained_on, is_toy in captions.items():
        drawn = _draw(None, trained_on=trained_on) != _FRAMES
        assert drawn.any(axis=(1, 2, 3)).all() == drawn.any() == is_toy
    model = torch.nn.Linear(1, 1)
    model.trained_on = ["ava_toy_train"]
    assert model_caption(model) == "toy model: for testing only"
    lower_right = _draw(None, trained_on=["ava_toy_train"])[:, 290:, 150:]
    assert (lower_right != _FRAMES[:, 290:, 150:]).mean() > 0.4


def test_ground_truth_stands_beside_the_detections():
    annotation = {"bbox": [300, 50, 380, 250], "bbox_mode": BoxMode.XYXY_ABS, "actions": [0]}
    record = {"timestamp": 1.0, "start_second": 0, "width": _WIDTH, "height": _HEIGHT}
    truth = VideoGroundTruth([{**record, "annotations": [annotation]}], ["wave"])
    pictures = _draw(DrawingOptions(ground_truth=truth, blur="persons"), threshold=0.5)
    assert pictures.shape == (26, _HEIGHT + 26, 2 * _WIDTH + 4, 3)
    beside = pictures[:, 26:, _WIDTH + 4 :]
    # The lower line of the annotation is there within half a second of it.
    line = (np.ptp(beside[:, 249:251, 310:370].astype(int), axis=(1, 2)) < 60).all(axis=1)
    assert line.tolist() == [5 <= number <= 15 for number in range(26)]
    # On both sides the person is hidden.
    for part in (pictures[:, 26:, :_WIDTH], beside):
        assert (part[0, 140:230, 60:115] != _FRAMES[0, 140:230, 60:115]).mean() > 0.9


def test_wrong_options_are_told():
    with pytest.raises(UserError, match="trails must be a number of seconds, got -1"):
        DrawingOptions(trails=-1)
    with pytest.raises(UserError, match="blur must be one of persons, faces, got 'cats'"):
        DrawingOptions(blur="cats")
    assert DrawingOptions().settings() == {}
    assert DrawingOptions(trails=2, blur="faces").settings() == {"trails": 2, "blur": "faces"}
