"""Exports of CVAT, and importing them."""

from tubedet.cli.running import run_command

BOX = '<box frame="0" xtl="60" ytl="20" xbr="80" ybr="100"/>'


def run(tmp_path, text, *options, classes=("run", "wave"), name="export.xml", others=()):
    """Imports a text with options; returns the exit status."""
    (tmp_path / "videos").mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = [
        str(path),
        *map(str, others),
        "--videos",
        str(tmp_path / "videos"),
        "--fps",
        "25",
        *options,
    ]
    output = ["--output", str(tmp_path / "my.yaml")]
    return run_command("import", ["cvat", *arguments, *output, "--classes", *classes])


def export(*tracks, size=4, source="<source>gym.mp4</source>"):
    """An export of gym.mp4 with some tracks."""
    meta = f"<meta><task><size>{size}</size></task>{source}</meta>"
    return f"<annotations>{meta}{''.join(tracks)}</annotations>"
