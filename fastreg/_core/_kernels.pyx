"""The seam between Python and C: every array check, every block list, the only ``nogil``.

One extension, one topic per file: ``_threads.pxi`` decides how many threads run, ``_memory.pxi``
where results live, ``_arrays.pxi`` what an array must look like, ``_matrix.pxi`` how a matrix is
cut into tasks. An optimizer's tensors are in ``_gradient.pxi``, ``_slots.pxi``, ``_tensor.pxi``,
``_binding.pxi`` and ``_scalars.pxi``, what it holds in ``_hypers.pxi`` and ``_state.pxi``, its steps in
``_update.pxi`` and ``_layerwise.pxi``, and those over another library's tensors, which
``_exchange.pxi`` reads, in ``_tensor_parts.pxi`` and ``_tensor_steps.pxi``. ``_dropout.pxi``,
``_norm.pxi`` and ``_rownorm.pxi`` run layers (``_extremes.pxi`` where values are near the ends of
the range), ``_product.pxi`` multiplies matrices, ``_gate.pxi`` does what surrounds a product and
``_dense.pxi`` checks a layer's, ``_activation.pxi`` functions of one element, ``_loss.pxi`` losses,
``_rows.pxi`` gathers batches, ``_chain.pxi`` runs layers as one, whose attributes ``_places.pxi``
reads and changes; ``_penalty.pxi`` sums over weights. Each says at its head what it takes from the
others. This file picks the table of kernels that all of them call.

Arrays are checked through NumPy's C API and passed on as pointers. Typed memoryviews would fit
only vectors of one known type, and the first of them brings 110 KB of support code: a seventh of
this module's own, and as much more time to compile it.
"""

cimport cython
cimport numpy as cnp
from cpython.mem cimport (
    PyMem_Calloc,
    PyMem_Free,
    PyMem_Malloc,
    PyMem_RawFree,
    PyMem_RawMalloc,
    PyMem_Realloc,
)
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.contextvars cimport PyContextVar_Get
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.math cimport HUGE_VAL, sqrt
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset, strlen

import contextvars
import os

import numpy as np

from fastreg._core import seeds
from fastreg._core.checks import cure, shown

cnp.import_array()

cdef const fr_table *table = NULL


def levels():
    """The instruction-set levels that this build has and this CPU runs, lowest first."""
    return tuple(
        fr_tables[i].name.decode() for i in range(fr_table_count) if fr_cpu_runs(i)
    )


def level():
    """The level in use."""
    return table.name.decode()


def fuses():
    """Whether the level in use has an instruction for a product's multiply-adds."""
    return bool(fr_level_fuses(<int>(table - &fr_tables[0])))


def set_level(str name):
    """Use this level from now on; the one before is returned. For tests and benchmarks."""
    global table
    cdef int i
    before = level() if table != NULL else None
    for i in range(fr_table_count):
        if fr_tables[i].name.decode() == name and fr_cpu_runs(i):
            table = &fr_tables[i]
            return before
    raise ValueError(
        f"FASTREG_ISA must be one of {', '.join(levels())} on this CPU, got {name!r}; "
        "leave it unset to take the best"
    )


def rules():
    """The optimizer rules by name, each with its number of state slots."""
    return {fr_rules[i].name.decode(): fr_rules[i].slots for i in range(FR_RULE_COUNT)}


include "_lock.pxi"
include "_threads.pxi"
include "_memory.pxi"
include "_arrays.pxi"
include "_matrix.pxi"
include "_halves.pxi"
include "_gradient.pxi"
include "_slots.pxi"
include "_tensor.pxi"
include "_layerwise.pxi"
include "_binding.pxi"
include "_scalars.pxi"
include "_hypers.pxi"
include "_state.pxi"
include "_update.pxi"
include "_exchange.pxi"
include "_tensor_parts.pxi"
include "_tensor_steps.pxi"
include "_dropout.pxi"
include "_norm.pxi"
include "_extremes.pxi"
include "_gate.pxi"
include "_dense.pxi"
include "_places.pxi"
include "_chain.pxi"
include "_activation.pxi"
include "_loss.pxi"
include "_rows.pxi"
include "_penalty.pxi"
include "_rownorm.pxi"
include "_product.pxi"

set_level(os.environ.get("FASTREG_ISA") or levels()[-1])
