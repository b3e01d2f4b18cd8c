import torch
from simulated_gpu import DEVICE, SimulatedGPU

from tubedet.modeling import ClipTarget
from tubedet.modeling.targets import BatchTarget


def _clips():
    generator = torch.Generator().manual_seed(0)
    tubes = torch.rand(1, 4, 4, generator=generator)
    valid = torch.tensor([[True, False, True, False]])
    return [
        ClipTarget(torch.rand(2, 4, generator=generator), torch.eye(3)[:2]),
        ClipTarget(torch.zeros(0, 4), torch.zeros(0, 3)),
        ClipTarget(tubes[:, 2], torch.eye(3)[2:], tubes, valid),
    ]


def test_boxes_of_all_clips_stand_in_a_row():
    clips = _clips()
    batch = BatchTarget.from_clips(clips, torch.zeros(1, dtype=torch.float64))
    assert batch.counts == [2, 0, 1] and batch.visible.tolist() == [1, 0, 1]
    assert batch.actions.dtype == torch.float64 and batch.actions.tolist() == torch.eye(3).tolist()
    expected = torch.cat([clip.boxes for clip in clips]).double()
    assert torch.equal(batch.boxes[:, 0], expected)
    assert batch.frame_boxes is None and batch.frame_weight is None


def test_frames_of_a_box_weigh_one_in_all():
    clips = _clips()
    batch = BatchTarget.from_clips(clips, torch.zeros(1), num_frames=4)
    assert batch.frame_weight.tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [0.5, 0, 0.5, 0]]
    assert torch.equal(batch.frame_boxes[:2, 2], clips[0].boxes)
    assert torch.equal(batch.frame_boxes[2, 0], clips[2].frame_boxes[0, 0])
    # Where nothing is annotated the box has an area, so that no overlap divides by zero.
    assert batch.frame_boxes[2, 1].tolist() == [0.5, 0.5, 1, 1]
    assert BatchTarget.from_clips(clips[:2], torch.zeros(1), num_frames=4).frame_boxes is None


def test_one_transfer_takes_all_of_it():
    with SimulatedGPU() as gpu:
        like = torch.zeros(1).to(DEVICE)
        gpu.reset()
        batch = BatchTarget.from_clips(_clips(), like, num_frames=4)
        assert gpu.copies == {"to the GPU": 1} and not gpu.synchronisations
    assert batch.actions.device == batch.frame_weight.device == DEVICE
