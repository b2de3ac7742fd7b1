"""What surrounds a training loop: Ctrl-C that waits for the step, and a progress bar."""

import contextlib
import signal
import sys
import threading

__all__ = ["interruptible", "progress_bar"]


@contextlib.contextmanager
def interruptible(run):
    """Let the first Ctrl-C end a run between two steps; the second does not wait."""

    def stop(signum, frame):
        if run.stop_reason == "interrupt":
            raise KeyboardInterrupt
        run.stop_training, run.stop_reason = True, "interrupt"

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # someone else decides what Ctrl-C means
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def progress_bar(run, epochs):
    """Yield what is to be called after each epoch."""
    if not run.progress or not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda: None
        return
    with tqdm(total=epochs, initial=run.epoch, unit="epoch") as bar:
        yield bar.update
