"""The ``fastreg`` command: ``lab`` runs the experiments, ``info`` describes the build."""

import argparse
import sys
import time
from pathlib import Path

import fastreg

__all__ = ["main"]

EPOCHS, QUICK_EPOCHS = 60, 12


def main(argv=None):
    """Run the command line and return its exit status."""
    arguments = parser().parse_args(argv)
    return arguments.command(arguments) or 0


def parser():
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="fastreg", description=fastreg.__doc__)
    top.add_argument("--version", action="version", version=f"fastreg {fastreg.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    about = "train four small networks on handwritten digits and write a report"
    command = commands.add_parser("lab", help=about, description=about.capitalize() + ".")
    command.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where (default: report)"
    )
    command.add_argument("--quick", action="store_true", help=f"train {QUICK_EPOCHS} epochs only")
    command.add_argument(
        "--epochs", type=positive, metavar="N", help=f"epochs of each training (default: {EPOCHS})"
    )
    command.set_defaults(command=lab)

    about = "print version, compiler, instruction set and threads"
    command = commands.add_parser("info", help=about, description=about.capitalize() + ".")
    command.set_defaults(command=info)
    return top


def positive(text):
    """Parse an integer from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def info(arguments):
    """Print what this build is and what it runs on."""
    fastreg.show_config()


def lab(arguments):
    """Train, print the table and the conclusions, write the report."""
    try:
        from fastreg.lab import digits, report
    except ModuleNotFoundError as error:
        return fail(error)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return fail(f"fastreg lab: --out must be a folder that can be made, got {error}")
    epochs = arguments.epochs or (QUICK_EPOCHS if arguments.quick else EPOCHS)
    begin = time.perf_counter()
    try:
        result = digits.run(epochs=epochs)
    except KeyboardInterrupt:
        return fail("fastreg lab: interrupted; no report was written", status=130)
    seconds = time.perf_counter() - begin
    print(result.table(), "", *map(" ".join, result.conclusions()), sep="\n")
    try:
        path = report.write(arguments.out, [result.section()], seconds=seconds)
    except OSError as error:
        return fail(f"fastreg lab: the report could not be written, got {error}")
    print(f"\nReport: {path.resolve()}")


def fail(message, status=1):
    """Say in one line what went wrong."""
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
