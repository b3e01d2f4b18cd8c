r"""Turn annotations of other tools into a custom data set: a csv and a yaml.

    tubedet import gym.xml hall.xml --videos videos --output my_data/gym.yaml
    tubedet import cvat gym.xml --videos videos --output my_data/gym.yaml \
        --attribute action --classes run jump talk --ignore __undefined__
    tubedet import coco-video boxes.json --videos videos --output my_data/gym.yaml --first-frame 0

Configs can name the yaml as a data set.
"""

from __future__ import annotations

import argparse
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
    listed = "\n".join(f"  {name:<14}{f.summary}" for name, f in FORMATS.items())
    parser.epilog = f"{parser.epilog or ''}\nformats:\n{listed}"
    parser.add_argument(
        "files",
        nargs="+",
        metavar="[FORMAT] FILE",
        help="files of one format, which is guessed if it is not named; several of a video are "
        "put together",
    )
    parser.add_argument("--videos", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--output", type=Path, required=True, help="yaml to write; csv beside it")
    parser.add_argument(
        "--fps",
        type=float,
        help="frames per second of the videos (default: that of the first video file)",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="actions; the first one has id 1, and boxes of others are left out (default: those "
        "of the files)",
    )
    parser.add_argument(
        "--ignore", nargs="+", default=[], metavar="NAME", help="labels that are no actions"
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=1,
        metavar="N",
        help="keep every N-th annotated frame of a video (default: 1)",
    )
    parser.add_argument("--exclusive", action="store_true", help="each person does one action")
    parser.add_argument(
        "--video",
        action="append",
        metavar="NAME",
        help=f"which video it is, its file name without the ending, for files that do not say it; "
        f"once, or once for each file {_users('video')}",
    )
    parser.add_argument(
        "--attribute",
        action="append",
        metavar="NAME",
        help=f"attribute whose values are the actions; repeatable {_users('attribute')}",
    )
    parser.add_argument(
        "--person-attribute",
        metavar="NAME",
        help=f"attribute whose value tells a person from another {_users('person_attribute')}",
    )
    parser.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        help=f"number of the first frame {_users('first_frame')}",
    )
    parser.add_argument(
        "--picture-fps",
        type=frame_rate,
        metavar="RATE",
        help="how many of the annotated video's pictures are a second, such as 30 after "
        f"'ffmpeg -r 30' {_users('picture_fps')}",
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
        help=f"part of the videos (default: all) {_users('subset')}",
    )
    parser.add_argument(
        "--split",
        type=positive_int,
        metavar="N",
        help=f"which of several divisions into train and test, from 1 {_users('split')}",
    )
    parser.add_argument(
        "--start-second",
        type=float,
        metavar="S",
        help="second of the annotation at which the stored videos begin, such as 900 for AVA's "
        f"clips of 15 minutes (default: 0) {_users('start_second')}",
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
            f"--fps is missing: no video file in {options.videos} tells the frame rate"
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
                "import each format for itself"
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
