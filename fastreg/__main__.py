"""The ``fastreg`` command: ``lab`` runs the experiments, ``info`` describes the build."""

import argparse
import sys
from pathlib import Path

import fastreg

__all__ = ["main"]


def main(argv=None):
    """Run the command line and return its exit status."""
    arguments = parser().parse_args(argv)
    return arguments.command(arguments) or 0


def parser():
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="fastreg", description=fastreg.__doc__)
    top.add_argument("--version", action="version", version=f"fastreg {fastreg.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    about = "run the experiments and write a report"
    command = commands.add_parser("lab", help=about, description=about.capitalize() + ".")
    command.add_argument(
        "exercise", nargs="*", metavar="EXERCISE", help="which experiments (default: all)"
    )
    command.add_argument(
        "--data",
        default="digits",
        metavar="NAME|FILE",
        help="digits (default), breast_cancer, wine, diabetes, synthetic, or a CSV, npz or IDX "
        "file; FILE.csv#NAME names the target column, else it is the last",
    )
    command.add_argument(
        "--seeds", type=seeds, metavar="N", help="trainings of each setting (default: 5; quick: 3)"
    )
    command.add_argument("--quick", action="store_true", help="short trainings, under a minute")
    command.add_argument(
        "--jobs", type=positive, metavar="N", help="processes (default: one a core)"
    )
    command.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where (default: report)"
    )
    command.set_defaults(command=lab)

    about = "print version, compiler, instruction set and threads"
    command = commands.add_parser("info", help=about, description=about.capitalize() + ".")
    command.set_defaults(command=info)
    return top


def positive(text, low=1):
    """Parse an integer from ``low`` on."""
    if not text.isascii() or not text.isdecimal() or int(text) < low:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {low}, got {text!r}")
    return int(text)


def seeds(text):
    """Parse a number of seeds; there is no interval for one."""
    return positive(text, low=2)


def info(arguments):
    """Print what this build is and what it runs on."""
    fastreg.show_config()


def lab(arguments):
    """Run the experiments, print what they found, write the report."""
    try:
        from fastreg.lab import command
    except ModuleNotFoundError as error:
        return fail(error)
    try:
        return command.run(arguments)
    except command.RefusedError as error:
        return fail(f"fastreg lab: {error}")
    except KeyboardInterrupt:
        return fail("fastreg lab: interrupted; the same command goes on from here", status=130)


def fail(message, status=1):
    """Say in one line what went wrong."""
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
