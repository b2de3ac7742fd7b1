"""Callbacks: hooks that a training run calls, and callbacks that are ready to use."""

from fastreg.callbacks.base import Callback
from fastreg.callbacks.diagnosis import LiveDiagnosis
from fastreg.callbacks.logs import CSVLogger, TensorBoard
from fastreg.callbacks.pruning import OptunaPruning
from fastreg.callbacks.saving import BestCheckpoint, Checkpoint

__all__ = [
    "BestCheckpoint",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "LiveDiagnosis",
    "OptunaPruning",
    "TensorBoard",
]
