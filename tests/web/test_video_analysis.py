import json

import av
import pytest
import torch
from numbered_videos import damage_packets

from tubedet.errors import UserError
from tubedet.inference import VideoOutputs, device_faults, write_video_results
from tubedet.inference.clip_inference import ClipInference
from tubedet.inference.device_faults import BrokenDeviceError
from tubedet.web.upload_checks import UploadError
from tubedet.web.video_analysis import VideoAnalysis


@pytest.fixture
def analysis(detector, action_names, tmp_path):
    (tmp_path / "work").mkdir()
    limits = {"max_megabytes": 1.0, "max_seconds": 10.0}
    return VideoAnalysis(detector, action_names, work_folder=tmp_path / "work", **limits)


def test_results(analysis, detector, action_names, film, tmp_path):
    fractions = []
    with analysis.run(film, threshold=0.5, every=0.5, progress=fractions.append) as result:
        with av.open(str(result.video)) as container:
            assert len(list(container.decode(video=0))) == 50
        csv, jsonl = result.files
        assert [file.name for file in (result.video, csv, jsonl)] == [
            "my film.mp4",
            "my film.csv",
            "my film.jsonl",
        ]
        expected = VideoOutputs(predictions=tmp_path / "rows.csv")
        write_video_results(detector, film, expected, action_names=action_names, every=0.5)
        assert csv.read_text() == (tmp_path / "rows.csv").read_text()
        times = [json.loads(line)["time"] for line in jsonl.read_text().splitlines()]
        assert times == [number / 2 for number in range(10)]
        # The second person is there from second 2 on, whose key frame begins at 1.75.
        assert result.timeline.count('data-start="') == 2
        assert 'data-start="1.750"' in result.timeline
        assert "sit &lt;b&gt;" in result.timeline and "jump" not in result.timeline
        assert (
            result.summary == "10 key frames, 2 persons found, 2 with actions above the threshold."
        )
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(0.98)
    assert list((tmp_path / "work").iterdir()) == []


def test_damaged_frames_are_said(analysis, make_film, tmp_path):
    path = make_film(tmp_path / "film.mp4", 5.0)
    damage_packets(path, (49,))
    with analysis.run(path, threshold=0.5, every=1.0) as result:
        assert result.summary.endswith(" 1 damaged frame left out or shown in part.")


def test_nothing_above_the_threshold(analysis, film):
    with analysis.run(film, threshold=0.95, every=2.0) as result:
        assert "<svg" not in result.timeline and "Lower the threshold" in result.timeline
        assert result.summary.startswith("3 key frames, 2 persons found, 0 with actions")


def test_the_upload_may_be_deleted_meanwhile(analysis, film, tmp_path):
    upload = tmp_path / "upload.mp4"
    upload.write_bytes(film.read_bytes())
    sources = []

    def delete_upload(fraction):
        upload.unlink(missing_ok=True)
        sources.extend((tmp_path / "work").glob("*/upload/*"))

    with analysis.run(upload, threshold=0.5, every=1.0, progress=delete_upload) as result:
        assert result.summary.startswith("5 key frames") and result.video.name == "upload.mp4"
    assert sources and not upload.exists() and list((tmp_path / "work").iterdir()) == []
    with pytest.raises(UploadError, match="upload.mp4 was deleted while it waited"):
        with analysis.run(upload, threshold=0.5, every=1.0):
            raise AssertionError("not refused")


def test_unusable_videos(analysis, make_film, tmp_path):
    with pytest.raises(UploadError, match="12 seconds long, and at most 10"):
        with analysis.run(make_film(tmp_path / "long.mp4", 12.0), threshold=0.5, every=1.0):
            raise AssertionError("not refused")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_gpu_that_breaks_is_told_apart_from_one_that_is_full(analysis, film, monkeypatch):
    def fail(self, inputs):
        raise error

    def probe(device):
        if isinstance(error, torch.AcceleratorError):
            raise error

    monkeypatch.setattr(ClipInference, "__call__", fail)
    monkeypatch.setattr(device_faults, "_probe", probe)
    error = torch.AcceleratorError("CUDA error: device-side assert triggered")
    with pytest.raises(BrokenDeviceError, match="works no more: CUDA error: device-side assert"):
        with analysis.run(film, threshold=0.5, every=1.0):
            raise AssertionError("there is a result")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    with pytest.raises(UserError, match="the memory of cpu is full"):
        with analysis.run(film, threshold=0.5, every=1.0):
            raise AssertionError("there is a result")


def test_a_job_without_room_for_its_results_does_not_begin(detector, action_names, film, tmp_path):
    drawn = 96 * 64 * 50 * 0.1 / 8  # bytes, twice, or the size of the file
    needed = 2 * max(drawn, film.stat().st_size) + 16 * 2**20
    limits = {"max_megabytes": 1.0, "max_seconds": 10.0, "work_folder": tmp_path}
    for free, is_enough in ((needed - 1, False), (needed, True)):
        analysis = VideoAnalysis(detector, action_names, free_bytes=lambda f=free: f, **limits)
        if is_enough:
            with analysis.run(film, threshold=0.5, every=1.0) as result:
                assert result.video.is_file()
        else:
            with pytest.raises(UploadError, match="no room for the results. Try again"):
                with analysis.run(film, threshold=0.5, every=1.0):
                    pass
        assert list(tmp_path.iterdir()) == []


def test_another_threshold_is_drawn_without_the_model(analysis, film, monkeypatch):
    calls = []
    forward = ClipInference.__call__
    monkeypatch.setattr(
        ClipInference, "__call__", lambda self, inputs: calls.append(1) or forward(self, inputs)
    )
    assert not analysis.is_known(film, every=1.0)
    rows, videos = [], []
    for threshold in (0.5, 0.15, 0.5):
        with analysis.run(film, threshold=threshold, every=1.0) as result:
            rows.append([result.timeline, result.files[0].read_bytes()])
            videos.append(result.video.read_bytes())
        assert len(calls) == 5 and analysis.is_known(film, every=1.0)
    assert rows[0] == rows[2] != rows[1] and videos[0] == videos[2] != videos[1]
    assert "jump" in rows[1][0] and "jump" not in rows[0][0]
    with analysis.run(film, threshold=0.5, every=0.5):
        assert len(calls) == 15  # another rate is another question


def test_a_stopped_job_gives_what_was_seen_and_is_not_kept(analysis, film):
    with analysis.run(film, threshold=0.5, every=1.0, stop=lambda: True) as result:
        assert result.summary.startswith("Stopped at 0.0 s: ") and result.video.is_file()
    assert not analysis.is_known(film, every=1.0)
