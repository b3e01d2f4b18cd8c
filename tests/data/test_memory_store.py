import pytest
import torch

from tubedet.data.memory_store import Memory, MemoryBuilder, MemoryStore, joined, write_memory
from tubedet.errors import UserError


def remembered(times):
    """One person at each time, whose vector tells it."""
    times = torch.tensor(times, dtype=torch.float64)
    return Memory(times[:, None].half().expand(-1, 4), times, torch.full_like(times, 0.75).half())


@pytest.fixture
def store(tmp_path):
    """The memory of a film, in its own folder as ``tubedet build-memory`` writes it."""
    (tmp_path / "film").mkdir()
    path = tmp_path / "film" / "film.memory.safetensors"
    write_memory(path, remembered([4.0, 1.0, 2.0, 2.0, 9.0]), model="sha256 abc")
    return MemoryStore(tmp_path)


@pytest.mark.parametrize(
    ("time", "before", "after", "expected"),
    [
        (2.0, 1, 2, [1.0, 2.0, 2.0, 4.0]),
        (2.0, 0, 0, [2.0, 2.0]),
        (2.0, 30, 30, [1.0, 2.0, 2.0, 4.0, 9.0]),
        (6.5, 2, 2, []),
        (2.0004, 1, 0, [1.0, 2.0, 2.0]),  # sums of rounded numbers
        (100.0, 30, 30, []),
    ],
)
def test_rows_of_a_window_come_in_the_order_of_time(store, time, before, after, expected):
    found = store.around("film", time, before=before, after=after)
    assert found.times.tolist() == expected
    assert found.vectors.shape == (len(expected), 4) and found.vectors.dtype == torch.float16
    assert found.vectors[:, 0].tolist() == expected
    assert found.scores.tolist() == [0.75] * len(expected)


def test_a_video_without_persons_has_an_empty_memory(tmp_path):
    nothing = joined([], feature_dim=4)
    write_memory(tmp_path / "film.memory.safetensors", nothing, model="m")
    found = MemoryStore(tmp_path).around("film", 3.0, before=30, after=30)
    assert found.vectors.shape == (0, 4) and len(found.times) == 0


def test_stores_that_cannot_be_used_are_refused(store, tmp_path):
    assert store.model("film") == "sha256 abc"
    with pytest.raises(UserError, match="has no memory of video 'other'; `tubedet build-memory`"):
        store.around("other", 1.0, before=1, after=1)
    with pytest.raises(UserError, match="MODEL.MEMORY.STORE is '.*nowhere', which is no folder"):
        MemoryStore(tmp_path / "nowhere")
    damaged = tmp_path / "damaged.memory.safetensors"
    damaged.write_bytes(store.path("film").read_bytes()[:40])
    with pytest.raises(UserError, match="damaged.memory.safetensors is damaged"):
        store.around("damaged", 1.0, before=1, after=1)


def test_the_surest_persons_of_the_first_key_frame_of_a_second_are_kept():
    builder = MemoryBuilder(persons_per_second=2, person_thresh=0.5)
    features = torch.arange(4.0)[:, None].expand(-1, 3)
    scores = torch.tensor([0.6, 0.4, 0.9, 0.7])
    first = builder.chosen(1.0, features, scores)
    assert first is not None and first.vectors[:, 0].tolist() == [2.0, 3.0]
    assert first.times.tolist() == [1.0, 1.0]
    assert builder.chosen(1.5, features, scores) is None
    # A sum of rounded numbers is the second that it is meant to be.
    second = builder.chosen(1.9999999, features, scores * 0.6)
    assert second is not None and second.vectors[:, 0].tolist() == [2.0]
    third = builder.chosen(3.25, features, scores * 0.1)
    assert third is not None and len(third.times) == 0
