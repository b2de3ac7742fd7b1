"""What the command line needs before its imports are done: a quiet Ctrl-C, the experiments' names.

Only the standard library is imported here, and little of it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from typing import Any

__all__ = ["experiments", "is_command", "loaded", "loading"]

FOLDER = os.path.join(os.path.dirname(__file__), "lab", "experiments")
ORDER = ("Section", "Exercise", "Beyond")


def is_command() -> Any:
    """Return whether this process was started as ``fastreg`` or ``python -m fastreg``."""
    if sys.argv[:1] == ["-m"]:  # while the package is still being imported
        return bool(re.search(r" -m ?fastreg( |$)", " ".join(sys.orig_argv)))
    return bool(sys.argv) and os.path.basename(sys.argv[0]) in ("fastreg", "fastreg.exe")


def loading() -> None:
    """Let Ctrl-C end the process with one line, until `loaded`.

    An interrupt in the middle of an import would come out as a traceback through the packages
    that were being imported, or as the ImportError that one of them makes of it.
    """
    ours = threading.current_thread() is threading.main_thread()  # which receives the signals
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def loaded() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number, frame):
    os.write(2, b"fastreg: interrupted\n")
    os._exit(130)


def experiments() -> Any:
    """Return the first line of each experiment's docstring by its name, in the chapter's order."""
    found = {}
    for entry in os.scandir(FOLDER):
        name, extension = os.path.splitext(entry.name)
        if extension == ".py" and not name.startswith("_"):
            with open(entry.path, encoding="utf-8") as file:
                found[name] = file.readline().strip().strip('"')
    return dict(sorted(found.items(), key=lambda item: (_place(item[1]), item[0])))


def _place(line):
    """Sort sections first, then exercises, by number, and what goes beyond the chapter last."""
    place = line.partition(":")[0]
    kind = next((i for i, word in enumerate(ORDER) if place.startswith(word)), len(ORDER))
    return kind, [int(digits) for digits in re.findall(r"\d+", place)]


if is_command():  # this is the first module that the package imports
    loading()
