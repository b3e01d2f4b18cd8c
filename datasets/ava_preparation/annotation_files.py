"""Puts the official annotation files where the registered data sets look for them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tubedet.data.annotations.ava_csv import read_ava_csv
from tubedet.data.annotations.video_lists import read_file_names
from tubedet.data.datasets.builtin import LABEL_MAPS
from tubedet.files.atomic_writing import open_atomically
from tubedet.files.urls import is_url

from .batch import PreparationError
from .downloading import fetch, mirror_url

SPLITS = ("train", "val")
_TRAINVAL_LIST = "ava_file_names_trainval_v2.1.txt"


def split_list(annotations: Path, split: str) -> Path:
    """Path of the list of the video files of a split; both versions have the same videos.

    Args:
        annotations: folder of the annotation files.
        split: "train" or "val".
    """
    return annotations / f"ava_file_names_{split}_v2.1.txt"


def install_annotations(
    annotations: Path, version: str, sources: Iterable[str], mirror: str
) -> list[Path]:
    """Install the lists of one version.

    The published list names the videos of training and validation together; it is split by the
    videos of the two csvs. The label maps are those of the package.

    Args:
        annotations: folder for them; made if missing.
        version: "v2.1" or "v2.2".
        sources: folders, zips or single files, or addresses of the latter two; empty: the archive
            of the version and the list of videos in the mirror's folder ``annotations``.
        mirror: address or folder of the mirror.

    Returns:
        list[Path]: the files, in place now.

    Raises:
        PreparationError: a file is in none of the sources, or another one has its place.
        AnnotationError: a csv breaks its format.
    """
    names = [f"ava_included_timestamps_{version}.txt"]
    for split in SPLITS:
        names += [f"ava_{split}_{version}.csv", f"ava_{split}_excluded_timestamps_{version}.csv"]
    sources = list(sources) or [
        mirror_url(mirror, "annotations", name) for name in (f"ava_{version}.zip", _TRAINVAL_LIST)
    ]
    with TemporaryDirectory() as folder:
        found = _collect({*names, _TRAINVAL_LIST}, sources, Path(folder))
    missing = [name for name in (*names, _TRAINVAL_LIST) if name not in found]
    if missing:
        raise PreparationError(
            f"{', '.join(missing)}: in none of {', '.join(sources)}; give --source for them"
        )
    annotations.mkdir(parents=True, exist_ok=True)
    placed = [_place(annotations / name, found[name]) for name in (*names, _TRAINVAL_LIST)]
    for path in sorted(Path(LABEL_MAPS).glob("*.pbtxt")):
        placed.append(_place(annotations / path.name, path.read_bytes()))
    return placed + _write_split_lists(annotations, version)


def _write_split_lists(annotations: Path, version: str) -> list[Path]:
    file_names = read_file_names(annotations / _TRAINVAL_LIST)
    placed = []
    for split in SPLITS:
        table = read_ava_csv(annotations / f"ava_{split}_{version}.csv", ava_kinetics=True)
        videos = {*table.videos, *(video for video, _ in table.empty_key_frames)}
        unlisted = sorted(videos - file_names.keys())
        if unlisted:
            raise PreparationError(
                f"{table.source}: {len(unlisted)} videos are not in {_TRAINVAL_LIST}, "
                f"for example {unlisted[0]}"
            )
        lines = "".join(f"{name}\n" for video, name in file_names.items() if video in videos)
        placed.append(_place(split_list(annotations, split), lines.encode()))
    return placed


def _collect(names: set[str], sources: Iterable[str], folder: Path) -> dict[str, bytes]:
    """Content of the wanted files by name; the first source that has one counts."""
    found: dict[str, bytes] = {}
    for source in sources:
        path = Path(source)
        if is_url(source):
            path = folder / PurePosixPath(source).name
            fetch(source, path)
        if path.is_dir():
            candidates = {name: (path / name).read_bytes() for name in names & _listed(path)}
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = {PurePosixPath(member).name: member for member in archive.namelist()}
                candidates = {name: archive.read(members[name]) for name in names & members.keys()}
        elif path.is_file():
            candidates = {path.name: path.read_bytes()} if path.name in names else {}
        else:
            raise PreparationError(f"--source {source}: neither a folder nor a file")
        found = candidates | found
    return found


def _listed(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_file()}


def _place(path: Path, content: bytes) -> Path:
    if not path.exists():
        with open_atomically(path, "wb") as stream:
            stream.write(content)
    elif path.read_bytes() != content:
        raise PreparationError(f"{path}: another version of this file is there; move it away")
    return path
