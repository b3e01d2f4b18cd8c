"""What persons do, and who they are, by the attributes of a project of VIA 3."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tubedet.data.annotations.text import AnnotationError

from .labels import ImportOptions
from .via3_project import Project

_NOBODY = ("", "-1")  # what files have that made persons by a tracker


class ActionAttributes:
    """Which attributes are actions, and how the actions are called.

    Args:
        path: of the file.
        project: what it has.
        options: ``attributes``, and ``person_attribute``, which is none of them.
        remarks: takes what the user should know.

    Raises:
        AnnotationError: if there is no such attribute.
    """

    def __init__(self, path: Path, project: Project, options: ImportOptions, remarks: Counter[str]):
        self._remarks = remarks
        attributes = project.attributes
        names = ", ".join(attribute.name for attribute in attributes.values()) or "none"
        person = options.person_attribute
        for name in [*options.attributes, *([] if person is None else [person])]:
            if all(attribute.name != name for attribute in attributes.values()):
                option = "--person-attribute" if name == person else "--attribute"
                raise AnnotationError(f"{path}: {option} {name}: the file has {names}")
        self._persons = {key: a for key, a in attributes.items() if a.name == person}
        self._chosen = {
            key: a
            for key, a in attributes.items()
            if (
                a.name in options.attributes
                if options.attributes
                else a.of_regions and a.options is not None and key not in self._persons
            )
        }
        if not self._chosen:
            raise AnnotationError(
                f"{path}: no attribute of regions has options; say which one is the actions: "
                f"--attribute NAME, of {names}"
            )
        self._texts = self._name_options(remarks)
        if not project.has_options:
            remarks[
                "actions are called by the ids of their options, as no line '# ATTRIBUTE' "
                "names them"
            ] = len(project.regions)

    def _name_options(self, remarks: Counter[str]) -> dict[str, dict[str, str]]:
        """Names of the actions by attribute and option; equal ones get their attribute's name."""
        options = {key: attribute.options or {} for key, attribute in self._chosen.items()}
        counts = Counter(name for names in options.values() for name in set(names.values()))
        shared = "options that several attributes have: called 'attribute: option'"
        texts: dict[str, dict[str, str]] = {}
        for key, names in options.items():
            prefix = f"{self._chosen[key].name}: "
            texts[key] = {n: prefix * (counts[name] > 1) + name for n, name in names.items()}
        if equal := sum(count > 1 for count in counts.values()):
            remarks[shared] = equal
        return texts

    @property
    def names(self) -> list[str]:
        """Names of the attributes that are actions."""
        return [attribute.name for attribute in self._chosen.values()]

    @property
    def class_names(self) -> list[str]:
        """Names of the actions in the order of the file; empty if an attribute is free text."""
        if any(attribute.options is None for attribute in self._chosen.values()):
            return []
        return list(
            dict.fromkeys(name for texts in self._texts.values() for name in texts.values())
        )

    def actions(self, values: dict[str, str]) -> tuple[str, ...]:
        """Return what the person of a region does.

        Args:
            values: answers by the ids of the attributes.
        """
        found: list[str] = []
        for key, attribute in self._chosen.items():
            value = values.get(key, "").strip()
            if attribute.options is None:
                found += [value] if value else []
                continue
            # A checkbox has several options, "0,3".
            for number in [value] if value in attribute.options else value.split(","):
                if name := self._texts[key].get(number.strip()):
                    found.append(name)
                elif number.strip():
                    self._remarks["values that are no option of their attribute: left out"] += 1
        return tuple(dict.fromkeys(found))

    def person(self, values: dict[str, str]) -> str | None:
        """Return who the person of a region is; None if it is not said.

        Args:
            values: answers by the ids of the attributes.
        """
        if not self._persons:
            return None
        for key, attribute in self._persons.items():
            value = values.get(key, "").strip()
            if value not in _NOBODY:
                return (attribute.options or {}).get(value, value)
        self._remarks["regions without a value of --person-attribute: without a number"] += 1
        return None
