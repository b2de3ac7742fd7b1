"""Rows that have no check yet, and which tests of the suite look at the same."""

from charter import absent

OWED = {
    "N-02": (
        "updates, functions and sums within their bounds of exact arithmetic (mpmath)",
        "not written yet",
    ),
    "N-03": (
        "means and variances against exact rationals, means to 10⁷ times the spread",
        "kept by `tests/norm`; its row is owed",
    ),
    "N-04": ("gradients against 50-digit differences", "not written yet"),
    "N-05": ("one-input maps for all 2³² float32 inputs", "not written yet"),
    "N-07c": (
        "the same hash under gcc and clang, at -O1 and -O3",
        "`make compilers` compares them; its row is owed",
    ),
    "N-10": ("more than 2³¹ elements in every kernel", "not written yet"),
    "N-11": ("schedules at 10⁶ steps against their closed forms", "not written yet"),
    "F-02": ("beside other runtimes, in all orders of import", "not written yet"),
    "F-05": ("nested use", "not written yet"),
    "F-07": ("no room for threads", "kept by `tests/core/test_thread_limits.py`; its row is owed"),
    "C-03": ("power loss", "not written yet"),
    "C-09": ("old and newer formats", "not written yet"),
    "C-10": ("all or nothing", "kept by `tests/sweeps/test_errors.py`; its row is owed"),
    "X-02": ("mutants of C, Cython and Python", "not written yet"),
    "X-03": ("calls beside a busy neighbour, and 10⁷ calls in flat memory", "not written yet"),
}
for name, (promise, why) in OWED.items():
    absent(name, promise, why)
