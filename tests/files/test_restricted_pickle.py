import collections
import io
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from tubedet.files import restricted_pickle
from tubedet.files.pickle_names import ARRAY_DATA, PLAIN_DATA, brief
from tubedet.files.restricted_pickle import PickleFileError, RefusedPickleError

try:
    from numpy._core.numeric import _frombuffer
except ImportError:
    from numpy.core.numeric import _frombuffer

_JHMDB = Path(__file__).parents[3] / "shared/data/jhmdb/JHMDB-GT.pkl"

PLAIN = {
    "none": None,
    "numbers": [1, -(2**70), 2.5, True],
    "text": ("brush hair", "größe", b"\x00\xff"),
    "set": {1, 2},
    "nested": {(1, 2): [{"a": ()}]},
}


# What is refused is refused for both uses.
BOTH = pytest.mark.parametrize(
    "allowed", [PLAIN_DATA, ARRAY_DATA], ids=["annotations", "checkpoints"]
)


def load_restricted_pickle(path, allowed=PLAIN_DATA, max_bytes=10**6):
    return restricted_pickle.load_restricted_pickle(path, max_bytes=max_bytes, allowed=allowed)


def write(path, value, **options):
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, **options))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_and_arrays_come_back_equal(tmp_path, protocol):
    arrays = {
        "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "big endian": np.array([1, 2, 3], dtype=">i2"),
        "fortran": np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3)),
        "words": np.array(["a", "bc"]),
        "flags": np.array([True, False]),
        "empty": np.empty((0, 5), np.float32),
    }
    value = {**PLAIN, **arrays, "ordered": collections.OrderedDict(a=1)}
    loaded = load_restricted_pickle(write(tmp_path / "a.pkl", value, protocol=protocol))
    assert {k: loaded[k] for k in PLAIN} == PLAIN and loaded["ordered"] == {"a": 1}
    for name, array in arrays.items():
        assert isinstance(loaded[name], np.ndarray) and loaded[
            name
        ].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[name], array)


def test_numpy_scalars_become_plain_numbers_and_text(tmp_path):
    value = {np.str_("video"): np.uint8(240), "ratio": np.float32(0.5), "flag": np.bool_(True)}
    loaded = load_restricted_pickle(write(tmp_path / "a.pkl", value))
    assert loaded == {"video": 240, "ratio": 0.5, "flag": True}
    assert {type(v) for v in [*loaded, *loaded.values()]} == {str, int, float, bool}


@pytest.mark.skipif(not _JHMDB.exists(), reason=f"no {_JHMDB}")
def test_pickle_of_python_2():
    loaded = load_restricted_pickle(_JHMDB, max_bytes=2**29)
    assert sorted(loaded) == sorted(
        ["labels", "gttubes", "nframes", "train_videos", "test_videos", "resolution"]
    )
    tube = loaded["gttubes"]["kick_ball/Goal_1_@_2_kick_ball_f_cm_np1_fr_goo_2"][6][0]
    assert tube.dtype == np.float32 and tube.shape == (19, 5)
    assert tube[0].tolist() == [1, 115, 27, 217, 239]


