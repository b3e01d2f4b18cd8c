"""When detection is recorded and replayed; the graph itself is a stand-in here."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from small_detectors import small_detector

from tubedet.layers import without_tf32
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.graph_capture import RecordedPrediction


class FakeGraph:
    """Computes again from the memory that was recorded, as a graph does."""

    recorded = None

    def replay(self):
        """Do what was recorded while this was the graph."""
        if self.recorded is None:  # the stand-in computes while it records
            return
        predict, clips, outputs = self.recorded
        with torch.inference_mode():
            for old, new in zip(outputs, predict(clips)):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)
                else:
                    old.boxes.copy_(new.boxes)
                    old.action_logits.copy_(new.action_logits)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are recorded."""
    made = []

    def new_graph():
        made.append(FakeGraph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream before")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **options: contextlib.nullcontext())
    return made


def _detector():
    _, model = small_detector("TubeR")
    return model.eval()


def _clips(model, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randint(0, 256, (3, 4, 32, width), dtype=torch.uint8, generator=generator)
    return ClipBatch.from_clips([clip], model.pixel_mean, model.pixel_std)


def _record(recorded, model, clips, graphs, compute=None):
    number = len(graphs)
    compute = compute or model.predict
    outputs = recorded(compute, clips, model.parameters())
    if len(graphs) > number:  # the stand-in learns what it would have recorded
        recording = next(reversed(recorded._recordings.values()))
        graphs[-1].recorded = (compute, recording.clips, recording.outputs)
    return outputs


@torch.no_grad()
def test_maps_of_given_boxes_are_replayed_and_boxes_are_not(graphs, monkeypatch):
    """Clips of one size share a graph, however many boxes each of them has."""
    _, model = small_detector("RoI")
    recorded = RecordedPrediction()
    monkeypatch.setattr(
        model,
        "computed",
        lambda compute, clips: _record(recorded, model, clips, graphs, compute),
    )
    boxes = torch.tensor([[2.0, 1, 20, 30], [15, 4, 39, 28], [0, 0, 39, 31]])
    for seed in range(4):
        clips = _clips(model, 40, seed)
        found = model.action_logits(clips, [boxes[:seed]])
        expected = model.action_head(model.feature_maps(clips), F.pad(boxes[:seed], (1, 0)))
        assert found.shape == (seed, model.num_actions)
        torch.testing.assert_close(found, expected)
    assert len(graphs) == 1


@torch.no_grad()
def test_replays_equal_predictions(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    for seed in range(4):
        clips = _clips(model, 40, seed)
        outputs = _record(recorded, model, clips, graphs)
        expected = model.predict(clips)
        torch.testing.assert_close(outputs[-1].boxes, expected[-1].boxes)
        torch.testing.assert_close(outputs[-1].action_logits, expected[-1].action_logits)
        assert len(graphs) == (1 if seed else 0)  # a size that is met once is not recorded


@torch.no_grad()
def test_results_stay_after_the_next_call(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    results = []
    for seed in range(4):
        result = _record(recorded, model, _clips(model, 40, seed), graphs)[-1].boxes
        results.append((result, result.clone()))
    for result, as_it_was in results:
        torch.testing.assert_close(result, as_it_was, rtol=0, atol=0)


@torch.no_grad()
def test_a_pass_that_cannot_be_recorded_says_what_to_do(graphs):
    model = _detector()
    recorded = RecordedPrediction()

    calls = []

    def predict(clips):
        calls.append(clips)
        if len(calls) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return model.predict(clips)

    recorded(predict, _clips(model, 40), model.parameters())
    with pytest.raises(RuntimeError, match="not permitted.*set MODEL.CUDA_GRAPHS False"):
        recorded(predict, _clips(model, 40), model.parameters())


@torch.no_grad()
def test_sizes_and_precisions_have_graphs_of_their_own(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    for width in (40, 48):
        for _ in range(2):
            _record(recorded, model, _clips(model, width), graphs)
    assert len(graphs) == 2
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            _record(recorded, model, _clips(model, 40), graphs)
    assert len(graphs) == 3


@torch.no_grad()
def test_the_least_used_size_goes(graphs):
    model = _detector()
    recorded = RecordedPrediction(max_sizes=2)
    for width in (32, 40, 32, 48, 32):  # 40 goes when 48 comes
        recorded(model.predict, _clips(model, width), model.parameters())
    assert [key[0][-1] for key in recorded._recordings] == [48, 32]


def test_after_inference_mode_clips_may_come_without_it(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    with torch.inference_mode():
        for _ in range(2):
            _record(recorded, model, _clips(model, 40), graphs)
    with torch.no_grad():
        _record(recorded, model, _clips(model, 40), graphs)
    assert len(graphs) == 1


@torch.no_grad()
def test_weights_that_have_moved_are_recorded_again(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    for _ in range(3):
        _record(recorded, model, _clips(model, 40), graphs)
    assert len(graphs) == 1
    model.box_head.layers[0].weight.data = model.box_head.layers[0].weight.data.clone()
    _record(recorded, model, _clips(model, 40), graphs)
    assert len(graphs) == 2


@torch.no_grad()
def test_settings_of_tf32_are_not_replayed(graphs):
    model = _detector()
    recorded = RecordedPrediction()
    for _ in range(2):
        _record(recorded, model, _clips(model, 40), graphs)
    with without_tf32():
        for _ in range(2):
            _record(recorded, model, _clips(model, 40), graphs)
    assert len(graphs) == 2


@torch.no_grad()
def test_the_stream_is_on_the_gpu_of_the_clips(graphs, monkeypatch):
    seen = []
    monkeypatch.setattr(
        torch.cuda,
        "graph",
        lambda graph, **options: seen.append(options) or contextlib.nullcontext(),
    )
    model = _detector()
    recorded = RecordedPrediction()
    for width in (40, 40, 48, 48):
        recorded(model.predict, _clips(model, width), model.parameters())
    wanted = {"pool": "pool", "stream": "stream of cpu", "capture_error_mode": "thread_local"}
    assert seen == [wanted, wanted]
