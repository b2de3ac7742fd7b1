"""Schedules: a learning rate or a weight decay as a pure function of the step.

A schedule is a small immutable object that is called with a step and returns the value, so that
resuming at step n needs no history. Steps may be epochs or batches, whatever the caller counts;
values are at least 0. An array of steps gives an array of values, and
``ax.plot(*schedule.curve(100))`` draws one. Schedules are written in lower case because they are
used like functions. They compare, hash and pickle by their arguments, and evaluating a
``repr`` builds the schedule again. A schedule checks its arguments when it is made (TypeError for
the wrong kind, ValueError for a number out of range) and its step when it is called: a step that is
negative, NaN or beyond 2**53 is refused.

A length may also be a text, which `fastreg.train.Trainer.fit` turns into steps when it begins (by
hand, ``bind`` does): ``"10 epochs"`` or ``"0.5 epochs"``; ``"5%"`` of all steps of the fit; and
``"fit"``, from where the schedule begins to the end of the fit, so that in
``warmup(cosine(0.1, total="fit"), "5%")`` the cosine ends with the fit. Until then the schedule is
a value as any other, but calling it raises RuntimeError.
"""

from typing import TYPE_CHECKING

from fastreg.schedule.composed import *
from fastreg.schedule.families import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.schedule import composed, families

    __all__ = []
    __all__ += composed.__all__
    __all__ += families.__all__
