"""The commands that are killed: their input, and what must hold after a kill and a next run."""

from __future__ import annotations

import http.client
import json
import re
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import torch
import yaml

from .runs import ROOT, Run

_CONFIG = str(ROOT / "configs/quick_schedules/TubeR_toy.yaml")
_SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.WIDTH_MULTIPLIER", "0.125", "INPUT.MIN_SIZE_TEST", "32"]
_TRAINING = ["SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "2", "SOLVER.WARMUP_ITERS", "2"]
_TRAINING += ["INPUT.MIN_SIZE_TRAIN", "(32,)", "SOLVER.MAX_ITER", "9", "OUTPUT_DIR", "out"]
_TRAINING += ["SOLVER.CHECKPOINT_PERIOD", "3", "TEST.EVAL_PERIOD", "6"]
_FRACTIONS = {"image_id": 0, "bbox": [1, 2, 30, 40.5], "category_id": 1}


@dataclass(frozen=True)
class Command:
    """A command that is killed and goes on.

    Attributes:
        name: in the table.
        arguments: of ``tubedet``, for the run that is killed.
        prepare: makes its input in a folder.
        faults: what is wrong with the files of a folder, whenever the run was killed.
        faults_at_end: what is wrong after the next run has ended.
        next_arguments: those of the next run; None: the same.
        victims: which processes are killed in turn, see :meth:`.Run.kill`.
        drive: works with the run until its work is done, and ends it; None: it ends by itself.
    """

    name: str
    arguments: list[str]
    prepare: Callable[[Path], None]
    faults: Callable[[Path], list[str]]
    faults_at_end: Callable[[Path], list[str]]
    next_arguments: list[str] | None = None
    victims: tuple[str, ...] = ("main",)
    drive: Callable[[Run], None] | None = None


def commands(inputs: Path) -> list[Command]:
    """All of them.

    Args:
        inputs: folder to which shared inputs are written.
    """
    weights = inputs / "model.pth"
    _write_weights(weights)
    videos = [_write_video(inputs / f"film{number}.mp4", number) for number in range(3)]
    detector = ["--config-file", _CONFIG]
    opts = [*_SMALL, "MODEL.WEIGHTS", str(weights)]
    train = ["train", "--config-file", _CONFIG]
    predict = ["predict", *detector, "--inputs", "list.txt", "--output", "out", "--formats"]
    predict += ["csv,jsonl,coco,mp4", "--every", "0.5"]
    export = ["export", *detector, "--format", "torch_export", "--size", "32x32", "--overwrite"]
    export += ["--output", "out/model.pt2"]
    imports = ["import", "coco-video", "boxes.json", "--videos", "videos", "--fps", "25"]
    imports += ["--output", "out/my.yaml", "--first-frame", "0", "--overwrite"]

    def write_list(folder: Path) -> None:
        (folder / "list.txt").write_text("".join(f"{path}\n" for path in videos))

    return [
        Command(
            "train, one process",
            [*train, *_SMALL, *_TRAINING],
            lambda folder: None,
            _training_faults,
            _trained_faults,
            next_arguments=[*train, "--resume", *_SMALL, *_TRAINING],
        ),
        Command(
            "train, two processes",
            [*train, "--num-gpus", "2", *_SMALL, *_TRAINING],
            lambda folder: None,
            _training_faults,
            _trained_faults,
            next_arguments=[*train, "--resume", "--num-gpus", "2", *_SMALL, *_TRAINING],
            victims=("main", "rank 0", "rank 1", "all"),
        ),
        Command(
            "predict, one process",
            [*predict, *opts],
            write_list,
            _prediction_faults,
            lambda folder: _predicted_faults(folder, len(videos)),
        ),
        Command(
            "predict, two processes",
            [*predict, "--num-gpus", "2", *opts],
            write_list,
            _prediction_faults,
            lambda folder: _predicted_faults(folder, len(videos)),
            victims=("main", "rank 0", "all"),
        ),
        Command("import", imports, _prepare_import, _import_faults, _imported_faults),
        Command("export", [*export, *opts], _prepare_export, _export_faults, _exported_faults),
        Command(
            "web",
            ["web", *detector, *opts],
            lambda folder: None,
            lambda folder: [],
            _page_faults,
            drive=lambda run: _use_page(run, videos[0]),
        ),
    ]


def partial_files(folder: Path) -> list[Path]:
    """Temporary files and folders of writers.

    Args:
        folder: in which a run has written.
    """
    return [path for path in folder.rglob(".*") if re.search(r"\.[0-9a-f]{16}\.partial", path.name)]


def _write_weights(path: Path) -> None:
    from detectron2.modeling import build_model

    from tubedet.engine import load_config

    torch.manual_seed(3)
    torch.save({"model": build_model(load_config(_CONFIG, _SMALL)).state_dict()}, path)


def _write_video(path: Path, number: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in range(20):
            image = np.full((48, 64, 3), 90 + number, np.uint8)
            image[10:30, frame : frame + 20] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _training_faults(folder: Path) -> list[str]:
    """Checkpoints are whole and the last one is there; other files are whole as well."""
    out, faults = folder / "out", []
    for path in out.glob("*.pth"):
        try:
            assert torch.load(path, weights_only=True)["model"]
        except Exception as error:
            faults.append(f"{path.name}: {error}")
    last = out / "last_checkpoint"
    if last.exists() and not (out / last.read_text()).is_file():
        faults.append(f"last_checkpoint names {last.read_text()!r}, which is not there")
    if (out / "config.yaml").exists():
        config = yaml.safe_load((out / "config.yaml").read_text())
        if not config or config["OUTPUT_DIR"] != "out":
            faults.append("config.yaml is not whole")
    return faults + _json_faults(out)


def _trained_faults(folder: Path) -> list[str]:
    out, faults = folder / "out", []
    if (out / "last_checkpoint").read_text() != "model_final.pth":
        faults.append("last_checkpoint is not that of the end")
    lines = (out / "metrics.json").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    steps = [line["iteration"] for line in metrics if "total_loss" in line]
    if steps != sorted(set(steps)):
        faults.append(f"metrics.json has the iterations {steps}")
    return faults


def _json_faults(out: Path) -> list[str]:
    faults = []
    for path in out.rglob("*.json"):
        if path.name != "metrics.json" and not path.name.startswith("."):
            try:
                json.loads(path.read_text())
            except ValueError as error:
                faults.append(f"{path.name}: {error}")
    return faults


def _prediction_faults(folder: Path) -> list[str]:
    """What has the name of a result is the result, with the right number of rows."""
    out = folder / "out"
    if not out.exists():
        return []
    faults = []
    for record in out.glob("film*"):
        counts = {path.suffix: path for path in record.iterdir()}
        if len(counts) != 4 or not (record / "video.json").is_file():  # .json twice
            faults.append(f"{record.name} has {sorted(path.name for path in record.iterdir())}")
            continue
        key_frames = json.loads((record / "video.json").read_text())["key_frames"]
        lines = counts[".jsonl"].read_text().splitlines()
        if len([json.loads(line) for line in lines]) != key_frames:
            faults.append(f"{counts['.jsonl'].name} has {len(lines)} lines")
        with av.open(str(counts[".mp4"])) as video:
            if (frames := sum(1 for _ in video.decode(video=0))) != 20:
                faults.append(f"{counts['.mp4'].name} has {frames} frames")
    return faults + _json_faults(out)


def _predicted_faults(folder: Path, number: int) -> list[str]:
    found = sorted(path.name for path in (folder / "out").iterdir())
    expected = [f"film{index}" for index in range(number)]
    left_out = (".claims.lock", ".run.lock", "run.json")
    return [] if [n for n in found if n not in left_out] == expected else [f"out has {found}"]


def _boxes(name: str) -> dict:
    boxes = [{**_FRACTIONS, "image_id": n, "track_id": n % 7} for n in range(2000)]
    return {
        "videos": [{"id": 1, "file_name": "gym.mp4"}],
        "images": [{"id": n, "video_id": 1, "frame": n} for n in range(2000)],
        "annotations": boxes,
        "categories": [{"id": 1, "name": name}],
    }


def _prepare_import(folder: Path) -> None:
    (folder / "videos").mkdir()
    (folder / "out").mkdir()
    (folder / "boxes.json").write_text(json.dumps(_boxes("run")))
    (folder / "out/my.yaml").write_text("older")
    (folder / "out/my.csv").write_text("older")


def _import_faults(folder: Path) -> list[str]:
    """Each file is the older one or the new one."""
    faults = []
    rows = (folder / "out/my.csv").read_text()
    if rows != "older" and (len(rows.splitlines()) != 2000 or not rows.endswith("\n")):
        faults.append(f"my.csv has {len(rows.splitlines())} lines")
    text = (folder / "out/my.yaml").read_text()
    if text != "older":
        if yaml.safe_load(text).get("timestamps") != "frames":  # the last line
            faults.append("my.yaml is not whole")
        if rows == "older":
            faults.append("my.yaml is new beside an older csv")
    return faults


def _imported_faults(folder: Path) -> list[str]:
    names = sorted(path.name for path in (folder / "out").iterdir())
    is_new = (folder / "out/my.yaml").read_text() != "older"
    return [] if is_new and names == ["my.csv", "my.yaml"] else [f"out has {names}"]


def _prepare_export(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/model.pt2").write_text("older")


def _export_faults(folder: Path) -> list[str]:
    path = folder / "out/model.pt2"
    if path.read_bytes() == b"older":
        return []
    with zipfile.ZipFile(path) as archive:
        return [] if archive.testzip() is None else ["model.pt2 is not whole"]


def _exported_faults(folder: Path) -> list[str]:
    names = sorted(path.name for path in (folder / "out").iterdir())
    is_new = (folder / "out/model.pt2").read_bytes() != b"older"
    return [] if is_new and names == ["model.pt2"] else [f"out has {names}"]


def _page_faults(folder: Path) -> list[str]:
    """No visitor's file is left; an empty folder goes when it is older than a minute."""
    left = [path for path in (folder / "tmp").glob("tubedet-web-*") if any(path.iterdir())]
    return [f"{path} is left" for path in left]


def _use_page(run: Run, video: Path) -> None:
    """Upload a video, wait for its results, and end the page as Ctrl-C does."""
    offset = run.log.read_text().rfind("Ctrl-C ends it")
    while (text := run.log.read_text()).rfind("Ctrl-C ends it") == offset:
        if run.poll() is not None:
            return
    address = re.findall(r"The page is at (\S+)", text)[-1]
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    head = f'--B\r\nContent-Disposition: form-data; name="files"; filename="{video.name}"'
    body = f"{head}\r\n\r\n".encode() + video.read_bytes() + b"\r\n--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    connection.request("POST", "/gradio_api/upload", body, headers)
    (path,) = json.loads(connection.getresponse().read())
    session = uuid.uuid4().hex
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    join = {"data": [file, 0.5, 1.0], "fn_index": 0, "session_hash": session}
    request = urllib.request.Request(
        f"{address}gradio_api/queue/join",
        json.dumps(join).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=120).close()
    data = f"{address}gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(data, timeout=120) as messages:
        for line in messages:
            if b"process_completed" in line and b'"success":true' not in line.replace(b" ", b""):
                raise RuntimeError(line.decode())
            if b"close_stream" in line or b"process_completed" in line:
                break
