"""What every layer with a training and an inference mode shares."""

from fastreg._kernels import Lock

__all__ = ["Layer"]


class Layer:
    """A mode, and a lock so that two threads may share one object."""

    def __init__(self):
        self.training = True
        self._lock = Lock(type(self).__name__)

    def train(self):
        """Enter training mode."""
        self.training = True

    def eval(self):
        """Enter inference mode."""
        self.training = False

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = Lock(type(self).__name__)

    def _forwarded(self, last):
        """What the last forward call left for backward."""
        if last is None:
            where = type(self).__name__
            raise RuntimeError(f"{where}.backward: forward must be called first")
        return last
