"""From the films to trimmed videos, frame folders or small videos; originals are only read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tubedet.data.annotations.video_lists import VideoInfo, read_video_infos, write_video_infos
from tubedet.data.video.video_file import VideoFileReader
from tubedet.files.atomic_writing import atomic_folder, atomic_path

from .batch import PreparationError, StepRecord, for_each, read_record, sole_user
from .ffmpeg import Ffmpeg, Measurements, measure_frames, measure_video
from .section import Section

FRAME_RATE = 30
RESAMPLING = {"filter": ["-vf", f"fps={FRAME_RATE}"], "output-rate": ["-r", str(FRAME_RATE)]}
_MAX_SECONDS_OFF = 1.0
_MAX_FRAMES_OFF = 2


@dataclass(frozen=True)
class Folders:
    """The folders of a data set.

    Attributes:
        root: the data set's own folder, ``$DETECTRON2_DATASETS/ava``.
    """

    root: Path

    @property
    def annotations(self) -> Path:
        """Lists and label maps."""
        return self.root / "annotations"

    @property
    def originals(self) -> Path:
        """Downloaded films."""
        return self.root / "originals"

    @property
    def trimmed(self) -> Path:
        """The annotated part of the films, full size."""
        return self.root / "trimmed"

    @property
    def frames(self) -> Path:
        """A folder of jpgs for each video."""
        return self.root / "frames"

    @property
    def videos(self) -> Path:
        """Videos that are read in place."""
        return self.root / "videos"


@dataclass(frozen=True)
class Encoding:
    """How videos are compressed.

    Attributes:
        quality: constant rate factor of x264; smaller is better and larger.
        short_side: pixels to which larger videos are shrunk; None keeps the size.
        gop: distance of key pictures, frames, of a video that is read clip by clip: every second
            frame is a B-frame that no other one needs, as clips show every second frame, and
            decoding is cheap. None leaves all that to x264.
    """

    quality: int
    short_side: int | None = None
    gop: int | None = None

    def arguments(self, height: int, width: int) -> list[str]:
        """Return ffmpeg's options for a video of that size.

        Args:
            height, width: of the source, pixels.
        """
        scale = min(1.0, self.short_side / min(height, width)) if self.short_side else 1.0
        # x264 needs even sides.
        new_height, new_width = (max(2, 2 * round(side * scale / 2)) for side in (height, width))
        arguments = ["-map", "0:v:0", "-c:v", "libx264", "-crf", str(self.quality)]
        arguments += ["-pix_fmt", "yuv420p", "-threads", "1"]
        if self.gop:
            arguments += ["-g", str(self.gop), "-sc_threshold", "0", "-bf", "1"]
            arguments += ["-b_strategy", "0", "-tune", "fastdecode"]
        if (new_height, new_width) != (height, width):
            arguments += ["-vf", f"scale={new_width}:{new_height}"]
        return arguments


def trim(
    video_ids: dict[str, str],
    folders: Folders,
    ffmpeg: Ffmpeg,
    *,
    section: Section,
    encoding: Encoding,
    jobs: int,
) -> dict[str, str]:
    """Cut the annotated part out of the films.

    Args:
        video_ids: file name of the original by video id.
        folders: of the data set.
        ffmpeg: the program.
        section: what to keep.
        encoding: of the result.
        jobs: videos at the same time.

    Returns:
        dict[str, str]: what went wrong, by video id.

    Raises:
        PreparationError: the folder holds results of other settings.
    """
    settings = _settings(ffmpeg, section=section, encoding=encoding)

    def make(video_id: str, partial: Path) -> None:
        _encode(ffmpeg, _original(folders, video_ids[video_id]), partial, section, encoding)

    def measure(video_id: str, path: Path) -> Measurements:
        return _checked_section(path, _original(folders, video_ids[video_id]), section)

    return _run_step(folders.trimmed, ".mp4", video_ids, settings, make, measure, jobs=jobs)


def make_videos(
    video_ids: dict[str, str],
    folders: Folders,
    ffmpeg: Ffmpeg,
    *,
    section: Section,
    encoding: Encoding,
    jobs: int,
) -> dict[str, str]:
    """Make small videos which are read in place, from the trimmed videos or else the films.

    Args:
        video_ids: file name of the original by video id.
        folders: of the data set.
        ffmpeg: the program.
        section: what the trimmed videos hold, and what to keep of a film.
        encoding: of the result.
        jobs: videos at the same time.

    Returns:
        dict[str, str]: what went wrong, by video id.

    Raises:
        PreparationError: the folder holds results of other settings.
    """
    settings = _settings(ffmpeg, section=section, encoding=encoding)

    def make(video_id: str, partial: Path) -> None:
        trimmed = folders.trimmed / f"{video_id}.mp4"
        if trimmed.is_file():
            _encode(ffmpeg, trimmed, partial, None, encoding)
        else:
            _encode(ffmpeg, _original(folders, video_ids[video_id]), partial, section, encoding)

    def measure(video_id: str, path: Path) -> Measurements:
        trimmed = folders.trimmed / f"{video_id}.mp4"
        if not trimmed.is_file():
            return _checked_section(path, _original(folders, video_ids[video_id]), section)
        source, made = measure_video(trimmed), measure_video(path)
        _check_close("frames", made.num_frames, source.num_frames, _MAX_FRAMES_OFF, path)
        _check_close("seconds", made.duration, source.duration, _MAX_SECONDS_OFF, path)
        return made

    failures = _run_step(folders.videos, ".mp4", video_ids, settings, make, measure, jobs=jobs)
    _update_video_info(folders, section)
    return failures


def make_frames(
    video_ids: dict[str, str],
    folders: Folders,
    ffmpeg: Ffmpeg,
    *,
    section: Section,
    resampling: str,
    jobs: int,
) -> dict[str, str]:
    """Write the trimmed videos as jpgs, ``<id>/<id>_000001.jpg`` on, 30 of them per second.

    How other frame rates become 30 is a matter of choice: "filter" takes the nearest frame, as
    tubedet's video reader does. "output-rate" is the command of LFB and SlowFast, ``-r 30``. What
    it writes depends on ffmpeg's version: version 5.1 shows the next frame in every fifth or sixth
    slot for 24 and 25 frames per second, and the frame of 50 ms before for 60.

    Args:
        video_ids: file name of the original by video id.
        folders: of the data set.
        ffmpeg: the program.
        section: what the trimmed videos hold.
        resampling: key of ``RESAMPLING``.
        jobs: videos at the same time.

    Returns:
        dict[str, str]: what went wrong, by video id.

    Raises:
        PreparationError: the folder holds results of another version of ffmpeg.
    """
    settings = _settings(ffmpeg, frame_rate=FRAME_RATE, resampling=resampling)

    def make(video_id: str, partial: Path) -> None:
        pattern = str(partial / video_id).replace("%", "%%") + "_%06d.jpg"
        source = str(_trimmed(folders, video_id))
        ffmpeg.run(["-i", source, *RESAMPLING[resampling], "-q:v", "1", pattern])

    def measure(video_id: str, path: Path) -> Measurements:
        made = measure_frames(path, FRAME_RATE)
        expected = measure_video(_trimmed(folders, video_id)).duration * FRAME_RATE
        _check_close("frames", made.num_frames, expected, _MAX_FRAMES_OFF, path)
        return made

    failures = _run_step(folders.frames, "", video_ids, settings, make, measure, jobs=jobs)
    _update_video_info(folders, section)
    return failures


def _run_step(folder, extension, video_ids, settings, make, measure, *, jobs) -> dict[str, str]:
    """Make what the record lacks; a result gets its name when it was measured and is right."""
    with sole_user(folder):
        record = StepRecord(folder, settings)

        def work(video_id: str) -> None:
            path = folder / f"{video_id}{extension}"
            if path.exists():  # made before, by this program or by hand
                try:
                    record.add(video_id, measure(video_id, path).as_dict())
                except (PreparationError, OSError) as error:
                    raise PreparationError(f"{error} (move it away to make it anew)") from error
                return
            # A folder of frames has no file name extension.
            with atomic_path(path) if extension else atomic_folder(path) as partial:
                make(video_id, partial)
                figures = measure(video_id, partial)
            record.add(video_id, figures.as_dict())

        open_ids = [
            video_id
            for video_id in video_ids
            if video_id not in record.results or not (folder / f"{video_id}{extension}").exists()
        ]
        return for_each(open_ids, work, jobs=jobs, description=folder.name)


def _encode(
    ffmpeg: Ffmpeg, source: Path, target: Path, section: Section | None, encoding: Encoding
) -> None:
    with VideoFileReader(source) as reader:
        size = reader.height, reader.width
    cut = section.arguments if section else []
    ffmpeg.run([*cut, "-i", str(source), *encoding.arguments(*size), str(target)])


def _checked_section(path: Path, original: Path, section: Section) -> Measurements:
    with VideoFileReader(original) as reader:
        available = section.length if reader.duration is None else reader.duration - section.start
    made = measure_video(path)
    expected = min(section.length, available)
    _check_close("seconds", made.duration, expected, _MAX_SECONDS_OFF, path)
    return made


def _check_close(unit: str, value: float, expected: float, tolerance: float, path: Path) -> None:
    if abs(value - expected) > tolerance:
        raise PreparationError(f"{path}: has {value:.6g} {unit}, expected {expected:.6g}")


def _original(folders: Folders, file_name: str) -> Path:
    path = folders.originals / file_name
    if not path.is_file():
        raise PreparationError(f"{path}: no such file; run the step download")
    return path


def _trimmed(folders: Folders, video_id: str) -> Path:
    path = folders.trimmed / f"{video_id}.mp4"
    if not path.is_file():
        raise PreparationError(f"{path}: no such file; run the step trim")
    return path


def _settings(ffmpeg: Ffmpeg, **parts) -> dict:
    values = {name: getattr(part, "__dict__", part) for name, part in parts.items()}
    return {"ffmpeg": ffmpeg.version, **values}


def _update_video_info(folders: Folders, section: Section) -> None:
    """Tell the data set the size of each stored video; a frame folder goes before a video.

    Args:
        folders: of the data set.
        section: what the stored videos hold whose record does not tell.
    """
    path = folders.annotations / "video_info.csv"
    infos = read_video_infos(path) if path.is_file() else {}
    for folder in (folders.videos, folders.frames):
        record = read_record(folder)
        start = record["settings"].get("section", {}).get("start", section.start)
        for video_id, figures in record["results"].items():
            infos[video_id] = VideoInfo(
                height=figures["height"],
                width=figures["width"],
                fps=figures["fps"],
                start_second=start,
                num_frames=figures["num_frames"],
            )
    folders.annotations.mkdir(parents=True, exist_ok=True)
    write_video_infos(path, infos)
