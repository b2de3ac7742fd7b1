# Dropout in blocks of elements; the bits of a block depend on its first element alone.


def philox(counter, uint64_t key):
    """Four counter words through Philox4x32-10 at the level in use."""
    cdef uint32_t block[4]
    cdef uint32_t words[4]
    words[0], words[1], words[2], words[3] = counter
    table.philox(block, words, key)
    return block[0], block[1], block[2], block[3]


cdef struct DropoutJob:
    char *y
    const char *x
    Py_ssize_t n, itemsize
    uint64_t first
    fr_mask mask
    fr_dropout kernel
    bint stream


cdef void dropout_block(const void *job, Py_ssize_t block) noexcept nogil:
    cdef const DropoutJob *d = <const DropoutJob *>job
    cdef Py_ssize_t start = block * BLOCK, offset = start * d.itemsize
    d.kernel(d.y + offset, d.x + offset, min(<Py_ssize_t>BLOCK, d.n - start), d.first + start,
             &d.mask, d.stream)


def dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
            uint64_t threshold, double scale, object shape=None, uint64_t first=0):
    """``x * mask`` for the mask of (key, call) from element ``first``, a multiple of 64."""
    cdef cnp.ndarray source = as_input(where, name, x, shape)
    cdef cnp.ndarray target = as_output(where, out, source)
    cdef DropoutJob job
    job.y, job.x = <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(source)
    job.n, job.itemsize = cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source)
    job.first, job.mask = first, fr_mask(key, call, threshold, scale)
    job.kernel = table.kernels[dtype_row(source)].dropout
    job.stream = streams(target, source)
    with nogil:
        run_tasks(dropout_block, &job, (job.n + BLOCK - 1) // BLOCK, team(2 * job.n * job.itemsize))
    return target


def copy_through(str where, str name, object x, object out, object shape=None):
    """The input itself, or its copy in ``out``: a layer that does nothing in inference."""
    source = as_input(where, name, x, shape)
    if out is None:
        return x
    target = as_output(where, out, source)
    np.copyto(target, source)
    return target
