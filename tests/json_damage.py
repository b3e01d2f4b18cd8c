"""Damage to json for tests: members lost, doubled, of other types, or bytes of the file lost."""

import copy
import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

VALUES = [
    *(None, True, -1, 0, 1, 2, 1.5, 10**7, 10**400, -(10**9), float("nan"), float("inf"), 1e300),
    *("", " ", "0", "1", "a,b", "\ud800", "9" * 5000, [], [1], [[]], {}, {"a": 1}, [None]),
]
# The time is for slow machines: an example takes milliseconds, a hang does not end.
fuzz = settings(
    max_examples=100,
    deadline=20_000,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(value, path=()):
    """Every place within nested dicts and lists as a tuple of keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


@st.composite
def damaged_json(draw, content):
    """A value after one to three edits of its members."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        members = list(places(content))
        if not members:
            return content
        *path, key = draw(st.sampled_from(members))
        inner = content
        for step in path:
            inner = inner[step]
        kind = draw(st.sampled_from(("value", "value", "lose", "other", "double")))
        if kind == "lose":
            del inner[key]
        elif kind == "double" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[key]))
        elif kind == "other":  # the value of another place
            other = content
            for step in draw(st.sampled_from(members)):
                other = other[step]
            inner[key] = copy.deepcopy(other)
        else:
            inner[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return content


@st.composite
def damaged_bytes(draw, text):
    """The bytes of a text, or bytes, with a piece cut out, doubled or replaced."""
    content = text if isinstance(text, bytes) else text.encode()
    begin = draw(st.integers(0, len(content)))
    end = min(len(content), begin + draw(st.integers(0, 40)))
    middle = draw(st.sampled_from((b"", content[begin:end] * 2, b"\xff", b'"', b"\n", b"}", b"#")))
    return content[:begin] + middle + content[end:]


def dumps(content):
    """Json as Python writes it, with infinities, and lone surrogates as escapes."""
    return json.dumps(content)
