"""Around the training loop: steps that happen completely or not at all, Ctrl-C, a progress bar."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Presses", "interruptible", "marks", "progress_bar", "rewind"]


def marks(model: Any) -> Any:
    """Return what a forward pass in training moves; see `Sequential.marks`."""
    return model.marks() if hasattr(model, "marks") else []


def rewind(before: Any) -> None:
    """Take back the forward passes since these `marks`."""
    for layer, name, value in before:
        setattr(layer, name, value)


class Presses:
    """Counts Ctrl-C: the first ends a run between two steps, the second does not wait for that.

    The second waits only for work that must be completed, such as the update and its count, inside
    ``with presses:``. While a run is ending, every second Ctrl-C does not wait either.
    """

    def __init__(self, run: Any) -> None:
        self.run, self.count, self.busy, self.due = run, 0, False, False
        self.over = False  # it has raised, and the run that it watches is ending

    def press(self, signum: Any, frame: Any) -> None:
        """Be the signal's handler."""
        self.count += 1
        if self.count == 1:
            self.run.stop_training, self.run.stop_reason = True, "interrupt"
        elif self.busy and not self.due:
            self.due = True
        else:
            self._end()

    def __enter__(self) -> None:
        self.busy = True

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None:
            self.release()

    def release(self) -> None:
        """Let the second Ctrl-C end the run from here on, or now if it has already come."""
        self.busy = False
        if self.due:
            self._end()

    def _end(self):
        self.busy, self.due, self.over = True, False, True
        raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible(run: Any) -> Iterator[Presses]:
    """Yield `Presses` that watch over a run, unless the program handles Ctrl-C itself."""
    presses = Presses(run)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    others = [one for one in run._team.signals[1:] if signal.getsignal(one) is signal.SIG_DFL]
    left = getattr(getattr(handler, "__self__", None), "over", False)  # by an interrupted end
    if not main or not (handler is signal.default_int_handler or left is True):
        yield presses
        return
    signal.signal(signal.SIGINT, presses.press)
    for one in others:
        signal.signal(one, presses.press)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in others:
            signal.signal(one, signal.SIG_DFL)


@contextlib.contextmanager
def progress_bar(run: Any, epochs: int) -> Iterator[Callable[[], Any]]:
    """Yield a function to call after each epoch."""
    if not run.progress or not run._team.first or not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda: None
        return
    with tqdm(total=epochs, initial=run.epoch, unit="epoch") as bar:
        yield bar.update
