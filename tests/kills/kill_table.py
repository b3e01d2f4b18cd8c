r"""Kill commands by SIGKILL at places spread over their whole runs, and let each go on.

    python -m kills.kill_table --kills 100 --output output/kills

(in ``tests``, or with it in PYTHONPATH; ``make kills`` does that.) Half of the kills come after a
share of the run's time, the others before one of its operations on files, so that every state of
the disk is met. After each kill: every file with a final name is whole, absent or the older one,
and no process lives on. After the next run: the work is complete and nothing is left of the killed
one. The table and every kill are written to the folder. Exit status 1 if something did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kills.commands import Command, commands, partial_files
from kills.runs import FileOperations, Run

LIMIT_SECONDS = 2.0  # that a process may live on


@dataclass
class Kill:
    """A kill and what came of it.

    Attributes:
        command: its name.
        place: in words.
        share: of the run that was over, in [0, 1].
        seconds: that processes lived on.
        is_early: whether the run was still going on.
        num_leftovers: temporary files and folders of writers at the kill.
        faults: what did not hold.
    """

    command: str
    place: str
    share: float
    seconds: float = 0.0
    is_early: bool = True
    num_leftovers: int = 0
    faults: list[str] = field(default_factory=list)


class Killer:
    """Kills a command again and again.

    Args:
        command: what is killed.
        folder: to work in.
        is_fresh: see :class:`.Run`; then there are no kills at file operations.
    """

    def __init__(self, command: Command, folder: Path, *, is_fresh: bool = False):
        self.command, self.folder, self.is_fresh = command, folder, is_fresh
        self._number = 0
        counted = None if is_fresh else FileOperations()
        run, status = self._whole_run(self._new_folder(), command.arguments, counted)
        if status:
            raise RuntimeError(f"{command.name} ends with status {status}:\n{run.log.read_text()}")
        self.seconds = time.monotonic() - run.begin
        self.num_operations = 0 if counted is None else counted.count

    def kill(self, share: float, *, by_operation: bool, victim: str) -> Kill:
        """Kill once and let the command go on.

        Args:
            share: of the run, in [0, 1].
            by_operation: count operations on files instead of seconds.
            victim: see :meth:`.Run.kill`.
        """
        folder, operations = self._new_folder(), None
        if by_operation:
            number = 1 + int(share * self.num_operations)
            operations = FileOperations(number)
            kill = Kill(self.command.name, f"file operation {number}", share)
        else:
            kill = Kill(self.command.name, f"{share * self.seconds:.2f} s, {victim}", share)
        run = Run(self.command.arguments, folder, operations=operations, is_fresh=self.is_fresh)
        driver = self._driver(run)
        if operations is None:
            while time.monotonic() - run.begin < share * self.seconds and run.poll() is None:
                time.sleep(0.002)
            kill.is_early = run.kill(victim)
        # The launcher of killed ranks ends by itself, with a line.
        run.wait(60)
        if operations is not None:
            kill.is_early = operations.count >= number
        kill.seconds = run.seconds_until_ended()
        if driver is not None:
            driver.join()
        if kill.seconds > LIMIT_SECONDS:
            kill.faults.append(f"processes lived on for {kill.seconds:.1f} s")
        kill.num_leftovers = len(partial_files(folder))
        kill.faults += self._checked(self.command.faults, folder)
        self._go_on(folder, kill)
        if kill.faults:
            print(f"{folder}: {kill}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
        return kill

    def _go_on(self, folder: Path, kill: Kill) -> None:
        arguments = self.command.next_arguments or self.command.arguments
        run, status = self._whole_run(folder, arguments)
        if status:
            last = run.log.read_text().splitlines()[-1:]
            kill.faults.append(f"the next run ended with status {status}: {last}")
        kill.faults += self._checked(self.command.faults, folder)
        kill.faults += self._checked(self.command.faults_at_end, folder)
        kill.faults += [f"{path.name} is left" for path in partial_files(folder)]

    def _whole_run(
        self, folder: Path, arguments: list[str], operations: FileOperations | None = None
    ) -> tuple[Run, int]:
        run = Run(arguments, folder, operations=operations, is_fresh=self.is_fresh)
        if self.command.drive is not None:
            self.command.drive(run)
            with contextlib.suppress(ProcessLookupError):  # its status will tell
                os.kill(run.pid, signal.SIGTERM)
        return run, run.wait()

    def _driver(self, run: Run) -> threading.Thread | None:
        drive = self.command.drive
        if drive is None:
            return None

        def work() -> None:
            with contextlib.suppress(Exception):  # it is killed meanwhile
                drive(run)
                os.kill(run.pid, signal.SIGTERM)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _new_folder(self) -> Path:
        self._number += 1
        folder = self.folder / f"{self._number:03}"
        folder.mkdir(parents=True)
        self.command.prepare(folder)
        return folder

    @staticmethod
    def _checked(check, folder: Path) -> list[str]:
        try:
            return check(folder)
        except Exception as error:  # what is half cannot be read, in whatever way
            return [f"{type(error).__name__}: {error}"]


def kill_often(
    command: Command,
    number: int,
    folder: Path,
    *,
    is_fresh: bool = False,
    until: float = float("inf"),
) -> list[Kill]:
    """Kill a command at places spread evenly over its run.

    Args:
        command: what is killed.
        number: of kills.
        folder: to work in.
        is_fresh: see :class:`.Run`.
        until: monotonic time after which no further kill begins.
    """
    killer, kills = Killer(command, folder, is_fresh=is_fresh), []
    # Every other place first, so that those that are left out for want of time lie evenly, too.
    order = [*range(0, number, 2), *range(1, number, 2)]
    for turn, index in enumerate(order):
        if time.monotonic() > until:
            break
        by_operation = not is_fresh and turn % 2 == 1
        victim = command.victims[turn // (1 if is_fresh else 2) % len(command.victims)]
        kills.append(killer.kill((index + 0.5) / number, by_operation=by_operation, victim=victim))
        print(kills[-1], flush=True)
    return kills


def table(kills: list[Kill]) -> str:
    """Return the kills as a Markdown table, a row for each command.

    Args:
        kills: of any commands.
    """
    lines = [
        "| command | kills | while it ran | from … to of the run | processes gone after, at most "
        "| temporary files at the kill, after the next run | half files, lost work |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(kill.command for kill in kills):
        own = [kill for kill in kills if kill.command == name]
        shares = [100 * kill.share for kill in own if kill.is_early]
        span = f"{min(shares):.0f} … {max(shares):.0f} %" if shares else "–"
        left = sum("is left" in fault for kill in own for fault in kill.faults)
        wrong = sum("is left" not in fault for kill in own for fault in kill.faults)
        lines.append(
            f"| {name} | {len(own)} | {len(shares)} | {span} | "
            f"{max(kill.seconds for kill in own):.2f} s | "
            f"{sum(kill.num_leftovers for kill in own)}, {left} | {wrong} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Kill, and write the table.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of all commands (default: 100)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when to stop")
    parser.add_argument("--commands", nargs="+", metavar="NAME", help="those that begin so")
    parser.add_argument("--fresh", action="store_true", help="start an interpreter for each run")
    parser.add_argument("--output", type=Path, default=Path("output/kills"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    begin, kills = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="kills-") as work:
        inputs = Path(work, "inputs")
        inputs.mkdir()
        chosen = [
            command
            for command in commands(inputs)
            if not options.commands or command.name.startswith(tuple(options.commands))
        ]
        if importlib.util.find_spec("gradio") is None:
            print("web is left out: gradio is not installed", file=sys.stderr)
            chosen = [command for command in chosen if command.name != "web"]
        for index, command in enumerate(chosen):
            number = (index + 1) * options.kills // len(chosen) - index * options.kills // len(
                chosen
            )
            until = begin + 60 * options.minutes * (index + 1) / len(chosen)
            folder = Path(work, f"command{index}")
            kills += kill_often(command, number, folder, is_fresh=options.fresh, until=until)
            (options.output / "kills.md").write_text(table(kills))
            content = json.dumps([asdict(kill) for kill in kills], indent=1)
            (options.output / "kills.json").write_text(content + "\n")
    print(table(kills))
    faults = [kill for kill in kills if kill.faults]
    for kill in faults:
        print(f"FAULT {kill}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
