"""What DeepSpeed's Adam for CPUs does. Its kernel is compiled when it is first used."""

from __future__ import annotations

import os
from typing import Any

import deepspeed
import torch
from deepspeed.ops.adam import DeepSpeedCPUAdam

from fastreg.bench.contenders import MissingError
from fastreg.bench.contenders.torch import tensors
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "given", "update"]

NAME = "DeepSpeed"
torch.set_num_threads(int(os.environ.get("FASTREG_BENCH_THREADS", "1")))


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {
        "library": f"DeepSpeed {deepspeed.__version__}, torch {torch.__version__}",
        "form": form,
        "threads": torch.get_num_threads(),
    }


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step Adam or AdamW."""
    if work.name not in ("Adam", "AdamW") or work.form:
        raise MissingError(f"DeepSpeed has no {work.name} {work.form} for CPUs")
    if work.dtype != "float32":
        raise MissingError("DeepSpeed's Adam has no float64")
    params = tensors(*arrays)
    decay = 0.01 if work.name == "AdamW" else 0.0
    rule = DeepSpeedCPUAdam(params, lr=updates.RATE, weight_decay=decay,
                            adamw_mode=work.name == "AdamW")  # fmt: skip
    return rule.step, lambda _: [p.detach().numpy() for p in params]
