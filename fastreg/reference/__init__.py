"""The compiled library in plain NumPy: specification, oracle and benchmark baseline.

Everything here has the name, the arguments (except ``out=``) and the results of its compiled
twin; code that is pure Python anyway has none. Nothing is validated, nothing is fused and nothing
is fast: what matters is that each line can be checked against the formula it implements.
Element-wise steps spell out the operations in the order the kernels use, in the dtype of the
array, so that the two sides agree bit for bit. Reductions (means, variances, sums) use NumPy's own
order and agree to rounding.
"""

from fastreg.reference import (
    adam,
    adaptive,
    dropout,
    free,
    functions,
    group,
    groupnorm,
    layernorm,
    layerwise,
    nn,
    noise,
    norm,
    optim,
    penalty,
    product,
    scalars,
    sparsity,
)
from fastreg.reference.adam import *
from fastreg.reference.adaptive import *
from fastreg.reference.dropout import *
from fastreg.reference.free import *
from fastreg.reference.functions import *
from fastreg.reference.group import *
from fastreg.reference.groupnorm import *
from fastreg.reference.layernorm import *
from fastreg.reference.layerwise import *
from fastreg.reference.nn import *
from fastreg.reference.noise import *
from fastreg.reference.norm import *
from fastreg.reference.optim import *
from fastreg.reference.optimizer import Optimizer
from fastreg.reference.penalty import *
from fastreg.reference.product import *
from fastreg.reference.random import philox4x32
from fastreg.reference.scalars import *
from fastreg.reference.sparsity import *

__all__ = ["Optimizer", "philox4x32"]
__all__ += adam.__all__
__all__ += adaptive.__all__
__all__ += dropout.__all__
__all__ += free.__all__
__all__ += functions.__all__
__all__ += group.__all__
__all__ += groupnorm.__all__
__all__ += layernorm.__all__
__all__ += layerwise.__all__
__all__ += nn.__all__
__all__ += noise.__all__
__all__ += norm.__all__
__all__ += optim.__all__
__all__ += penalty.__all__
__all__ += product.__all__
__all__ += scalars.__all__
__all__ += sparsity.__all__
