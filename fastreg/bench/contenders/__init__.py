"""Who takes part. Each library is a module of this folder: functions named like kinds of work.

Such a function takes a work, its arrays and the form asked for, and returns two: a call without
arguments that does the work, and one that makes NumPy arrays of what the call has returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Contender", "MissingError", "Repeated", "known"]


#: A warm allocator: glibc keeps what is freed, and large results fault no new pages.
WARM = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 40),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


class MissingError(Exception):
    """A library is not there, or cannot do this; the message is the reason."""


class Repeated:
    """A call that does its work several times, such as an epoch of steps."""

    call: Any
    calls: int

    def __init__(self, call: Any, calls: int) -> None:
        self.call, self.calls = call, calls

    def __call__(self) -> Any:
        """Do all of it."""
        return self.call()


@dataclass(frozen=True)
class Contender:
    """A library in one of its forms, with what it is given."""

    library: str
    form: str = ""
    threads: int = 1
    level: str = ""  # the instruction set, where it can be asked for
    quick: bool = True  # is part of a short run

    @property
    def name(self) -> str:
        """Return how it is called in results."""
        words = [LABELS[self.library], self.form, self.level]
        many = "s" * (self.threads > 1)
        return f"{' '.join(filter(None, words))}, {self.threads} thread{many}"

    @property
    def process(self) -> tuple[str, int, str]:
        """Return what decides which process it runs in."""
        return self.library, self.threads, self.level

    def environment(self) -> dict[str, str]:
        """Return the variables with which its process starts."""
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        found = dict.fromkeys(names, str(self.threads))
        found["FASTREG_BENCH_THREADS"] = str(self.threads)
        found |= WARM
        if self.level:
            found["FASTREG_ISA"] = self.level
        if self.library in ("jax", "keras"):
            found |= {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
        return found


LABELS = {
    "fast": "fastreg",
    "textbook": "textbook",
    "inplace": "NumPy in place",
    "torch": "torch",
    "jax": "JAX",
    "keras": "Keras",
    "sklearn": "scikit-learn",
    "deepspeed": "DeepSpeed",
    "machine": "machine",
}

#: Kinds of work, and the forms of each library that do them. A form that ends in "!" takes long to
#: prepare, and is left to full runs.
FORMS = {
    "update": {
        "fast": [""], "textbook": [""], "inplace": [""],
        "torch": ["eager", "foreach", "fused", "compiled!"], "jax": ["jit + optax"],
        "keras": ["jit"], "sklearn": [""], "deepspeed": ["CPUAdam"],
    },
    "layer": {
        "fast": [""], "textbook": [""], "torch": ["eager", "compiled!"], "jax": ["jit"],
        "keras": ["jit"],
    },
    "loss": {"fast": [""], "textbook": [""], "torch": ["eager", "compiled!"], "jax": ["jit"]},
    "penalty": {"fast": [""], "textbook": [""], "torch": ["eager", "compiled!"], "jax": ["jit"]},
    "product": {"fast": [""], "inplace": [""], "torch": ["eager"], "jax": ["jit"]},
    "step": {
        "fast": ["", "fit", "products"], "textbook": [""], "torch": ["eager", "compiled!"],
        "jax": ["jit + optax"], "keras": ["jit"], "sklearn": [""],
    },
    "limit": {"machine": [""]},
}  # fmt: skip
FORMS["dropout"] = FORMS["layer"] | {"inplace": [""]}
#: What is also tried on one thread in a short run, because it may be faster there.
THREADED = {
    "fast": {"update", "layer", "dropout", "loss", "penalty", "product", "step"},
    "torch": {"step"},
    "jax": {"step"}, "machine": {"limit"},
}  # fmt: skip
SERIAL = {"textbook", "sklearn"}  # but for products, what they do has one thread


def known(kind: str, threads: list[int], levels: list[str]) -> list[Contender]:
    """List who could do this kind of work, fastreg with all threads first.

    Parameters
    ----------
    kind : str
        Kind of work.
    threads : list of int
        Numbers of threads to be given, the largest first.
    levels : list of str
        Instruction sets of fastreg beside the CPU's best.
    """
    found = []
    for library, forms in FORMS[kind].items():
        for form in forms:
            serial = library in SERIAL and kind != "step"
            serial |= library == "inplace" and kind != "product"
            for n in [1] if serial else threads:
                short = serial or n == threads[0]
                short |= form == forms[0] and kind in THREADED.get(library, ())
                short = short and not form.endswith("!")
                found.append(Contender(library, form.rstrip("!"), n, quick=short))
    if kind != "limit":
        found += [Contender("fast", "", threads[0], level, quick=False) for level in levels]
    return found
