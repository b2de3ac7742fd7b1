"""All valid calls of public callables: importing a module of them adds its own."""

import calls_export
import calls_layers
import calls_metrics
import calls_optim
import calls_penalty
import calls_products
import calls_schedule
import calls_study
import calls_training
from calls import CALLS, Assign, Bound
from calls_training import trainer

__all__ = ["CALLS", "FAMILIES", "Assign", "Bound", "trainer"]

FAMILIES = [
    calls_optim,
    calls_layers,
    calls_penalty,
    calls_products,
    calls_schedule,
    calls_training,
    calls_study,
    calls_metrics,
    calls_export,
]
