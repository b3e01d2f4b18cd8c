"""What we use of PyAV exists in the installed version, and a dropped part of it would be seen."""

import re
import runpy
import shutil
from pathlib import Path

import av
import pytest
from pyav_interface.calls import argument_names
from pyav_interface.stubs import Class, Function, Stubs
from pyav_interface.uses import find_faults

from tubedet.data.video import pyav_versions

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(av.__file__).parent
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("tubedet", "tools", "datasets", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _all_but_python(folder, names):
    return [x for x in names if not (Path(folder, x).is_dir() or x.endswith((".py", ".pyi")))]


def arguments_of(stubs, module, name):
    kinds = stubs.module_member(module, name)
    return argument_names(next(kind for kind in kinds if isinstance(kind, Function)))


def test_all_that_we_use_exists():
    faults, right = find_faults(FILES, Stubs(INSTALLED))
    assert not faults, "\n".join(faults)
    # Much is recognised, in different ways.
    assert len(right) > 100
    assert right >= {
        *("av.open", "av.error.FFmpegError", "av.stream.Disposition", "FFmpegError.strerror"),
        *("av.container.core.open(timeout=)", "av.container.core.open(format=)"),
        *("InputContainer.seek(stream=)", "InputContainer.demux", "StreamContainer.video"),
        *("VideoStream.average_rate", "VideoStream.decode", "VideoCodecContext.thread_type"),
        *("Packet.is_corrupt", "Packet.time_base", "VideoFrame.rotation", "VideoFrame.pts"),
        *("VideoReformatter.reformat(format=)", "VideoFrame.from_ndarray(format=)"),
        *("OutputContainer.add_stream(rate=)", "OutputContainer.add_stream_from_template"),
    }


def test_arguments_for_this_version_exist():
    stubs = Stubs(INSTALLED)
    of_open = arguments_of(stubs, "av", "open")
    example = runpy.run_path("tools/run_exported_model.py")
    for wanted in (pyav_versions._ANY_METADATA, example["ANY_METADATA"]):
        assert wanted == ({"metadata_errors": "replace"} if "metadata_errors" in of_open else {})
    (reformat,) = stubs.class_member(Class("av.video.reformatter", "VideoReformatter"), "reformat")
    threads = {"threads": 1} if "threads" in argument_names(reformat) else {}
    assert pyav_versions._ONE_THREAD == threads


@pytest.mark.parametrize(
    "file, pattern, replacement, fault",
    [
        ("container/core.pyi", r"\n    timeout: .*", "", "open has no argument 'timeout'"),
        ("container/core.pyi", r"\n    options: .*", "", "open has no argument 'options'"),
        ("video/reformatter.pyi", r"format: str", "pixels: str", "has no argument 'format'"),
        ("container/input.pyi", r"stream: Stream", "track: Stream", "has no argument 'stream'"),
        ("container/input.pyi", r"def demux\b", "def packets", "InputContainer has no 'demux'"),
        ("video/frame.pyi", r"def rotation\b", "def turns", "VideoFrame has no 'rotation'"),
        ("packet.pyi", r"\n    is_corrupt: .*", "", "Packet has no 'is_corrupt'"),
        ("stream.pyi", r"class Disposition", "class Mark", "av.stream has no Disposition"),
        ("stream.pyi", r"\n    average_rate: .*", "", "VideoStream has no 'average_rate'"),
        ("error.pyi", r"class ExitError", "class Exit", "av.error has no 'ExitError'"),
        ("container/output.pyi", r"def mux\(self, packets:", "def mux(self, a, packets:", "needs"),
    ],
)
def test_what_is_dropped_from_the_stubs_is_found(tmp_path, file, pattern, replacement, fault):
    changed = tmp_path / "av"
    shutil.copytree(INSTALLED, changed, ignore=_all_but_python)
    text = (changed / file).read_text()
    assert re.search(pattern, text)
    (changed / file).write_text(re.sub(pattern, replacement, text))
    ours = [path for path in FILES if path.parts[0] == "tubedet"]
    faults, _ = find_faults(ours, Stubs(changed))
    pattern = rf"tubedet/\S+\.py:\d+: .*{re.escape(fault)}"
    assert faults and all(re.match(pattern, line) for line in faults)


@pytest.mark.parametrize(
    "code, fault",
    [
        ("av.open('a', codec='h264')", "av.container.core.open has no argument 'codec'"),
        ("from av.video import Film", "av.video has no Film"),
        ("import av.films", "there is no module av.films"),
        ("for frame in av.open('a').decode(video=0): frame.color", "VideoFrame has no 'color'"),
        ("[p.size_ for p in av.open('a').demux()]", "Packet has no 'size_'"),
        ("with av.open('a', 'w') as film:\n  film.demux()", "OutputContainer has no 'demux'"),
        ("av.open('a', 'w').add_stream()", "add_stream needs the argument 'codec_name'"),
        ("def f(frame: av.VideoFrame | None): frame.reformat(1, 2, depth=3)", "'depth'"),
        ("def f(a: 'av.Packet'): b = c = a; c.stop", "Packet has no 'stop'"),
        ("av.VideoFrame(1, 2, 'rgb24', 4)", "VideoFrame.__init__ takes no 4 positional"),
        ("try: 1\nexcept av.error.FFmpegError as error: error.number", "has no 'number'"),
        ("class A:\n  def f(self): self.c = av.open('a')\n  def g(self): self.c.mux(1)", "'mux'"),
    ],
)
def test_ways_to_use_a_thing_that_does_not_exist(tmp_path, code, fault):
    file = tmp_path / "code.py"
    file.write_text(f"import av\n{code}\n")
    faults, _ = find_faults([file], Stubs(INSTALLED))
    assert len(faults) == 1 and re.match(r".*code\.py:\d: ", faults[0]) and fault in faults[0]


def test_a_folder_without_stubs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no package av"):
        Stubs(tmp_path)
