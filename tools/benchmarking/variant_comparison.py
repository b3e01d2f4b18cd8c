"""Runs forms of one model in turns and relates what was measured to what the machine can do."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from .fresh_process import FreshProcess
from .measured_model import MeasuredModel, ModelRun
from .measurement import summary


def measure_in_turns(
    measured: type[MeasuredModel],
    runs: Sequence[ModelRun],
    *,
    repeats: int,
    warmup: int,
    threads: int,
) -> list[dict]:
    """Measure every run in a process of its own, one repetition of each after the other.

    Args:
        measured: What builds and runs the models.
        runs: What to measure, at least one.
        repeats: Timed repetitions.
        warmup: Repetitions before them.
        threads: Of PyTorch in each process.

    Returns:
        list[dict]: one :func:`_figures` per run.

    Raises:
        OSError, KeyError, ValueError, MeasurementError: See :class:`FreshProcess`.
    """
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(FreshProcess(measured, run, threads=threads)) for run in runs
        ]
        for process in processes:
            for _ in range(warmup):
                process.call("measure")
        repetitions = [[process.call("measure") for process in processes] for _ in range(repeats)]
        return [
            _figures(run, repetition, process.call("totals"))
            for run, repetition, process in zip(runs, zip(*repetitions), processes)
        ]


def tables(cases: Sequence[dict]) -> str:
    """Lay out what :func:`measure_in_turns` returned, for one config or several.

    Args:
        cases: Its results, those of one config next to each other.

    Returns:
        str: a table of all cases; one of the variants of each config beside each other if there
        are several; one of what a run asks of its device; one of the modules of each config.
    """
    configs: dict[str, list[dict]] = {}
    for case in cases:
        configs.setdefault(case["config_file"], []).append(case)
    texts = [_case_table(cases)]
    if len(cases) > len(configs):
        texts.append(_ratio_table(configs.values()))
    texts.append(_count_table(cases))
    texts += [
        f"{group[0]['config']}, modules in forward, and phases:\n\n{_module_table(group)}"
        for group in configs.values()
    ]
    return "\n\n".join(texts)


def _figures(run: ModelRun, repetitions: Sequence[dict], totals: dict) -> dict:
    """All figures of one run."""
    gflop, counts = totals["gflop"], totals["counts"]
    copy_rate = statistics.median(repetition["copy_gb_per_s"] for repetition in repetitions)
    rates = {
        kind: [repetition["matrix_gflop_per_s"][kind] for repetition in repetitions]
        for kind in ("wall", "cpu")
    }
    median_rates = {kind: statistics.median(values) for kind, values in rates.items()}
    whole = [
        {
            kind: sum(phase[kind] for phase in repetition["phases"].values())
            for kind in ("wall_s", "cpu_s")
        }
        for repetition in repetitions
    ]
    parts = {
        part: {
            name: _times([repetition[part][name] for repetition in repetitions], work, median_rates)
            for name, work in _work_of(part, repetitions[0], gflop).items()
        }
        for part in ("phases", "modules")
    }
    times = _times(whole, gflop["run"], median_rates)
    return {
        "config": Path(run.config_file).stem,
        "config_file": run.config_file,
        "opts": list(run.opts),
        "variant": run.variant,
        "clip_size": list(run.clip_size),
        "batch_size": run.batch_size,
        "amp": run.amp,
        "compiled": run.compiled,
        "clips": run.clips,
        "peak_growth_mb": totals["peak_growth_mb"],
        "matrix_gflop_per_s": {
            "dtype": totals["matrix_dtype"],
            "median": median_rates["wall"],
            "best": max(rates["wall"]),
            "per_cpu_second": median_rates["cpu"],
        },
        "copy_gb_per_s": copy_rate,
        "bandwidth_share": counts["gbytes"] / copy_rate / max(times["wall_s"]["median"], 1e-9),
        "counts": counts,
        "gpu_counts": totals["gpu_counts"],
        **times,
        **parts,
    }


def _times(timings: Sequence[dict], gflop: float, rates: dict[str, float]) -> dict:
    """Seconds of the repetitions of something that computes ``gflop``.

    A roofline share is the part of the time that the matrix product would need for as much; with
    CPU times it tells the same where other programs take the cores away.
    """
    wall, cpu = (summary([timing[kind] for timing in timings]) for kind in ("wall_s", "cpu_s"))
    speed, cpu_speed = (gflop / max(seconds["median"], 1e-9) for seconds in (wall, cpu))
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "gflop": gflop,
        "gflop_per_s": speed,
        "roofline_share": speed / rates["wall"],
        "roofline_share_of_cpu_time": cpu_speed / rates["cpu"],
    }


def _work_of(part: str, repetition: dict, gflop: dict) -> dict[str, float]:
    """GFLOP of the phases or modules; the members of a list of modules are counted one by one."""
    if part == "phases":
        return gflop["phases"]
    counts = gflop["modules"]
    return {
        name: counts.get(
            name, sum(count for key, count in counts.items() if key.rpartition(".")[0] == name)
        )
        for name in repetition["modules"]
    }


def _case_table(cases: Sequence[dict]) -> str:
    rows = []
    for case in cases:
        wall, rate = case["wall_s"], case["matrix_gflop_per_s"]
        backbone = case["modules"].get("backbone")
        row = [
            case["config"],
            case["variant"],
            "x".join(map(str, (case["batch_size"], 3, *case["clip_size"]))) + f" ({case['clips']})",
            f"{wall['median']:.3g} ({wall['min']:.3g}-{wall['max']:.3g})",
            f"{case['cpu_s']['median']:.3g}",
            f"{case['gflop']:.4g}",
            f"{case['gflop_per_s']:.3g}",
            f"{rate['median']:.3g} (best {rate['best']:.3g})",
            f"{case['roofline_share']:.0%}",
            f"{backbone['roofline_share']:.0%}" if backbone else "",
            f"{case['peak_growth_mb']['process']:.0f}",
        ]
        if case["peak_growth_mb"]["cuda"] is not None:
            row.append(f"{case['peak_growth_mb']['cuda']:.0f}")
        rows.append(row)
    headers = ["config", "variant", "clips", "s, median (spread)", "CPU s", "GFLOP (2 per MAC)"]
    headers += ["GFLOP/s", "matrix product GFLOP/s", "roofline share", "of the backbone's forward"]
    headers += ["peak growth, MB", "on the GPU, MB"]
    return tabulate(rows, headers[: len(rows[0])], tablefmt="pipe", disable_numparse=True)


def _ratio_table(configs: Iterable[list[dict]]) -> str:
    rows = []
    for cases in configs:
        first = cases[0]
        row = {
            "config": first["config"],
            f"{first['variant']} s": f"{first['wall_s']['median']:.3g}",
        }
        for case in cases[1:]:
            row[f"{case['variant']} s"] = f"{case['wall_s']['median']:.3g}"
            for key, header in (("wall_s", "times faster"), ("cpu_s", "times less CPU time")):
                ratio = first[key]["median"] / max(case[key]["median"], 1e-9)
                row[f"{case['variant']}: {header}"] = f"{ratio:.2f}"
            kind = "process" if first["peak_growth_mb"]["cuda"] is None else "cuda"
            share = case["peak_growth_mb"][kind] / max(first["peak_growth_mb"][kind], 1e-9)
            row[f"{case['variant']}: memory"] = f"{share:.0%}"
        rows.append(row)
    return tabulate(rows, "keys", tablefmt="pipe", disable_numparse=True)


def _count_table(cases: Sequence[dict]) -> str:
    rows = []
    for case in cases:
        counts, on_gpu = case["counts"], case["gpu_counts"]
        row = [case["config"], case["variant"]]
        row += [counts[name] for name in ("operators", "casts", "waits")]
        row += [f"{counts['gbytes']:.3g}", f"{case['copy_gb_per_s']:.3g}"]
        row.append(f"{case['bandwidth_share']:.0%}")
        if on_gpu is not None:
            copies = on_gpu["copies"]
            row += [on_gpu["launches"], f"{1000 * on_gpu['gpu_s']:.3g}"]
            row += [" ".join(f"{count} {name}" for name, count in copies.items()), on_gpu["waits"]]
            places = on_gpu["synchronisations"]
            most = [f"{place} {count}" for place, count in list(places.items())[:3]]
            row.append(f"{sum(places.values())}: {', '.join(most)}" if places else "0")
        rows.append(row)
    headers = ["config", "variant", "operators", "casts", "waiting operators", "GB"]
    headers += ["copying GB/s", "bandwidth share"]
    headers += ["launches", "GPU works, ms", "copies", "waits", "synchronising lines"]
    return tabulate(rows, headers[: len(rows[0])], tablefmt="pipe", disable_numparse=True)


def _module_table(cases: Sequence[dict]) -> str:
    rows = []
    for part, label in (("modules", "{}"), ("phases", "({})")):
        for name, first in cases[0][part].items():
            row = [label.format(name), f"{first['gflop']:.3g}"]
            for case in cases:
                times = case[part].get(name)  # a faster form may not call a module as a whole
                row += [f"{times['wall_s']['median']:.3g}" if times else ""]
                row += [f"{times['roofline_share']:.0%}" if times else ""]
            rows.append(row)
    headers = ["module", "GFLOP"]
    for case in cases:
        headers += [f"{case['variant']} s", "roofline share"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
