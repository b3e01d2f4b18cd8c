"""Detection in videos with long-term context."""

import pytest
import torch
from detectron2.structures import Instances
from numbered_videos import write_video
from recording_detector import CountingSource
from small_detectors import small_detector
from torch import nn
from torch.testing import assert_close

from tubedet.data import ClipDatasetMapper
from tubedet.data.memory_store import MemoryBuilder, MemoryStore
from tubedet.errors import UserError
from tubedet.inference import (
    VideoActionDetector,
    VideoOutputs,
    action_names_of,
    write_video_results,
)
from tubedet.inference.remembered_detection import RememberedDetection
from tubedet.modeling.memory_reader import MemoryReader

SECONDS = 8
MEMORY = ["MODEL.MEMORY.WINDOW", 2, "MODEL.MEMORY.PERSON_THRESH", 0.3]
MEMORY += ["MODEL.TUBER.PERSON_THRESH", 0.0, "MODEL.MEMORY.PERSONS_PER_SECOND", 2]
READER = ["MODEL.MEMORY.ENABLED", True, "MODEL.MEMORY.HIDDEN_DIM", 32]
READER += ["MODEL.MEMORY.NUM_HEADS", 4, "MODEL.MEMORY.FEEDFORWARD_DIM", 64]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "film.mp4", 10 * SECONDS, rate=10)


@pytest.fixture(scope="module")
def store(film, tmp_path_factory):
    """What the model without a reader saw in each second."""
    cfg, model = small_detector("TubeR", opts=MEMORY)
    model.gives_features, model.fingerprint = True, "sha256 base"
    folder = tmp_path_factory.mktemp("memory")
    outputs = VideoOutputs(memory=folder / "film.memory.safetensors")
    detector = VideoActionDetector(cfg, model=model, batch_size=3)
    write_video_results(detector, film, outputs, action_names=action_names_of(cfg))
    return folder


def reading_detector(*opts):
    """A config and a model with the weights of the store's, and a reader that changes scores."""
    base = small_detector("TubeR", opts=MEMORY)[1]
    cfg, model = small_detector("TubeR", opts=[*MEMORY, *READER, *opts])
    model.load_state_dict(base.state_dict(), strict=False)
    nn.init.normal_(model.memory_reader.out.weight)
    return cfg, model


def test_the_store_has_the_surest_persons_of_each_second(store):
    found = MemoryStore(store).around("film", 0.0, before=0, after=100)
    times, counts = found.times.unique(return_counts=True)
    assert times.tolist() == [float(second) for second in range(SECONDS)]
    assert counts.max() == 2 and found.scores.min() >= 0.3
    assert found.vectors.shape == (len(found.times), 64)
    assert MemoryStore(store).model("film") == "sha256 base"


@pytest.mark.parametrize("past_only", [False, True])
def test_videos_are_remembered_as_data_sets_are(film, store, past_only):
    """What is kept of a pass, with results in between, equals what was stored before."""
    opts = ["MODEL.MEMORY.STORE", str(store), "MODEL.MEMORY.PAST_ONLY", past_only]
    cfg, model = reading_detector(*opts)
    mapper = ClipDatasetMapper(cfg, is_train=False)
    results = list(VideoActionDetector(cfg, model=model, batch_size=2)(film))
    between = list(VideoActionDetector(cfg, model=model)(film, every=0.5))
    assert [result.time for result in results] == list(range(SECONDS))
    record = {"video_id": "film", "video": str(film), "fps": 30.0, "start_second": 900.0}
    changes = []
    for result in results:
        model_input = mapper({**record, "timestamp": 900.0 + result.time})
        assert len(model_input["memory"]) >= 2
        with torch.no_grad():
            ((expected,), (alone,)) = (model([x]) for x in (model_input, without(model_input)))
        scores = expected["instances"].action_scores
        assert_close(result.instances.action_scores, scores, atol=1e-5, rtol=1e-4)
        changes.append((scores - alone["instances"].action_scores).abs().max())
        assert not result.instances.has("action_features")
        assert_close(
            between[2 * round(result.time)].instances.action_scores, scores, atol=1e-5, rtol=1e-4
        )
    assert min(changes) > 1e-2


def without(model_input):
    return {name: value for name, value in model_input.items() if not name.startswith("memory")}


class Observer:
    """A model that sees one person in each clip, and notes what it is told of the memory."""

    def __init__(self):
        self.most = 0

    def observe(self, inputs):
        return list(inputs)

    def conclude(self, observations, memories):
        self.most = max(self.most, *(len(x.get("memory", ())) for x in memories))
        return [
            Instances((8, 8), scores=torch.ones(1), action_features=torch.zeros(1, 6))
            for _ in observations
        ]


def test_the_memory_of_a_long_film_is_that_of_its_window():
    reader = MemoryReader(
        feature_dim=6,
        num_outputs=1,
        dim=8,
        num_heads=2,
        feedforward_dim=8,
        num_queries=(2, 2),
        dropout=0.0,
        window=30,
        past_only=False,
    )
    observer = Observer()
    detection = RememberedDetection(observer, reader, MemoryBuilder())
    times, late, kept = [], [], []
    for second in range(3600):
        for (time,), _ in detection.add([(float(second),)], [float(second)], [{}]):
            times.append(time)
            late.append(second - time)
        kept.append(len(detection._memories) + len(detection._waiting))
    times += [time for (time,), _ in detection.finish()]
    assert times == [float(second) for second in range(3600)]
    assert set(late) == {30.0} and observer.most == 61
    assert max(kept) <= 61 + 31


def test_what_cannot_be_done_is_said(film, store):
    cfg, model = reading_detector("MODEL.MEMORY.STORE", str(store))
    with pytest.raises(UserError, match="would wait 2 s .*set MODEL.MEMORY.PAST_ONLY to True"):
        next(iter(VideoActionDetector(cfg, model=model).frames(CountingSource(20))))
