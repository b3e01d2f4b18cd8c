import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError


@pytest.fixture
def model_zoo(monkeypatch):
    monkeypatch.syspath_prepend(str(Path("tools").resolve()))
    import model_zoo

    yield model_zoo
    sys.modules.pop("model_zoo")


def test_a_multiply_add_counts_as_two(model_zoo):
    class OneConvolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(3, 5, 1)

        def forward(self, inputs):
            return self.conv(inputs[0]["clip"].float()[None])

    assert model_zoo.count_flops(OneConvolution(), (2, 4, 6)) == 2 * 3 * 5 * 2 * 4 * 6


def test_a_row_describes_its_config(model_zoo):
    torch.manual_seed(0)
    row = model_zoo.describe(Path("configs/quick_schedules/TubeR_toy.yaml"))
    assert row[:3] == ("`quick_schedules/TubeR_toy`", "TubeR", "8x48x64")
    assert row[3] == pytest.approx(0.473343)
    assert 0.05 < row[4] < 0.2


def test_rows_come_one_by_one_of_files_and_folders(model_zoo, monkeypatch, tmp_path, capsys):
    printed = []

    def describe(path):
        printed.append(capsys.readouterr().out)
        return f"`{model_zoo._name(path)}`", "TubeR", "8x48x64", 0.473, 120.4

    monkeypatch.setattr(model_zoo, "describe", describe)
    for name in ("Base-A.yaml", "a.yaml", "b.yaml"):
        (tmp_path / name).touch()
    toy = "configs/quick_schedules/TubeR_toy.yaml"
    assert model_zoo.main(model_zoo.parse_arguments(["--configs", toy, str(tmp_path)])) == 0
    printed.append(capsys.readouterr().out)
    header, *rows = printed
    assert len(header.splitlines()) == 2
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        "`quick_schedules/TubeR_toy`",
        "`a`",
        "`b`",
    ]
    assert len({len(line) for line in "".join(printed).splitlines()}) == 1
    assert rows[1].endswith("|            0.5 |     120 |\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder holds no config"):
        model_zoo.main(model_zoo.parse_arguments(["--configs", str(tmp_path / "empty")]))


def test_attention_counts(model_zoo):
    class Attention(nn.Module):
        def forward(self, inputs):
            x = torch.ones(2, 3, 5, 4)  # (B, heads, N, channels)
            return F.scaled_dot_product_attention(x, x, x)

    assert model_zoo.count_flops(Attention(), (1, 1, 1)) == 2 * 2 * (2 * 3 * 5 * 5 * 4)
