"""Optimizers: a class names its rule and hyper-parameters; one compiled pass does the rest.

Every class takes the same services (decay, penalties, clipping, groups, averages) as keyword
arguments; :class:`Optimizer` documents them. Where libraries disagree, the chapter's form is the
default, and ``compat`` chooses another library's:

========  ======================================  ==================  ==========================
rule      default                                 "torch"             "keras" / "optax"
========  ======================================  ==================  ==========================
Momentum  velocity free of the learning rate      same                carries it / free of it
AdaGrad   epsilon inside the root, sum from 0     outside             inside, sum from 0.1
RMSprop   epsilon inside the root                 outside             inside; velocity carries lr
Adam      epsilon after bias correction           same                on the raw root / after
AMSGrad   peak of v                               same                of v / of corrected v
NAdam     momentum decay 0.004                    same                decay 1 / no schedule
RAdam     epsilon on the raw root                 same                (none) / after correction
Adamax    epsilon joins the gradient's size       same                added after / as default
Adadelta  learning rate 1, rho 0.9                same                0.001, 0.95 / as default
Yogi      m begins at 0                           (none)              (none) / as v does
Adan      differences weigh beta2                 (none)              (none) / 1 - beta2
free      warm-up begins at 1 / W                 (none)              (none) / at 0
decay     decoupled                               coupled, but AdamW  decoupled / the class's own
average   begins with the first parameters        after their step    after their step / default
clipping  by the norm                             by norm + 1e-6      by the norm
========  ======================================  ==================  ==========================
"""

from typing import TYPE_CHECKING

from fastreg.optim.adam import *
from fastreg.optim.adaptive import *
from fastreg.optim.base import Optimizer as Optimizer
from fastreg.optim.free import *
from fastreg.optim.groups import BIASES_AND_SCALES as BIASES_AND_SCALES
from fastreg.optim.layerwise import *
from fastreg.optim.rules import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.optim import adam, adaptive, free, layerwise, rules

    #: Every optimizer; `fastreg`, tests and benchmarks go by this list.
    __all__ = []
    __all__ += adam.__all__
    __all__ += adaptive.__all__
    __all__ += free.__all__
    __all__ += layerwise.__all__
    __all__ += rules.__all__
