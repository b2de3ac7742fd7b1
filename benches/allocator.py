"""Memory reuse for the other backends, too.

fastreg takes results from a pool of blocks. torch and NumPy ask the C library, which by default
maps each large block anew and faults in all its pages. glibc can be told to keep such blocks;
then both sides reuse memory, and a comparison shows the kernels alone.
"""

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # larger than any array here: nothing is mapped, nothing given back
USUAL = 32 << 20  # where glibc's own threshold ends up in a process with large arrays


def thresholds(mapped, trimmed):
    """Set both, or say that this C library has no such switch."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    return hasattr(library, "mallopt") and all(
        library.mallopt(option, value)
        for option, value in ((M_MMAP_THRESHOLD, mapped), (M_TRIM_THRESHOLD, trimmed))
    )


@contextlib.contextmanager
def kept_blocks(backends):
    """Yield the backends as "torch kept", warm, or none where blocks cannot be kept."""
    if not thresholds(KEPT, 2**31 - 1):
        yield {}
        return
    try:
        kept = {f"{name.split()[0]} kept": call for name, call in backends.items()}
        for call in kept.values():
            call()
            call()
        yield kept
    finally:
        thresholds(USUAL, 2 * USUAL)
        ctypes.CDLL(None).malloc_trim(0)
