import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_finished_runs_are_counted_and_not_made_again(tmp_path):
    for seed, precision in ((1, 0.8), (2, 0.9), (5, 0.85)):
        run = {"config": "TubeR_toy", "seed": seed, "CPU kernels": "AVX2"}
        run |= {"mAP@0.5": precision, "minutes": 3.0}
        folder = tmp_path / "TubeR_toy" / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run))
    config = ROOT / "configs" / "quick_schedules" / "TubeR_toy.yaml"
    command = [sys.executable, str(ROOT / "tools" / "compare_on_toy.py")]
    command += ["--output", str(tmp_path), "--configs", str(config), "--seeds", "1", "2", "5"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()
    ]
    assert ["TubeR_toy", "5", "AVX2", "85.0", "3.0"] in rows
    assert rows[-1][:6] == ["TubeR_toy", "3", "85.0", "80.0", "90.0", "3.0"]
    assert rows[-1][6] == "473,343"