class _Call:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Call(os.system, "touch {marker}"), "posix.system"),
        (_Call(eval, "open('{marker}', 'w')"), "builtins.eval"),
        (_Call(open, "{marker}", "w"), "io.open"),
        (np.array([os.getcwd], dtype=object), "numpy.dtype('O8')"),
        (np.zeros(2, dtype=[("a", "f4"), ("b", "i2")]), "numpy.dtype('V6')"),
        (Path("a"), "pathlib"),
        (io.BytesIO(b"a"), "_io.BytesIO"),
        (bytearray(b"a"), "builtins.bytearray"),
        (_Call(np.ndarray, (10**6,)), "numpy.ndarray"),
        (np.matrix([[1]]), "numpy"),
        (np.datetime64("2020-01-01"), "numpy.dtype('M8')"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
@BOTH
def test_everything_else_is_refused_unexecuted(tmp_path, value, name, allowed):
    marker = tmp_path / "executed"
    if isinstance(value, _Call):
        function, arguments = value._call
        arguments = [a.format(marker=marker) if isinstance(a, str) else a for a in arguments]
        value = _Call(function, *arguments)
    path = write(tmp_path / "evil.pkl", value, protocol=3)
    with pytest.raises(RefusedPickleError, match=r"evil\.pkl: byte \d+: refused") as error:
        load_restricted_pickle(path, allowed)
    assert name in str(error.value)
    assert not marker.exists()


@BOTH
def test_persistent_ids_and_extensions_are_refused(tmp_path, allowed):
    for content in (b"Pmodule\n.", b"\x82\x01."):
        with pytest.raises(RefusedPickleError, match="refused"):
            load_restricted_pickle(write(tmp_path / "a.pkl", content), allowed)


@BOTH
def test_allowed_names_cannot_be_changed_by_a_pickle(tmp_path, allowed):
    # BUILD with slot state on the name itself.
    content = b"\x80\x02c_codecs\nencode\nN}X\x09\x00\x00\x00_functionK\x01s\x86b."
    assert "BUILD" in [op.name for op, _, _ in pickletools.genops(content)]
    with pytest.raises(PickleFileError, match="cannot be changed"):
        load_restricted_pickle(write(tmp_path / "a.pkl", content), allowed)
    loaded = load_restricted_pickle(write(tmp_path / "b.pkl", pickle.dumps(b"\xff", 2)), allowed)
    assert loaded == b"\xff"


@BOTH
def test_array_whose_shape_and_bytes_disagree(tmp_path, allowed):
    content = pickle.dumps(np.arange(4, dtype=np.uint8), protocol=2)
    broken = content.replace(b"K\x04\x85", b"K\x05\x85")
    assert broken != content
    with pytest.raises(PickleFileError, match=r"shape \(5,\) has 4 bytes, not 5"):
        load_restricted_pickle(write(tmp_path / "a.pkl", broken), allowed)


@BOTH
def test_memo_index_of_a_damaged_file_costs_no_memory(tmp_path, allowed):
    with pytest.raises(PickleFileError, match="damaged"):
        load_restricted_pickle(write(tmp_path / "a.pkl", b"\x80\x02]r\xff\xff\xff\xff"), allowed)


def test_every_truncation_is_an_error(tmp_path):
    value = {"a": np.arange(5), "b": [np.float32(1), "text", (1, 2)], "c": {"d"}}
    for protocol in (0, 2, 4):
        content = pickle.dumps(value, protocol=protocol)
        for length in range(len(content)):
            with pytest.raises(PickleFileError, match=r"cut\.pkl: byte \d+"):
                load_restricted_pickle(write(tmp_path / "cut.pkl", content[:length]))


@BOTH
def test_size_limit(tmp_path, allowed):
    path = write(tmp_path / "a.pkl", list(range(100)))
    with pytest.raises(PickleFileError, match="more than the 50 that"):
        load_restricted_pickle(path, allowed, max_bytes=50)


def _deep(depth):
    """Instructions for a tuple that holds the same tuple twice, which holds ... and so on."""
    return b"K\x01" + b"2\x86" * depth


# Every one of them hashes, shows or compares a tuple which would take 2 ** 60 steps.
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x80\x02}" + _deep(60) + b"K\x01s.",
            r"\(a tuple, a tuple\) is a dict key or set member",
        ),
        (b"\x80\x02}(" + _deep(60) + b"K\x01u.", "is a dict key or set member"),
        (b"\x80\x02(" + _deep(60) + b"K\x01d.", "is a dict key or set member"),
        (b"\x80\x04\x8f(" + _deep(60) + b"\x90.", "is a dict key or set member"),
        (b"\x80\x04(" + _deep(60) + b"\x91.", "is a dict key or set member"),
        (b"\x80\x02cbuiltins\nset\n](" + _deep(60) + b"e\x85R.", "is a dict key or set member"),
        (
            b"\x80\x02ccollections\nOrderedDict\n](" + _deep(60) + b"K\x01\x86e\x85R.",
            "is a dict key or set member",
        ),
        (b"\x80\x02" + _deep(60) + b"Q.", r"persistent id \(a tuple, a tuple\)"),
        (b"\x80\x02cnumpy\ndtype\n" + _deep(60) + b"\x85R.", "dtype.*a tuple, a tuple"),
        (b"\x80\x02]K\x01a" + b"K\x00" + _deep(60) + b"s.", "items are set in a list"),
    ],
)
def test_deep_tuples_are_never_hashed_shown_or_converted(tmp_path, content, message):
    with pytest.raises(PickleFileError, match=message) as error:
        load_restricted_pickle(write(tmp_path / "a.pkl", content))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("key", [2**64, (1, (2, 3)), (0,) * 17, frozenset([1])])
@BOTH
def test_keys_that_are_slow_to_hash_are_refused(tmp_path, key, allowed):
    for value in ({key: 1}, {key}):
        with pytest.raises(PickleFileError, match="is a dict key or set member"):
            load_restricted_pickle(write(tmp_path / "a.pkl", value), allowed)


def test_plain_keys_and_members(tmp_path):
    keys = [None, True, -(2**63), 2.5, "text", b"bytes", ("a", 1, None), (0,) * 16]
    for value in (dict.fromkeys(keys, 0), set(keys), collections.OrderedDict.fromkeys(keys)):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path = write(tmp_path / "a.pkl", value, protocol=protocol)
            assert load_restricted_pickle(path) == value


