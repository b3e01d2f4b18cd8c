"""Docstrings with Sphinx roles, as Markdown, for the pages that mkdocstrings makes of them."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?\.*(.+?)`")


class SphinxRoles(griffe.Extension):
    """Turn ``:func:`.load_ava``` into code and the ``::`` before a literal block into a colon."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object.

        Args:
            obj: as griffe found it in a file.
        """
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Take Sphinx's marks out of a docstring.

    Args:
        text: the docstring, without its common indentation.
    """
    return re.sub(r"::$", ":", _ROLE.sub(r"`\1`", text), flags=re.MULTILINE)
