"""Detection in videos with the attention of actions."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import write_video

from tubedet.data import ClipDatasetMapper
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference import (
    VideoActionDetector,
    VideoOutputs,
    action_names_of,
    attention_in_frame,
    write_video_results,
)

CONFIG = "configs/quick_schedules/ClassQuery_toy.yaml"


@pytest.fixture(scope="module")
def cfg():
    return load_config(CONFIG, ["MODEL.DEVICE", "cpu"])


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(2)
    return build_model(cfg).eval()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "film.mp4", 25, rate=10)


def test_results_have_the_attention_of_the_model(cfg, model, film):
    """For two actions by name, in one pass per batch, as the model explains the same clip."""
    detector = VideoActionDetector(cfg, model=model, batch_size=2, explain=["Walk", "answer phone"])
    names = action_names_of(cfg)
    assert [names[column] for column in detector.explained] == ["walk", "answer phone"]
    passes = []
    detector.model.backbone.register_forward_hook(lambda *_: passes.append(1))
    results = list(detector(film))
    assert len(results) == 3 and len(passes) == 2
    mapper = ClipDatasetMapper(cfg, is_train=False)
    record = {"video_id": "film", "video": str(film), "fps": 30.0, "start_second": 0.0}
    for result in results:
        maps = result.instances.action_attention
        assert maps.dtype == torch.float32 and not maps.is_inference()
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(4, 2))
        with torch.no_grad():
            (expected,) = model.explain(
                [mapper({**record, "timestamp": result.time})], detector.explained
            )
        torch.testing.assert_close(
            maps, expected["instances"].action_attention, atol=1e-5, rtol=1e-4
        )
        height, width = result.instances.image_size
        assert attention_in_frame(result.instances, 1).shape == (4, height, width)


def test_scores_are_those_of_a_detector_that_does_not_explain(cfg, model, film):
    with_maps, without = (
        list(VideoActionDetector(cfg, model=model, explain=explain)(film, images=True))
        for explain in ("walk", ())
    )
    assert not without[0].instances.has("action_attention")
    for one, other in zip(with_maps, without, strict=True):
        torch.testing.assert_close(one.instances.action_scores, other.instances.action_scores)
        np.testing.assert_array_equal(one.image, other.image)


def test_a_model_that_looks_once_has_one_map_per_person(film, caplog):
    cfg = load_config("configs/quick_schedules/TubeR_toy.yaml", ["MODEL.DEVICE", "cpu"])
    detector = VideoActionDetector(cfg, model=build_model(cfg), explain=["walk", "answer phone"])
    assert "TubeR looks once for all actions of a person" in caplog.text
    instances = next(iter(detector(film, end=1.0))).instances
    maps, context = instances.action_attention, instances.context_attention
    assert len(maps) == len(context) and maps.shape[1] == 2 and context.shape[1] > 1
    torch.testing.assert_close(maps[:, 0], context.sum(1))
    torch.testing.assert_close(maps[:, 1], context.sum(1))
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(len(maps), 2))


def test_mixed_precision_changes_little(cfg, model, film):
    maps = [
        next(iter(VideoActionDetector(cfg, model=model, amp=amp, explain="walk")(film, end=1.0)))
        for amp in (None, "bfloat16")
    ]
    exact, rough = (result.instances.action_attention for result in maps)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.sum((-2, -1)), torch.ones(4, 1))
    assert 0 < (rough - exact).abs().max() < 0.02


def test_heat_is_in_the_video_that_is_written(cfg, model, film):
    shown = {}
    for explain in ((), "walk"):
        detector = VideoActionDetector(cfg, model=model, explain=explain)
        frames = []
        write_video_results(
            detector,
            film,
            VideoOutputs(),
            action_names=action_names_of(cfg),
            confidence_threshold=0.0,
            person_threshold=0.0,
            show=lambda drawing, frames=frames: frames.append(drawing.astype(int)) or True,
        )
        shown[explain] = np.stack(frames)
    reddened = (shown["walk"] - shown[()]).mean((1, 2))
    assert len(reddened) == 25
    # The heat covers every frame, also between the key frames.
    assert (reddened[:, 0] - reddened[:, 1:].max(1) > 20).all()


def test_what_cannot_be_explained_is_refused_at_once(cfg, model):
    with pytest.raises(UserError, match="no action 'walc' to explain; did you mean 'walk'"):
        VideoActionDetector(cfg, model=model, explain=["walc"])
    other = load_config("configs/quick_schedules/STMixer_toy.yaml", ["MODEL.DEVICE", "cpu"])
    with pytest.raises(UserError, match="^STMixer cannot explain an action: .* ClassQueryDetector"):
        VideoActionDetector(other, explain="walk")
    with pytest.raises(UserError, match="^Identity cannot explain an action: it is no arch"):
        VideoActionDetector(
            model=torch.nn.Identity(),
            augmentations=[],
            num_frames=4,
            frame_stride=1,
            fps=10.0,
            explain=[0],
        )
