#!/usr/bin/env python
"""Detect with a file of tools/export_model.py; needs numpy, av, and torch or onnxruntime only.

    python run_exported_model.py detector.onnx video.mp4 12.5

prints the persons at that second of the video as json lines, the surest first, with their actions
from --min-score on. A file of RoIActionDetector looks at given boxes: --box X1 Y1 X2 Y2 for each,
as fractions of the picture.
"""

import argparse
import contextlib
import json
import sys

import av
import numpy as np

# Until PyAV 18 a title that is not UTF-8 stops the opening of a video unless it is told otherwise.
ANY_METADATA = (
    {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
)


def parse_arguments(arguments=None):
    """Return the command line: exported file, video and time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="of export_model.py: .pt2 or .onnx")
    parser.add_argument("video", help="file to look at")
    parser.add_argument("second", type=float, help="time in the video")
    parser.add_argument("--box", nargs=4, type=float, action="append", help="of a person")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.05,
        help="persons and actions below it are left out (default: 0.05)",
    )
    options = parser.parse_args(arguments)
    if not options.file.endswith((".onnx", ".pt2")):
        parser.error(f"{options.file}: expected an exported file, .onnx or .pt2")
    if not 0 <= options.second < float("inf"):
        parser.error(f"second must be a time in the video, got {options.second}")
    return options


def load(path):
    """Return the program and what it says about itself."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map["tubedet.json"])
        names = [x.name for x in session.get_inputs()]
        return lambda *inputs: session.run(None, dict(zip(names, inputs))), about
    import torch

    # PyTorch reads parts of such a file with Python's pickle, which runs what it is told to.
    print(
        f"{path}: a .pt2 file can run code of whoever made it; of others, take .onnx",
        file=sys.stderr,
    )
    with contextlib.suppress(ImportError):
        import torchvision  # noqa: F401  it has an operator that looks into given boxes
    files = {"tubedet.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    about = json.loads(files["tubedet.json"])
    device = about["device"]

    def run(*inputs):
        with torch.no_grad():
            found = program(*(torch.from_numpy(x).to(device) for x in inputs))
        return [x.cpu().numpy() for x in found]

    return run, about


def read_clip(video, second, about):
    """uint8 (3, T, H, W): for every slot the nearest frame, in the size of evaluation."""
    slots = np.arange(about["num_frames"]) - about["key_frame"]
    # Earlier files have no shift. Distances that are no whole numbers of frames are rounded down.
    offsets = np.floor(slots * about["frame_stride"] + about.get("frame_shift", 0) + 1e-9)
    times = second + offsets / about["fps"]
    frames, start = [], None
    with av.open(video, **ANY_METADATA) as container:
        if not container.streams.video:
            sys.exit(f"{video} has no video stream")
        for index, frame in enumerate(container.decode(video=0)):
            start = start if index else frame.time
            frames.append((frame.time - start, frame))
            if len(frames) > 2 and frames[1][0] <= times[0]:
                frames.pop(0)  # another one is nearer to all slots
            if frames[-1][0] > times[-1]:
                break
    if not frames:
        sys.exit(f"{video} holds no frame that can be decoded")
    if second > frames[-1][0] + 1:
        sys.exit(f"{video} ends at {frames[-1][0]:.1f} s")
    swaps_axes, step_x, step_y = orientation(frames[0][1])
    turned = -1 if swaps_axes else 1
    sides = np.array((frames[0][1].height, frames[0][1].width))[::turned]
    scale = min(about["short_side"] / sides.min(), about["max_size"] / sides.max())
    unit = about["side_multiple"]
    size = about.get("size") or np.maximum(1, sides * scale / unit + 1e-6).astype(int) * unit
    stamps = np.array([time for time, _ in frames])
    chosen = [frames[abs(stamps - time).argmin()][1] for time in times]
    height, width = (int(side) for side in size[::turned])
    # PyAV converts colours by the matrix and range that they are tagged with from version 17 on.
    images = [f.to_ndarray(height=height, width=width, format="rgb24") for f in chosen]
    stored = np.stack(images).swapaxes(1, 2) if swaps_axes else np.stack(images)
    return stored[:, ::step_y, ::step_x].transpose(3, 0, 1, 2)


def orientation(frame):
    """Tell whether rows become columns, then the steps, 1 or -1, along a row and a column.

    Phones store videos that lie on their side or are mirrored.
    """
    stored = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return False, 1, 1
    (a, b), (c, d) = np.frombuffer(bytes(stored), np.int32).reshape(3, 3)[:2, :2] / 2**16
    degrees = round(float(np.degrees(np.arctan2(b * np.hypot(a, c), a * np.hypot(b, d)))))
    if degrees % 90:  # of other angles only the stored picture is shown
        return False, 1, 1
    x, y = (c, b) if degrees % 180 else (a, d)
    return degrees % 180 == 90, -1 if x < 0 else 1, -1 if y < 0 else 1


def main():
    """Print the persons; end with a line where something cannot be used."""
    options = parse_arguments()
    try:
        run, about = load(options.file)
    except Exception as error:  # of many kinds, by the runtime
        reason = str(error).strip().split("\n")[0]
        sys.exit(f"{options.file} cannot be loaded: {type(error).__name__}: {reason}")
    try:
        clip = read_clip(options.video, options.second, about)
    except av.error.FFmpegError as error:
        sys.exit(f"{options.video} cannot be read as a video ({error.strerror})")
    inputs = [np.ascontiguousarray(clip)[None]]
    if "given_boxes" in about.get("inputs", []):
        if not options.box:
            sys.exit(f"{options.file} needs boxes of persons: --box X1 Y1 X2 Y2")
        boxes = np.array(options.box, np.float32)
        # Before each box the index of its clip; their scores.
        inputs += [np.insert(boxes, 0, 0, axis=1), np.ones(len(boxes), np.float32)]
    # Boxes that were given belong to one clip, and have no axis of clips.
    found = [x[0] if len(inputs) == 1 else x for x in run(*inputs)[:3]]
    for box, score, actions in sorted(zip(*found), key=lambda person: -person[1]):
        if score >= options.min_score:
            scores = sorted(zip(actions.tolist(), about["action_names"]), key=lambda x: -x[0])
            named = {name: value for value, name in scores if value >= options.min_score}
            print(json.dumps({"box": box.tolist(), "score": float(score), "actions": named}))


if __name__ == "__main__":
    main()
