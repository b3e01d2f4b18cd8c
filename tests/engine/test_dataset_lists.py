import pytest
from detectron2.data import DatasetCatalog

from tubedet import agreement
from tubedet.agreement import AgreedError
from tubedet.engine import load_config
from tubedet.engine.dataset_lists import evenly_sampled, read_key_frames
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def test_a_process_alone_reads_its_data_sets(two_key_frames):
    cfg = load_config(CONFIG)
    key_frames = read_key_frames(cfg, (two_key_frames,), is_train=True)
    assert len(key_frames) == 2 and all(frame["annotations"] for frame in key_frames)
    assert read_key_frames(cfg, [two_key_frames], is_train=False) == key_frames
    with pytest.raises(UserError, match="has 80 actions, MODEL.NUM_ACTIONS is 7"):
        cfg.MODEL.NUM_ACTIONS = 7
        read_key_frames(cfg, [two_key_frames], is_train=False)


def test_other_key_frames_on_another_machine_are_refused(two_key_frames, monkeypatch):
    cfg = load_config(CONFIG)
    found = []
    monkeypatch.setattr(
        agreement, "_gather_by_process", lambda value: [*found, ("process 1 on b", value)]
    )
    found.append(("process 0 on a", "2 key frames, checksum 00000000"))
    with pytest.raises(
        AgreedError,
        match=rf"different key frames in {two_key_frames}: 2 key .* \(process 0 on a\), but 2 key "
        r"frames, checksum [0-9a-f]{8} \(process 1 on b\); all machines need the same annotation",
    ) as raised:
        read_key_frames(cfg, [two_key_frames], is_train=True)
    # The same ones on both are accepted.
    found[0] = ("process 0 on a", str(raised.value).partition("but ")[2].partition(" (")[0])
    assert len(read_key_frames(cfg, [two_key_frames], is_train=True)) == 2


def test_lists_without_a_key_frame_are_refused():
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu"])
    for key_frames, message in (([], "no_frames: no key frame"), ([{"annotations": []}], "usable")):
        DatasetCatalog.register("no_frames", lambda found=key_frames: found)
        try:
            with pytest.raises(UserError, match=message):
                read_key_frames(cfg, ["no_frames"], is_train=True)
        finally:
            DatasetCatalog.remove("no_frames")


@pytest.mark.parametrize(
    "total, number, expected",
    [(10, 3, [1, 5, 8]), (10, 1, [5]), (9, 9, list(range(9))), (2, 5, [0, 1]), (7, 6, None)],
)
def test_a_sample_is_spread_evenly(total, number, expected):
    found = [k["n"] for k in evenly_sampled([{"n": n} for n in range(total)], number)]
    assert len(set(found)) == min(total, number) and found == sorted(found)
    assert expected is None or found == expected
