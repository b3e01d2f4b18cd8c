"""The picture of ``--task scaling``: growth of time and memory against that of the work."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

_TIME, _MEMORY, _WORK = "#33658a", "#f26419", "#8b959e"


def draw_scaling(result: dict, path: Path) -> None:
    """Draw one plot per axis, both scales logarithmic.

    Everything is relative to the smallest size, so the diagonal is growth as fast as the work and
    a curve below it grows slower.

    Args:
        result: Of :func:`benchmarking.scaling.run`.
        path: Picture to write; its suffix tells the format.

    Raises:
        OSError: The file cannot be written.
        ValueError: There is no such format.
    """
    axes = result["axes"]
    figure = Figure(figsize=(3.2 * len(axes), 3.4), dpi=150, layout="constrained")
    figure.suptitle(result["config"])
    for plot, (name, axis) in zip(figure.subplots(1, len(axes), squeeze=False)[0], axes.items()):
        points = axis["points"]
        work = _relative([point["gflop"] for point in points])
        time = _relative([point[point["time"]]["min"] for point in points])
        memory = _relative([point["peak_growth_mb"] for point in points])
        plot.loglog(work, work, "--", color=_WORK, label="as the work")
        plot.loglog(work, time, "o-", color=_TIME, label="time")
        plot.loglog(work, memory, "s-", color=_MEMORY, label="memory")
        plot.set_title(f"{name}: {', '.join(str(point['value']) for point in points)}", fontsize=9)
        plot.set_xlabel("work, times the smallest")
        for scale in (plot.xaxis, plot.yaxis):
            scale.set_minor_locator(NullLocator())
            scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        plot.set_xticks([round(value, 1) for value in work])
        top = max(*work, *time, *memory)
        plot.set_yticks([2**power for power in range(12) if 2**power <= 1.5 * top])
        plot.set_ylim(min(*time, *memory) / 1.3, 1.3 * top)
        plot.grid(color="#d5dade", linewidth=0.6)
    first = figure.axes[0]
    first.set_ylabel("cost, times the smallest")
    first.legend(fontsize=8, frameon=False)
    figure.savefig(path)


def _relative(values: list[float]) -> list[float]:
    return [value / values[0] for value in values]
