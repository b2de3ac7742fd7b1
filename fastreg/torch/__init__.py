"""The fast optimizers in an existing torch training loop, by changing an import."""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("fastreg.torch needs torch; install fastreg[torch]") from error
if not hasattr(_torch.Tensor, "__dlpack_c_exchange_api__"):
    raise ImportError(f"fastreg.torch needs torch 2.10 or later, got {_torch.__version__}")

from fastreg.torch import optimizers
from fastreg.torch.optimizers import *

__all__ = []
__all__ += optimizers.__all__
