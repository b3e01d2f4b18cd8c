import pytest
from cvat_exports import BOX, export, run

IN_FRAME_2 = 'frame="2" outside="0"'
SHAPES = {
    "box": ('<box {} xtl="10" ytl="10" xbr="50" ybr="90"/>', "10,10,50,90"),
    "turned box": (
        '<box {} xtl="60" ytl="20" xbr="80" ybr="100" rotation="90.00"/>',
        "30,50,110,70",
    ),
    # Half of the diagonal is 50: a quarter of a turn more puts the corners on the axes.
    "diamond": (
        '<box {} xtl="0" ytl="0" xbr="70.7106781" ybr="70.7106781" rotation="45"/>',
        "0,0,85.35534,85.35534",
    ),
    "polygon": ('<polygon {} points="10.0,10.0;50.0,10.0;50.0,90.0;10.0,90.0"/>', "10,10,50,90"),
    "polyline": ('<polyline {} points="10,90;50,10"/>', "10,10,50,90"),
    "points": ('<points {} points="10,90;30,30;50,10"/>', "10,10,50,90"),
    "ellipse": ('<ellipse {} cx="30" cy="50" rx="20" ry="40"/>', "10,10,50,90"),
    "turned ellipse": (
        '<ellipse {} cx="50" cy="50" rx="20" ry="40" rotation="90"/>',
        "10,30,90,70",
    ),
    "mask": ('<mask {} rle="3, 5" left="10" top="10" width="40" height="80"/>', "10,10,50,90"),
    "cuboid": (
        '<cuboid {} xtl1="20" ytl1="30" xbl1="20" ybl1="90" xtr1="40" ytr1="30" xbr1="40" '
        'ybr1="90" xtl2="30" ytl2="10" xbl2="30" ybl2="80" xtr2="50" ytr2="10" xbr2="50" '
        'ybr2="80"/>',
        "20,10,50,90",
    ),
    "skeleton": (
        '<skeleton {}><points label="head" outside="0" points="30,10"/><points label="hand" '
        'points="10,40"/><points label="foot" points="50,90"/><points label="tail" outside="1" '
        'points="99,99"/></skeleton>',
        "10,10,50,90",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_counts_with_its_enclosing_box(tmp_path, capsys, name):
    shape, box = SHAPES[name]
    track = f'<track id="1" label="wave">{shape.format(IN_FRAME_2)}</track>'
    assert run(tmp_path, export(f'<track id="0" label="wave">{BOX}</track>', track)) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,1,60,20,80,100,2,0",
        "gym,2",
        f"gym,3,{box},2,1",
        "gym,4",
    ]
    assert ("enclosing" in capsys.readouterr().out) == (name != "box")


def _box(frame, left, outside=0):
    place = f'xtl="{left}" ytl="2" xbr="{left + 9}" ybr="40"'
    return f'<box frame="{frame}" outside="{outside}" {place}/>'


def test_frames_between_key_frames_are_not_empty(tmp_path, capsys):
    key_frames = [_box(0, 10), _box(3, 20), _box(5, 20, 1), _box(8, 30)]
    other = [_box(frame, 50) for frame in (2, 3)]
    tracks = (
        f'<track id="{i}" label="run">{"".join(t)}</track>'
        for i, t in enumerate([key_frames, other])
    )
    assert run(tmp_path, export(*tracks, size=9)) == 0
    # Frames 2, 3 and 5, counted from 1, lie in gaps; 6 to 8 are outside.
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,1,10,2,19,40,1,0",
        "gym,4,20,2,29,40,1,0",
        "gym,4,50,2,59,40,1,1",
        "gym,6",
        "gym,7",
        "gym,8",
        "gym,9,30,2,39,40,1,0",
    ]
    assert "gaps of tracks" in capsys.readouterr().out


def test_a_shape_without_an_area_makes_no_empty_frame(tmp_path, capsys):
    track = '<track id="1" label="run"><points frame="2" points="5,5"/></track>'
    assert run(tmp_path, export(f'<track id="0" label="wave">{BOX}</track>', track)) == 0
    assert (tmp_path / "my.csv").read_text().splitlines() == [
        "gym,1,60,20,80,100,2,0",
        "gym,2",
        "gym,4",
    ]
    said = "shapes of the kind points without an area: left out, with their frames (1)"
    assert said in capsys.readouterr().out
