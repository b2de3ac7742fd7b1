"""The fast optimizers, dropouts and norms in an existing torch training loop.

Change an import, and ``torch.optim.AdamW`` is ``fastreg.torch.AdamW``: the same arguments,
defaults, errors and state, over the same tensors. A ``state_dict`` goes from torch's class to this
package's and back at any step. The optimizers take these keywords beyond torch's; the first four
may also stand in a parameter group:

========================  ========================================================================
``lambda_l1``             L1 penalty; ``l1_mode="prox"`` takes it by its proximal operator, which
                          reaches exact zeros, and "subgradient" (default) by its sign
``lambda_l2``             L2 penalty, added to the gradient
``clip_value``            largest absolute value of a gradient's element
``ema_decay``             decay of an average of the parameters, which begins with their first
                          values; ``swap_ema()`` exchanges the two, and ``state["ema"]`` holds it
``clip_norm``             largest norm of all gradients together; ``grad_norm`` has the last one
``exclude``               what decay and penalties leave alone: patterns of the names that
                          ``named_parameters()`` gave, or a function of the parameter
``on_nonfinite``          "propagate" (default), "skip" or "raise" where a gradient is not finite;
                          ``skipped`` counts
``master``                whether parameters of 16 bits have a float32 copy (``state["master"]``)
                          that takes the steps; else small steps move them by chance
========================  ========================================================================

Parameters are dense tensors on the CPU, float64, float32, float16 or bfloat16, contiguous in any
order of their axes; others are refused by name. Those of 16 bits have their state in float32, which
torch's class rounds when it loads it; their rounding is drawn from torch's generator. In the ranges
that float32 holds squares of, the state is torch's number for number; beyond, an entry of v may be
minus its root (see :class:`fastreg.optim.Optimizer`).
Each step checks the settings in the groups and the state, whoever changed them, by the bounds of
the constructor, and ``load_state_dict`` checks what it loads before it takes it over.

Modules are subclasses of torch's, with the same arguments and state. Masks are a function of a
number drawn from torch's generator where torch would draw the mask: ``torch.manual_seed`` governs
them, and checkpointing computes them again; they do not depend on the number of threads. Wherever a
kernel cannot run (other devices and types, ``torch.compile``, ``vmap``, tracing, ``inplace=True``)
the module is torch's own; ``torch.fx`` keeps it as it is, and ``torch.jit.script`` needs
:func:`restore` first. :func:`accelerate` exchanges the modules of a model in place.
"""

try:
    import torch as _torch
except ImportError as _error:
    raise ImportError("fastreg.torch needs torch; install fastreg[torch]") from _error
if not hasattr(_torch.Tensor, "__dlpack_c_exchange_api__"):
    raise ImportError(f"fastreg.torch needs torch 2.10 or later, got {_torch.__version__}")

from typing import TYPE_CHECKING

from fastreg.torch.dropout import *
from fastreg.torch.norm import *
from fastreg.torch.optimizers import *
from fastreg.torch.swap import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.torch import dropout, norm, optimizers, swap

    __all__ = []
    __all__ += swap.__all__
    __all__ += dropout.__all__
    __all__ += norm.__all__
    __all__ += optimizers.__all__