def test_messages_about_foreign_values_are_short():
    deep = (1,)
    for _ in range(60):
        deep = (deep, deep)
    assert brief(deep) == "(a tuple, a tuple)"
    assert brief(["a", 2, None, 0.5, {}]) == "['a', 2, None, 0.5, a dict]"
    assert brief(10**5000) == "a number of 16610 bits"
    for value in ("x" * 10**6, b"x" * 10**6, list(range(10**6)), ["x" * 10**6]):
        assert len(brief(value)) == 203


@pytest.mark.parametrize("content", [b"F" + b"x" * 10**5 + b"\n.", b"c" + b"x" * 10**5 + b"\na\n."])
@BOTH
def test_long_words_of_a_file_do_not_flood_the_message(tmp_path, content, allowed):
    with pytest.raises(PickleFileError) as error:
        load_restricted_pickle(write(tmp_path / "a.pkl", content), allowed)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("shape", [(2**40, 0), (1,) * 33])
@BOTH
def test_array_shapes_beyond_reason(tmp_path, shape, allowed):
    array = _Call(_frombuffer, b"", np.dtype("u1"), shape, "C")
    content = pickle.dumps(array, protocol=2)
    with pytest.raises(PickleFileError, match=rf"an array has the shape \({shape[0]}, "):
        load_restricted_pickle(write(tmp_path / "a.pkl", content), allowed)


@BOTH
def test_a_bytearray_is_no_longer_than_the_file(tmp_path, allowed):
    content = b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc."
    with pytest.raises(PickleFileError, match="1099511627776 bytes are announced, 4 are there"):
        load_restricted_pickle(write(tmp_path / "a.pkl", content), allowed)
    whole = b"\x80\x05\x96" + (3).to_bytes(8, "little") + b"abc."
    assert load_restricted_pickle(write(tmp_path / "b.pkl", whole), allowed) == bytearray(b"abc")


def _again(instructions, count):
    """A list into which the same instructions put something again and again."""
    return b"](" + instructions * count + b"e."


@BOTH
@pytest.mark.parametrize("kind", ["bytes", "array", "dict"])
def test_a_small_file_cannot_unpack_to_much(tmp_path, allowed, kind):
    # Each makes 1000 bytes or items from what the memo holds, in 20 bytes of the file.
    begin, make = {
        "bytes": (
            b"c_codecs\nencode\nX\xe8\x03\x00\x00" + b"x" * 1000 + b"X\x06\x00\x00\x00latin1"
            b"\x87q\x00",
            b"c_codecs\nencode\nh\x00R",
        ),
        "array": (
            b"(K\x01M\xe8\x03\x85cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87RK\x00"
            b"B\xe8\x03\x00\x00" + b"x" * 1000 + b"tq\x00",
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00C\x01b\x87Rh\x00b",
        ),
        "dict": (
            b"](" + b"".join(b"M" + i.to_bytes(2, "little") + b"N\x86" for i in range(1000)) + b"e"
            b"\x85q\x00",
            b"ccollections\nOrderedDict\nh\x00R",
        ),
    }[kind]
    if kind == "bytes":  # the arguments without the function, which is a tuple of two
        begin = begin.replace(b"c_codecs\nencode\n", b"").replace(b"\x87q", b"\x86q")
    prefix = b"\x80\x03" + begin + b"0"
    made = load_restricted_pickle(write(tmp_path / "a.pkl", prefix + _again(make, 1)), allowed)
    assert len(made) == 1 and len(made[0]) == 1000
    content = prefix + _again(make, 100)
    assert len(content) < 20_000
    with pytest.raises(PickleFileError, match="unpacks to more than it holds"):
        load_restricted_pickle(write(tmp_path / "b.pkl", content), allowed)


def test_numpy_scalars_of_weights_keep_their_types(tmp_path):
    value = {"count": np.int64(2**40), "rate": np.float32(0.5), "big": np.array([7], ">i2")[0]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = write(tmp_path / "a.pkl", value, protocol=protocol)
        loaded = load_restricted_pickle(path, ARRAY_DATA)
        assert loaded == value
        assert [v.dtype for v in loaded.values()] == [np.int64, np.float32, np.int16]


def test_each_use_allows_what_it_needs(tmp_path):
    path = write(tmp_path / "a.pkl", {1, 2}, protocol=2)
    assert load_restricted_pickle(path) == {1, 2}
    with pytest.raises(RefusedPickleError, match=r"it asks for .\w+\.set"):
        load_restricted_pickle(path, ARRAY_DATA)
    with pytest.raises(RefusedPickleError, match=r"it asks for .numpy\w*\.\S+"):
        load_restricted_pickle(write(tmp_path / "b.pkl", np.ones(1)), {})


def test_the_problem_stands_without_the_file(tmp_path):
    path = write(tmp_path / "a.pkl", b"")
    with pytest.raises(PickleFileError) as error:
        load_restricted_pickle(path)
    assert str(error.value) == f"{path}: {error.value.problem}"
    assert error.value.problem.startswith("byte 0: damaged or no pickle")
