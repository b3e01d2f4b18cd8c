"""Read COCO-style json of videos: images or annotations with a video, a frame, boxes and tracks."""

from __future__ import annotations

from pathlib import Path

from .coco_entries import CROWDS, Annotations, by_id, entries, settle
from .coco_images import CocoImages
from .json_file import Entry, read_json_object
from .labels import Box, ImportFormat, ImportOptions, Labels, Moment, PersonBox
from .youtube_vis import is_youtube_vis, read_youtube_vis


def read_coco_video(path: Path, options: ImportOptions) -> Labels:
    """Read the json, in any of its shapes.

    * Images with ``video_id`` and ``frame_index``, ``frame`` or ``frame_id``, and annotations with
      ``image_id`` (CocoVID, TAO); or annotations with a video and a frame of their own.
    * Images without ``video_id`` whose file names have numbers, as in CVAT's COCO export of a video
      task; ``options.video`` says which video it is.
    * YouTube-VIS and OVIS: see :func:`.read_youtube_vis`.

    ``track_id`` or ``instance_id`` tells persons apart; CVAT has the former among the attributes. A
    person with several actions has one annotation for each, or attributes.

    Args:
        path: the file.
        options: ``video``; ``attributes``; and ``first_frame``, what the file calls the first frame
            of a video, which is needed where it does not tell.

    Returns:
        Boxes in pixels by numbers of frames; images without one are moments with nobody.

    Raises:
        AnnotationError: if the file breaks its format; the message names the entry.
        OSError: if the file cannot be read.
    """
    content = read_json_object(path, "annotations", "images")
    if is_youtube_vis(content):
        return read_youtube_vis(content, options)
    return _CocoVideo(path, content, options).labels


def _sign(path: Path, head: str) -> str:
    """Recognise the names of COCO; in a large file the categories stand far behind."""
    if not head.lstrip("\ufeff \t\r\n").startswith("{"):
        return ""
    names = ("categories", "category_id", "file_name", "file_names")
    return next((f"the key {name!r}" for name in names if f'"{name}"' in head), "")


COCO_VIDEO = ImportFormat(
    name="coco-video",
    summary="COCO-style json of videos: CocoVID, TAO, YouTube-VIS, OVIS, and CVAT's 'COCO 1.0' of "
    "a video task, with --video; boxes are x, y, width, height in pixels; track_id or instance_id "
    "tells persons apart; several actions of a person are several annotations, or --attribute",
    read=read_coco_video,
    sign=_sign,
    options=frozenset({"video", "attribute", "first_frame"}),
)


class _CocoVideo:
    """The shapes with images, and those with annotations that have frames of their own."""

    def __init__(self, path: Path, content: Entry, options: ImportOptions):
        self.labels = Labels()
        self._content = content
        self._annotations = Annotations(content, options)
        self._images = CocoImages(path, content, options, self.labels)
        self.labels.class_names = self._annotations.class_names
        self.labels.looked_at = set(self._images.moments.values())
        self._read_annotations()
        self._leave_out_what_is_not_said()

    def _read_annotations(self) -> None:
        labels = self.labels
        # In TAO, tracks have categories, too.
        tracks = by_id(entries(self._content, "tracks"), lambda e: e.value.get("category_id"))
        shapes: list[PersonBox] = []  # without a track
        for entry in self._content.each("annotations"):
            moment = self._images.moment_of(entry)
            if entry.value.get("iscrowd"):
                labels.remarks[CROWDS] += 1
                labels.unclear.add(moment)
                continue
            person = self._annotations.person(entry)
            category = None if "category_id" in entry or person is None else tracks.get(person)
            actions = self._annotations.actions(entry, category)
            bbox, mask = (entry.child(n) if n in entry else None for n in ("bbox", "segmentation"))
            box = self._annotations.box(entry, bbox, mask, labels)
            if box is None:
                labels.unclear.add(moment)
            elif person is None:
                shapes.append(PersonBox(*moment, box, actions, None))
            else:
                labels.boxes.append(PersonBox(*moment, box, actions, person))
        self._annotations.check_attributes()
        self._number_shapes(shapes)

    def _number_shapes(self, shapes: list[PersonBox]) -> None:
        """Make persons of what was drawn on single frames; equal boxes are the same one."""
        if not shapes:
            return
        persons = {box.person_id for box in self.labels.boxes if box.person_id is not None}
        if not persons:
            raise self._content.error(
                "has no annotation with a track_id or instance_id: persons must keep a number from "
                "frame to frame; draw tracks instead of shapes"
            )
        numbers: dict[tuple[Moment, Box], int] = {}
        for shape in shapes:
            number = numbers.setdefault((shape.moment, shape.box), max(persons) + 1 + len(numbers))
            self.labels.boxes.append(shape._replace(person_id=number))
        self.labels.remarks["annotations without a track: persons of one frame"] += len(shapes)

    def _leave_out_what_is_not_said(self) -> None:
        if any("neg_category_ids" in entry for entry in entries(self._content, "videos")):
            empty = self.labels.empty
            self.labels.looked_at -= empty
            self.labels.remarks[
                "images without a box: left out, as not everybody is annotated (neg_category_ids)"
            ] += len(empty)
        settle(self.labels)
