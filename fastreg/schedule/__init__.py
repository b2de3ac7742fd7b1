"""Schedules: a learning rate or a weight decay as a pure function of the step.

A schedule is a small immutable object, called with the step and returning the value, so that
resuming at step n needs no history. Steps may be epochs or batches, whatever the caller counts;
values are at least 0. An array of steps gives an array of values, and
``ax.plot(*schedule.curve(100))`` draws one. Schedules are written in lower case because they are
used like functions. They compare, hash and pickle by their arguments, and a ``repr`` builds its
schedule again. An argument of the wrong kind raises TypeError, one out of range ValueError, when
the schedule is made; a step that is negative, NaN or past 2**53 does so when it is called.
"""

from typing import TYPE_CHECKING

from fastreg.schedule.families import *

if not TYPE_CHECKING:  # type checkers cannot add lists up; they read the imports above
    from fastreg.schedule import families

    __all__ = []
    __all__ += families.__all__
