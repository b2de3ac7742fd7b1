"""Resident memory that parameters and the state of Adam take, by type, as the system counts it.

Each row is a process of its own: 25 million parameters, their gradients, and what the first steps
add. Run it as ``python benches/update_memory.py``.
"""

import json
import subprocess
import sys

ROWS = [
    ("float32", {}),
    ("float32", {"state_dtype": "bfloat16"}),
    ("float32", {"state_dtype": "int8"}),
    ("bfloat16", {}),
    ("bfloat16", {"state_dtype": "bfloat16"}),
    ("bfloat16", {"master": True}),
    ("float16", {"master": True}),
]
ELEMENTS = 25_000_000


def resident():
    """Bytes of this process in memory, by Linux's account."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def measured(dtype, options):
    """Bytes per element of parameters and gradients, and of what two steps add."""
    import numpy as np

    import fastreg

    if dtype == "bfloat16":
        from ml_dtypes import bfloat16 as dtype
    before = resident()
    params = {"w": np.ones(ELEMENTS, dtype)}
    grads = {"w": np.ones(ELEMENTS, dtype)}
    arrays = resident()
    optimizer = fastreg.Adam(1e-3, rng=0, **options)
    for _ in range(2):
        optimizer.update(params, grads)
    return (arrays - before) / ELEMENTS, (resident() - arrays) / ELEMENTS


def main():
    """Print the table, or a row of it as a process of its own."""
    if len(sys.argv) > 1:
        print(json.dumps(measured(*json.loads(sys.argv[1]))))
        return
    print("| parameters | optimizer | parameters and gradients | state |\n|---|---|--:|--:|")
    for dtype, options in ROWS:
        made = subprocess.run(
            [sys.executable, __file__, json.dumps([dtype, options])],
            check=True,
            capture_output=True,
            text=True,
        )
        arrays, state = json.loads(made.stdout)
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        print(f"| {dtype} | `Adam({given})` | {arrays:.2f} B | {state:.2f} B |")


if __name__ == "__main__":
    main()
