import pytest

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference.many_videos import VideoDetection, make_process_elsewhere
from tubedet.inference.result_folder import run_with_settings


@pytest.fixture
def detection(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"those of the run")
    cfg = load_config("", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(tmp_path / "weights.pth")])
    return VideoDetection(cfg, output=tmp_path / "out", formats=("csv",))


def test_another_machine_must_have_the_same_folder_and_weights(detection, tmp_path):
    with pytest.raises(UserError, match=r"^on .*: .*/out is not the folder of this run; give an"):
        make_process_elsewhere(detection, "cpu")
    assert not (tmp_path / "out").exists()
    with run_with_settings(tmp_path / "out", detection.settings(), alone=True):
        (tmp_path / "weights.pth").write_bytes(b"others")
        with pytest.raises(UserError, match="^on .*weights: sha256 .* there, sha256 .* now"):
            make_process_elsewhere(detection, "cpu")
        (tmp_path / "weights.pth").unlink()
        with pytest.raises(UserError, match="^on .*weights.pth does not exist"):
            make_process_elsewhere(detection, "cpu")
