"""The formulas in NumPy as one reads them in a textbook: `fastreg.reference`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastreg import reference
from fastreg.bench.contenders import fast
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "layer", "loss", "penalty", "step", "update"]

NAME = "reference"


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {"library": f"NumPy {np.__version__}", "form": "the textbook's formulas"}


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer."""
    params, grads = arrays
    call = partial(updates.twin(work, NAME).update, params, grads)
    return call, lambda _: list(params.values())


layer: Any = partial(fast.layer, module=reference)
dropout: Any = partial(fast.dropout, module=reference)
loss: Any = partial(fast.loss, module=reference)
penalty: Any = partial(fast.penalty, module=reference)
step: Any = partial(fast.step, module=reference)
