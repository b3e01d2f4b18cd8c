"""The comparison of a program with a detector."""

import math

import pytest
import torch
from small_detectors import small_detector

from tubedet.export import ClipShape, compare, verification_shapes
from tubedet.export.clip_program import OUTPUTS
from tubedet.export.verification import detections


def test_every_output_and_shape_counts():
    _, model = small_detector("TubeR", own_backbone=False)
    shape = ClipShape(8)
    cases = [(2, (48, 64)), (1, (32, 33))]

    def run(change, clips):
        outputs = detections(model, clips)
        change(outputs)
        return outputs

    same, _ = compare(lambda clips: run(lambda x: None, clips), model, shape, cases)
    assert same.shape == (2, 3, 8, 48, 64) and same.largest == 0
    for index, name in enumerate(OUTPUTS):

        def shift(outputs, index=index):
            outputs[index][0].view(-1)[0] += 0.25

        found = compare(lambda clips: run(shift, clips), model, shape, cases)
        assert [getattr(d, name) for d in found] == pytest.approx([0.25] * 2)
        assert [d.largest for d in found] == pytest.approx([0.25] * 2)

    def drop_query(outputs):
        outputs[1] = outputs[1][:, :1]

    def spoil(outputs):
        outputs[0][0, 0, 0] = math.nan

    assert compare(lambda clips: run(drop_query, clips), model, shape, cases)[0].largest == math.inf
    assert math.isnan(compare(lambda clips: run(spoil, clips), model, shape, cases)[0].largest)


def test_cases_vary_what_is_not_fixed():
    free = verification_shapes(ClipShape(8), 256)
    assert free == [(1, (256, 341)), (2, (321, 257)), (3, (128, 128))]
    pyramid = verification_shapes(ClipShape(8, multiple=32), 256)
    assert pyramid == [(1, (256, 320)), (2, (320, 256)), (3, (128, 128))]
    patches = verification_shapes(ClipShape(8, multiple=14), 60)  # of ViT-g
    assert patches == [(1, (56, 70)), (2, (70, 56)), (3, (42, 42))]
    assert verification_shapes(ClipShape(8, 4, (48, 64)), 256) == [(4, (48, 64))]
    assert verification_shapes(ClipShape(8, 4), 48)[-1] == (4, (32, 32))
    clips = ClipShape(8, 4, (40, 48)).random_clips(1, (9, 9), torch.Generator())
    assert clips.shape == (4, 3, 8, 40, 48) and clips.dtype == torch.uint8


def test_tf32_is_off_while_programs_are_compared():
    _, model = small_detector("TubeR", own_backbone=False)
    cudnn, seen = torch.backends.cudnn, []

    def run(clips):
        seen.append(cudnn.allow_tf32)
        return detections(model, clips)

    hook = model.register_forward_pre_hook(lambda *_: seen.append(cudnn.allow_tf32))
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = True
        compare(run, model, ClipShape(8), [(1, (48, 64))])
        assert seen == [False] * 3 and cudnn.allow_tf32
    finally:
        hook.remove()
        cudnn.allow_tf32 = before
