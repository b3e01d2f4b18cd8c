import torch

from tubedet.modeling import LayerOutput


def test_the_key_frame_of_a_tube_is_its_middle_one():
    boxes = torch.rand(2, 5, 3, 4)
    layer = LayerOutput(torch.rand(2, 5, 3, 7), boxes, None)
    key_frame = layer.of_key_frame()
    assert layer.is_tube and not key_frame.is_tube
    assert torch.equal(key_frame.boxes, boxes[:, 2]) and key_frame.person_logits is None
    assert torch.equal(key_frame.action_logits, layer.action_logits[:, 2])
    assert key_frame.of_key_frame() is key_frame


def test_joined_layers_have_a_side_more_and_full_precision():
    layers = [LayerOutput(None, torch.rand(2, 3, 4).bfloat16(), is_proposal=True) for _ in range(4)]
    joined = LayerOutput.joined(layers)
    assert joined.boxes.shape == (4, 2, 3, 4) and joined.boxes.dtype == torch.float32
    assert torch.equal(joined.boxes[2], layers[2].boxes.float())
    assert joined.is_proposal and joined.action_logits is None
