"""Run a command: a command line in, an exit status out, a line for whatever the user did wrong."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from tubedet.errors import USER_ERRORS, message_of
from tubedet.third_party_warnings import silence_third_party_warnings

from .arguments import apply_model_argument, key_value_pairs

# Name -> module of tubedet.cli and one line for the list of commands. A module has
# add_arguments(parser), main(options) -> exit status and, where options depend on each other,
# check_arguments(options); or run(arguments) -> exit status. Where it says OPTIONS_ANYWHERE = True,
# options may stand between positional arguments.
COMMANDS = {
    "train": ("train", "train or evaluate a config"),
    "evaluate": ("evaluate", "compute the figures of files of predictions, and compare them"),
    "models": ("models", "list released weights by name"),
    "demo": ("demo", "detect actions in videos, follow the persons and draw them"),
    "predict": ("predict", "detect actions in many videos, in several processes"),
    "build-memory": ("build_memory", "write what a model sees in data sets, for long-term context"),
    "validate": ("validate", "report every problem of data sets"),
    "visualize": ("visualize", "draw the ground truth of a data set"),
    "convert": ("convert", "rename the weights of published checkpoints"),
    "export": ("export", "write a detector to a file that runs without tubedet"),
    "import": ("import_annotations", "turn annotations of other tools into a custom data set"),
    "benchmark": ("benchmark", "measure speed and memory"),
    "web": ("web", "serve a web page on which a model can be tried"),
}
WRONG_INPUT = 2
INTERRUPTED = 130


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and exit with status 2.

        Args:
            message: what is wrong with the command line.
        """
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message} (--help lists the options)\n")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Start ``tubedet NAME ...`` and exit with its status.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    from tubedet import __version__

    parser = CommandParser(
        "tubedet", description="Spatio-temporal action detection: who is where, doing what, when."
    )
    parser.add_argument("--version", action="version", version=f"tubedet {__version__}")
    listed = "\n".join(f"  {name:<14}{summary}" for name, (_, summary) in COMMANDS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"commands:\n{listed}\n\ntubedet COMMAND --help lists the options of a command."
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    given = sys.argv[1:] if arguments is None else arguments
    name = parser.parse_args(given[:1]).command
    sys.exit(run_command(name, given[1:], prog=f"tubedet {name}"))


def run_command(name: str, arguments: list[str] | None = None, *, prog: str | None = None) -> int:
    """Parse a command line and run the command.

    Args:
        name: of :data:`COMMANDS`.
        arguments: without the program's name; None: those of the process.
        prog: what errors begin with; None: the file name of the running program.

    Returns:
        exit status, see :func:`run_cli`.
    """
    module = _module_of(name)
    if hasattr(module, "run"):  # a command with a parser of its own
        given = sys.argv[1:] if arguments is None else arguments
        return run_cli(lambda: module.run(given), prog=prog)
    options = parse_command_line(name, arguments, prog=prog)
    return run_cli(lambda: module.main(options), prog=prog)


def run_cli(main: Callable[[], int], *, prog: str | None = None) -> int:
    """Run a program; print what the user did wrong as one line.

    Args:
        main: the program, whose options are parsed; returns its exit status.
        prog: what errors begin with; None: the file name of the running program.

    Returns:
        exit status: what ``main`` returns, 2 on input that cannot be used, 130 after Ctrl-C.
    """
    silence_third_party_warnings()
    try:
        return main()
    except USER_ERRORS as error:
        print_error(error, prog=prog)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print_error("interrupted", prog=prog)
        return INTERRUPTED


def parse_command_line(
    name: str, arguments: list[str] | None = None, *, prog: str | None = None
) -> argparse.Namespace:
    """Parse and check the options of a command; exits with status 2 on wrong ones.

    Args:
        name: of :data:`COMMANDS`.
        arguments: without the program's name; None: those of the process.
        prog: see :func:`run_command`.
    """
    module = _module_of(name)
    summary, _, details = (module.__doc__ or "").partition("\n\n")
    parser = CommandParser(
        prog or Path(sys.argv[0]).name,
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    intermixed = getattr(module, "OPTIONS_ANYWHERE", False)
    parse = parser.parse_intermixed_args if intermixed else parser.parse_args
    options = parse(arguments)
    options.prog = parser.prog
    try:
        if hasattr(module, "check_arguments"):
            module.check_arguments(options)
        if hasattr(options, "opts"):
            options.opts = key_value_pairs(options.opts)
        if hasattr(options, "model"):
            apply_model_argument(options)
    except USER_ERRORS as error:
        parser.error(message_of(error))
    return options


def print_error(error: object, *, prog: str | None = None) -> None:
    """Print the line of an error.

    Args:
        error: an exception or a text.
        prog: see :func:`run_cli`.
    """
    print(f"{prog or Path(sys.argv[0]).name}: error: {message_of(error)}", file=sys.stderr)


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f"tubedet.cli.{COMMANDS[name][0]}")
