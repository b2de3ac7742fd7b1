# Norms of rows: layer, RMS, group and instance norm. A task is a chunk of rows, cut by the shape
# alone; the parts of the parameters' gradients that chunks compute are added up in order.
#
# From _threads: asked_threads; _memory: streams; _arrays: as_input, dtype_row, shape_of; _matrix:
# CHUNK, doubles, row_of; _norm: backward_output, check_slopes, forward_output, refuse_changed,
# write_slopes.

cdef enum:
    ROWS_AT_LEAST = 8  # rows of a chunk, if there are eight chunks: its sums are two long rows


cdef struct RowJob:
    fr_rows all
    Py_ssize_t chunk_rows, chunks, row_bytes, channels
    fr_row_forward forward
    fr_row_backward backward
    const char *x
    const char *dy
    char *target
    double *statistics
    double *sums  # one row per chunk: dgamma, dbeta
    int asked


cdef RowJob row_job(cnp.ndarray x, tuple cut, cnp.ndarray gamma, bint centred) except *:
    """A job over an array. ``cut``: its rows, the rows of a sample, the channels of a row."""
    cdef RowJob job
    cdef const fr_kernels *kernels = table.kernels[dtype_row(x)]
    cdef Py_ssize_t size
    job.all.rows, job.all.groups, job.all.channels = cut
    size = cnp.PyArray_SIZE(x) // max(1, job.all.rows)
    job.all.first, job.all.run = 0, size // job.all.channels
    job.all.gamma, job.all.centred = cnp.PyArray_DATA(gamma), centred
    job.channels = job.all.groups * job.all.channels
    # What a chunk sums, two doubles per channel, takes no more memory than its rows.
    job.chunk_rows = max(16 // cnp.PyArray_ITEMSIZE(x), CHUNK // max(1, size),
                         min(<Py_ssize_t>ROWS_AT_LEAST, job.all.rows // 8))
    job.chunks = (job.all.rows + job.chunk_rows - 1) // job.chunk_rows
    job.row_bytes = size * cnp.PyArray_ITEMSIZE(x)
    job.forward = kernels.layer_forward if job.all.run == 1 else kernels.group_forward
    job.backward = kernels.layer_backward if job.all.run == 1 else kernels.group_backward
    job.x, job.asked = <const char *>cnp.PyArray_DATA(x), asked_threads()
    return job


cdef inline fr_rows row_chunk(const RowJob *job, Py_ssize_t k) noexcept nogil:
    cdef fr_rows part = job.all
    part.first = k * job.chunk_rows
    part.rows = min(job.chunk_rows, job.all.rows - part.first)
    return part


cdef void row_forward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const RowJob *j = <const RowJob *>job
    cdef fr_rows part = row_chunk(j, k)
    cdef Py_ssize_t offset = part.first * j.row_bytes
    j.forward(j.target + offset, j.statistics + 2 * part.first, j.x + offset, &part)


cdef void row_backward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const RowJob *j = <const RowJob *>job
    cdef fr_rows part = row_chunk(j, k)
    cdef Py_ssize_t offset = part.first * j.row_bytes
    cdef double *sums = j.sums + 2 * k * j.channels
    j.backward(j.target + offset, sums, sums + j.channels, j.dy + offset, j.x + offset,
               j.statistics + 2 * part.first, &part)


def row_input(str where, str name, object x):
    """A C-contiguous view or copy of a layer's input."""
    return as_input(where, name, x)


def row_normalize(str where, cnp.ndarray x not None, object out, bint in_place, tuple cut,
                  cnp.ndarray gamma not None, cnp.ndarray beta not None, double epsilon,
                  bint centred):
    """``(x - mean) * inv_std * gamma + beta`` of every row, and the rows' (mean, inv_std)."""
    cdef cnp.ndarray target = forward_output(where, out, x, in_place)
    cdef RowJob job = row_job(x, cut, gamma, centred)
    cdef cnp.ndarray statistics = doubles(job.all.rows, 2)
    job.target, job.all.stream = <char *>cnp.PyArray_DATA(target), streams(target, x)
    job.statistics = row_of(statistics, 0)
    job.all.beta, job.all.epsilon = cnp.PyArray_DATA(beta), epsilon
    if cnp.PyArray_SIZE(x):
        with nogil:
            fr_run_tasks(row_forward_task, &job, job.chunks, 2 * job.all.rows * job.row_bytes,
                         job.asked, False)
    return target, statistics


def row_backward(str where, object dy, object out, cnp.ndarray x not None, tuple cut,
                 cnp.ndarray statistics not None, cnp.ndarray gamma not None, bint centred,
                 list slopes not None):
    """dx of ``row_normalize``; dgamma and dbeta are written to ``slopes``, arrays made for them,
    one of them or none."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(x), x.dtype)
    cdef cnp.ndarray target = backward_output(where, out, grad, x)
    cdef RowJob job = row_job(x, cut, gamma, centred)
    cdef cnp.ndarray sums
    refuse_changed(where, job.all.rows == cnp.PyArray_DIM(statistics, 0)
                   and job.channels == cnp.PyArray_SIZE(gamma))
    check_slopes(where, slopes, job.channels)
    sums = doubles(max(1, job.chunks), 2 * job.channels)
    if not cnp.PyArray_SIZE(x):
        sums.fill(0)
        write_slopes(slopes, row_of(sums, 0), row_of(sums, 0))
        return target
    job.dy, job.target = <const char *>cnp.PyArray_DATA(grad), <char *>cnp.PyArray_DATA(target)
    job.statistics, job.sums = row_of(statistics, 0), row_of(sums, 0)
    job.all.stream = streams(target, grad)
    with nogil:
        fr_run_tasks(row_backward_task, &job, job.chunks, 3 * job.all.rows * job.row_bytes,
                     job.asked, False)
        fr_add_rows(job.sums, job.chunks, 2 * job.channels)
    write_slopes(slopes, job.sums, job.sums + job.channels)
    return target
