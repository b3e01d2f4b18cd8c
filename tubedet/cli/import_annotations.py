r"""Turn annotations of other tools into a custom data set: a csv and a yaml.

    tubedet import gym.xml hall.xml --videos videos --output my_data/gym.yaml
    tubedet import cvat gym.xml --videos videos --output my_data/gym.yaml \
        --attribute action --classes run jump talk --ignore __undefined__
    tubedet import coco-video boxes.json --videos videos --output my_data/gym.yaml --first-frame 0

Configs name the yaml as a data set: DATASETS.TRAIN ("my_data/gym.yaml",).
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.importers.dataset_writer import write_custom_dataset
from tubedet.data.importers.formats import FORMATS, find_format, guess_format
from tubedet.data.importers.frame_rates import StoredVideo, to_stored_frames
from tubedet.data.importers.labels import FORMAT_OPTIONS, ImportFormat, ImportOptions
from tubedet.data.importers.merging import merge
from tubedet.data.video.media_paths import video_paths
from tubedet.data.video.reader import open_video
from tubedet.data.video.video_file import VideoError
from tubedet.errors import UserError

from .arguments import add_overwrite_argument, frame_rate, positive_int

OPTIONS_ANYWHERE = True
_LARGEST_SECOND = 10**7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    listed = "\n".join(
        textwrap.fill(
            f"  {name:<14}{f.summary}", 80, subsequent_indent=" " * 16, break_on_hyphens=False
        )
        for name, f in FORMATS.items()
    )
    parser.epilog = f"{parser.epilog or ''}\nformats:\n{listed}"
    parser.add_argument(
        "files",
        nargs="+",
        metavar="[FORMAT] FILE",
        help="files of one format, before which its name may stand (see below; default: it is "
        "recognised); all of them become one data set",
    )
    parser.add_argument(
        "--videos",
        type=Path,
        required=True,
        help="folder of the video files, or of folders of frames",
    )
    parser.add_argument("--output", type=Path, required=True, help="yaml to write; csv beside it")
    parser.add_argument(
        "--fps",
        type=float,
        help="frames per second, for videos that do not tell, such as folders of frames (default: "
        "that of the first video file)",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="the actions, in the order of their ids from 1; the same for training and "
        "validation; other actions are left out and counted (default: those of the files)",
    )
    parser.add_argument(
        "--ignore",
        nargs="+",
        default=[],
        metavar="NAME",
        help="labels that are no actions, such as ball",
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=1,
        metavar="N",
        help="keep every N-th annotated frame of a video: 12 keeps about two a second of a video "
        "with 25 (default: 1, all)",
    )
    parser.add_argument(
        "--exclusive",
        action="store_true",
        help="every person does exactly one action at a time, as MODEL.EXCLUSIVE_ACTIONS needs",
    )
    parser.add_argument(
        "--video",
        action="append",
        metavar="NAME",
        help="video that was annotated, as its file name without the ending, where a file does not "
        f"say it; once, or once for each file {_users('video')}",
    )
    parser.add_argument(
        "--attribute",
        action="append",
        metavar="NAME",
        help="attribute whose values are the actions, instead of the label; may be given several "
        f"times {_users('attribute')}",
    )
    parser.add_argument(
        "--person-attribute",
        metavar="NAME",
        help=f"attribute with the name or number of the person {_users('person_attribute')}",
    )
    parser.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        help=f"number that the files give the first frame of a video {_users('first_frame')}",
    )
    parser.add_argument(
        "--picture-fps",
        type=frame_rate,
        metavar="RATE",
        help="pictures per second, where pictures of a video were annotated: 30 if they were "
        f"taken with 'ffmpeg -r 30' {_users('picture_fps')}",
    )
    parser.add_argument(
        "--label-map",
        type=Path,
        metavar="FILE",
        help="names of the actions: lines such as '1: walk', a name on each line, or a label map "
        f"of AVA (pbtxt) {_users('label_map')}",
    )
    parser.add_argument(
        "--actions",
        type=Path,
        action="append",
        metavar="FILE",
        help="csv of person,first frame,last frame,action: what each track does; once for each "
        f"file {_users('actions')}",
    )
    parser.add_argument(
        "--subset",
        choices=("train", "test"),
        help="take only the videos for training, or for testing, as the file divides them "
        f"(default: all) {_users('subset')}",
    )
    parser.add_argument(
        "--split",
        type=positive_int,
        metavar="N",
        help="with --subset, where a file divides the videos in several ways: which one, from 1 "
        f"{_users('split')}",
    )
    parser.add_argument(
        "--start-second",
        type=float,
        metavar="S",
        help="time in the annotations at which the video files begin, in seconds, such as 900 for "
        f"AVA's clips of 15 minutes (default: 0) {_users('start_second')}",
    )
    add_overwrite_argument(parser, help="replace existing files")


def _users(option: str) -> str:
    return f"({', '.join(name for name, f in FORMATS.items() if option in f.options)})"


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together; split the format from the files.

    Args:
        options: of :func:`add_arguments`; ``format`` is added, and ``files`` become paths.

    Raises:
        UserError: if they do not.
    """
    options.format = None
    if options.files[0] in FORMATS and len(options.files) > 1:
        options.format = options.files.pop(0)
    elif len(options.files) > 1 and not Path(first := options.files[0]).suffix:
        if not Path(first).exists():
            raise UserError(
                f"{first}: no such file, and no format; formats are {', '.join(FORMATS)}"
            )
    options.files = [Path(file) for file in options.files]
    for name in ("classes", "ignore"):
        given = getattr(options, name) or []
        if len(set(given)) < len(given):
            raise UserError(f"--{name}: a name occurs twice")
    both = sorted(set(options.classes or ()) & set(options.ignore))
    if both:
        raise UserError(f"--ignore {both[0]}: it is among --classes")
    if len({path.resolve() for path in options.files}) < len(options.files):
        raise UserError("a file occurs twice")
    if options.video and len(options.video) not in (1, len(options.files)):
        raise UserError(
            f"--video: {len(options.video)} names for {len(options.files)} files: give one name, "
            "or one for each file"
        )
    if options.actions and len(options.actions) != len(options.files):
        raise UserError(
            f"--actions: {len(options.actions)} files of actions for {len(options.files)} files: "
            "give one for each"
        )
    if options.start_second is not None and not abs(options.start_second) < _LARGEST_SECOND:
        raise UserError(f"--start-second {options.start_second:g}: expected a number such as 900")


