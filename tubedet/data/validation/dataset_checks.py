"""The check of a data set by its name, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable

from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.custom import ensure_registered

from .annotation_checks import check_ava, check_custom_dataset, check_tubes
from .checked_dataset import CheckedDataset


def check_dataset(name: str, *, load: bool = True) -> CheckedDataset:
    """Check the annotation of a registered data set or of a yaml.

    Args:
        name: the name, or the path of the yaml.
        load: after a check without errors, load the data set too, as training does.

    Returns:
        CheckedDataset: what was found.
    """
    checked = CheckedDataset(name, name)
    try:
        ensure_registered(name)
        if name not in DatasetCatalog.list():
            checked.error("name", f"no such data set; known: {', '.join(DatasetCatalog.list())}")
            return checked
        metadata = MetadataCatalog.get(name)
        if metadata.get("custom_dataset") is not None:
            checked = check_custom_dataset(metadata.custom_dataset)
        elif metadata.get("ava_files") is not None:
            checked = check_ava(name, metadata.ava_files)
        elif metadata.get("tubes") is not None:
            checked = check_tubes(
                name,
                metadata.tubes(),
                metadata.num_frames(),
                DatasetCatalog.get(name),
                num_actions=len(metadata.action_names),
            )
        else:
            kinds = "AVA's format, action tubes, and yamls of custom data sets"
            checked.error("name", f"there is no check for data sets of this kind, only for {kinds}")
            return checked
        if load:
            check_loading(checked, lambda: DatasetCatalog.get(name))
    except (AnnotationError, OSError) as error:
        checked.unreadable(checked.source, "load")(error)
    return checked


def check_loading(checked: CheckedDataset, load: Callable[[], list[dict]]) -> None:
    """Load what has no error so far: loaders know more rules than the check of rows.

    Args:
        checked: what was found; further problems and the dataset dicts are added.
        load: makes the dataset dicts.
    """
    if checked.errors:
        return
    try:
        checked.key_frames = load()
    except (AnnotationError, OSError) as error:
        checked.unreadable(checked.source, "load")(error)
        return
    if not any(record["annotations"] for record in checked.key_frames):
        checked.error("empty", "no key frame has a usable box")
