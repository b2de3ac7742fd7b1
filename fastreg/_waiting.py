"""How long a kernel's threads spin for the next kernel: long enough for a loop of them, no longer.

GNU's OpenMP lets them spin for milliseconds. The threads of NumPy's OpenBLAS spin, too, and with
two sets on the same cores a matrix product after a kernel waits until the kernel's threads give
up: training steps took 8 times as long on 2 cores. The count is read when the library is loaded,
so this module loads it, and the environment is as before afterwards. What the user has set holds.
"""

import os

COUNT = "GOMP_SPINCOUNT"
SPINS = "1000"  # about 40 us; waking a sleeping thread costs 5 to 90 us

if os.environ.keys().isdisjoint({COUNT, "OMP_WAIT_POLICY"}):
    os.environ[COUNT] = SPINS
    try:
        from fastreg import _kernels  # noqa: F401
    finally:
        del os.environ[COUNT]
