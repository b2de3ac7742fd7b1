"""The ``fastreg`` command: ``lab`` runs the experiments, ``bench`` measures, ``info`` describes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastreg
from fastreg import _command

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

BROKEN_PIPE = 141  # what a shell reports for a process that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        _command.loaded()
        try:
            arguments = parser().parse_args(argv)
            return arguments.command(arguments) or 0
        finally:  # flush here, where an error can be caught, and not when Python ends
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as in "| head"
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return fail("fastreg: interrupted", status=130)
    except OSError as error:
        _discard_output()
        return fail(f"fastreg: {error}")


def _discard_output():
    """Send what is still in the buffers nowhere: Python flushes them when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            if stream is not None and not stream.closed:
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Parser(argparse.ArgumentParser):
    """A parser that lets an error be seen when help or version cannot be printed."""

    def _print_message(self, message, file=None):
        if file is not None and file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def parser() -> Any:
    """Describe the command line."""
    top = _Parser(prog="fastreg", description=fastreg.__doc__)
    top.add_argument("--version", action="version", version=f"fastreg {fastreg.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    about = "run the experiments and write a report"
    known = _command.experiments()
    width = max(map(len, known))
    command = commands.add_parser(
        "lab",
        help=about,
        description=about.capitalize() + ".",
        epilog="\n".join(
            ["experiments:", *(f"  {name:<{width}}  {line}" for name, line in known.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "exercise",
        nargs="*",
        metavar="EXPERIMENT",
        help="which of the experiments below (default: all)",
    )
    command.add_argument(
        "--data",
        default="digits",
        metavar="NAME|FILE",
        help="digits (default), breast_cancer, wine, diabetes, synthetic, or a CSV, npz or IDX "
        "file, plain or gzipped; the target is the last column, unless FILE.csv#NAME names one (as "
        "it stands, with any further #), or FILE.csv#0 gives its place, counted from 0",
    )
    command.add_argument(
        "--drop-columns",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help="columns of the CSV file to leave out, by name or by place, from 0",
    )
    command.add_argument(
        "--missing",
        choices=["refuse", "drop"],
        help="what to do with rows of the CSV file in which an entry is missing (default: refuse)",
    )
    command.add_argument(
        "--words",
        choices=["refuse", "one-hot"],
        help="what to do with features of the CSV file that are words (default: refuse)",
    )
    command.add_argument(
        "--delimiter",
        metavar="CHARACTER",
        help="between entries, or tab (default: the one that fits)",
    )
    command.add_argument(
        "--seeds",
        type=seeds,
        metavar="N",
        help="trainings of each setting (default: 5; quick: 3)",
    )
    command.add_argument("--quick", action="store_true", help="short trainings, under two minutes")
    command.add_argument(
        "--jobs", type=positive, metavar="N", help="processes (default: one per core)"
    )
    command.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where (default: report)"
    )
    command.set_defaults(command=lab)

    about = "measure everything beside other libraries and write tables and a page"
    command = commands.add_parser(
        "bench", help=about, description=about.capitalize() + ", as far as they are installed."
    )
    command.add_argument(
        "suite", nargs="*", metavar="SUITE", help="optim, layers, steps, ... (default: all)"
    )
    command.add_argument(
        "-k", dest="only", metavar="EXPRESSION", help="works and contenders, as pytest's -k"
    )
    command.add_argument("--quick", action="store_true", help="the README's rows, in minutes")
    command.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    command.add_argument(
        "--libraries", metavar="NAME,...", help="who takes part beside fastreg (default: all)"
    )
    command.add_argument(
        "--out", type=Path, default=Path("bench"), metavar="DIR", help="where (default: bench)"
    )
    command.add_argument(
        "--results", type=Path, nargs="+", metavar="JSON",
        help="measure nothing: write tables and page of these files",
    )  # fmt: skip
    command.add_argument(
        "--readme", type=Path, metavar="FILE", help="rewrite the table between its markers, too"
    )
    command.set_defaults(command=bench)

    about = "print version, compiler, instruction set and threads"
    command = commands.add_parser("info", help=about, description=about.capitalize() + ".")
    command.set_defaults(command=info)
    return top


def positive(text: str, low: Any = 1) -> Any:
    """Parse an integer from ``low`` on."""
    if not text.isascii() or not text.isdecimal() or int(text) < low:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {low}, got {text!r}")
    return int(text)


def seeds(text: str) -> Any:
    """Parse a number of seeds, at least 2: one seed gives no interval."""
    return positive(text, low=2)


def info(arguments: Any) -> None:
    """Print what this build is and what it runs on."""
    fastreg.show_config()


def lab(arguments: Any) -> Any:
    """Run the experiments, print what they found, write the report."""
    _command.loading()
    try:
        from fastreg.lab import command
    except ModuleNotFoundError as error:
        return fail(error)
    finally:
        _command.loaded()
    try:
        return command.run(arguments)
    except command.RefusedError as error:
        return fail(f"fastreg lab: {error}")
    except KeyboardInterrupt:
        return fail("fastreg lab: interrupted; the same command goes on from here", status=130)


def bench(arguments: Any) -> Any:
    """Measure fastreg beside other libraries, write tables and a page."""
    _command.loading()
    try:
        from fastreg.bench import command
    except ModuleNotFoundError as error:
        return fail(f"{error}; fastreg bench needs the extra 'bench': pip install 'fastreg[bench]'")
    finally:
        _command.loaded()
    try:
        return command.run(arguments)
    except ValueError as error:
        return fail(f"fastreg bench: {error}")


def fail(message: Any, status: int = 1) -> Any:
    """Say in one line what went wrong."""
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