def main(options: argparse.Namespace) -> int:
    """Import, and print what was found.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status.

    Raises:
        AnnotationError: if an annotation cannot be used; the message names file and line.
        OSError: if a file cannot be read or written.
    """
    chosen = _format(options)
    for name in FORMAT_OPTIONS:
        if getattr(options, name, None) is not None and name not in chosen.options:
            raise UserError(f"--{name.replace('_', '-')}: not for {chosen.name}")
    names = options.video or [None]
    names = names * len(options.files) if len(names) == 1 else names
    actions_files = options.actions or [None] * len(options.files)
    labels = merge(
        [
            chosen.read(
                path,
                ImportOptions(
                    videos=options.videos,
                    video=name,
                    attributes=tuple(options.attribute or ()),
                    person_attribute=options.person_attribute,
                    first_frame=options.first_frame,
                    picture_fps=options.picture_fps,
                    label_map=options.label_map,
                    actions=actions,
                    subset=options.subset,
                    split=options.split,
                    start_second=options.start_second,
                ),
            )
            for path, name, actions in zip(options.files, names, actions_files)
        ]
    )
    videos = sorted({box.video_id for box in labels.boxes} | {v for v, _ in labels.looked_at})
    missing, stored, rate_from = _media(videos, options.videos, all_of=set(labels.frame_rates))
    stored_fps = next((video.fps for video in stored.values()), None)
    fps = stored_fps if options.fps is None else options.fps
    if fps is None:
        raise AnnotationError(
            f"{options.videos} has no video file of {_some(videos)} to tell the frame rate; mend "
            "--videos, or give --fps for folders of frames"
        )
    rated = {video_id: stored.get(video_id, StoredVideo(fps)) for video_id in labels.frame_rates}
    labels = to_stored_frames(labels, rated) if rated else labels
    written = write_custom_dataset(
        options.output,
        labels,
        inputs=[*options.files, *filter(None, (options.label_map, *actions_files))],
        classes=options.classes,
        ignore=options.ignore,
        every=options.every,
        videos=options.videos,
        fps=fps,
        exclusive=options.exclusive,
        overwrite=options.overwrite,
    )
    videos = sorted({box.video_id for box in written.labels.boxes} | {v for v, _ in written.empty})
    rows = sum(len(box.actions) for box in written.labels.boxes)
    print(
        f"{options.output}: {rows} boxes in {len(videos)} videos, {len(written.classes)} actions: "
        f"{', '.join(written.classes)}"
    )
    remarks = list(written.remarks)
    if options.fps is None:
        remarks.append(f"fps {fps:g}, as {rate_from} has")
    if missing:
        remarks.append(f"{len(missing)} videos are not in {options.videos}: {_some(missing)}")
    for remark in remarks:
        print(f"  {remark}")
    return 0


def _format(options: argparse.Namespace) -> ImportFormat:
    """Return the format that was named; else guess it, and say so."""
    if options.format is not None:
        return find_format(options.format)
    guesses = [guess_format(path) for path in options.files]
    first, sign = guesses[0]
    for path, (other, _) in zip(options.files, guesses):
        if other is not first:
            raise UserError(
                f"{path} is {other.name}, {options.files[0]} is {first.name}: "
                "import each format for itself, and list the yamls in DATASETS.TRAIN"
            )
    print(f"format {first.name}, recognised by {sign}")
    return first


def _media(
    videos: list[str], folder: Path, *, all_of: set[str]
) -> tuple[list[str], dict[str, StoredVideo], str]:
    """Videos that are not there; the first video file, and those that are asked for; its name."""
    paths = video_paths(videos, frames_dir=str(folder), videos_dir=str(folder))
    missing: list[str] = []
    stored: dict[str, StoredVideo] = {}
    first = ""
    for video_id, path in paths.items():
        if not Path(path).exists():
            missing.append(video_id)
        elif Path(path).is_file() and (not stored or video_id in all_of):
            try:
                with open_video(path) as reader:
                    stored[video_id] = StoredVideo(reader.fps, reader.num_frames)
                    first = first or Path(path).name
            except VideoError as error:
                raise AnnotationError(f"{error}; the frame rate cannot be read") from None
    return missing, stored, first


def _some(names: Iterable[str], count: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
