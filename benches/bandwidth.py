"""How fast this machine moves bytes, with as many threads as fastreg uses.

Both floors split their arrays between Python threads and leave the work to NumPy, which holds no
lock meanwhile and reaches the speed of memory with one plain loop per thread. They move as many
bytes as the work they are compared with, so that times compare directly and the cost of starting
threads (some 50 us) is the same small part.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import fastreg


def sweep(nbytes):
    """Read and write an array in place, as an update does: ``a = a * s`` over nbytes / 2.

    One operation, not ``a * s + c``: NumPy would pass over the array twice for that, and the
    bytes that move are the same.
    """
    array = np.ones(nbytes // 8, np.float32)  # per element 4 bytes are read and 4 written
    one = np.float32(1.0)
    return in_parallel(lambda part: np.multiply(part, one, out=part), array)


def copy(nbytes):
    """Read one array and write another, as a layer does: ``np.copyto`` over nbytes / 2."""
    source = np.ones(nbytes // 8, np.float32)
    return in_parallel(np.copyto, np.zeros_like(source), source)


def in_parallel(function, *arrays):
    """Make a call that runs the function on equal parts of the arrays, one per thread."""
    threads = fastreg.get_num_threads()
    parts = [np.array_split(array, threads) for array in arrays]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(function, *parts))
