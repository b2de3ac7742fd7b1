# Norms of rows: layer, RMS, group and instance norm. A task is a chunk of rows, cut by the shape
# alone; what chunks add to the parameters' gradients is added up in order.
#
# From _threads: asked_threads; _memory: streams; _arrays: as_input, as_output, dtype_row,
# shape_of, share_memory; _matrix: CHUNK, doubles, row_of; _norm: refuse_changed.

cdef enum:
    ROWS_AT_LEAST = 8  # rows of a chunk, if there are eight chunks: its sums are two long rows


cdef struct RowJob:
    fr_rows shape
    Py_ssize_t chunk_rows, chunks, row_bytes, channels
    fr_row_forward forward
    fr_row_backward backward
    const char *x
    const char *dy
    char *target
    double *statistics
    double *sums  # one row per chunk: dgamma, dbeta
    const void *gamma
    const void *beta
    double epsilon
    int asked
    bint centred, stream


cdef RowJob row_job(cnp.ndarray x, Py_ssize_t rows, Py_ssize_t groups,
                    Py_ssize_t channels) noexcept:
    """A job over an array of this many rows, ``groups`` to a sample."""
    cdef RowJob job
    cdef const fr_kernels *kernels = table.kernels[dtype_row(x)]
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x) // max(1, rows)
    job.shape.rows, job.shape.first, job.shape.groups = rows, 0, groups
    job.shape.channels, job.shape.run = channels, size // channels
    job.channels = groups * channels
    # What a chunk sums, two doubles per channel, takes no more memory than its rows.
    job.chunk_rows = max(16 // cnp.PyArray_ITEMSIZE(x), CHUNK // max(1, size),
                         min(<Py_ssize_t>ROWS_AT_LEAST, rows // 8))
    job.chunks = (rows + job.chunk_rows - 1) // job.chunk_rows
    job.row_bytes = size * cnp.PyArray_ITEMSIZE(x)
    job.forward = kernels.layer_forward if job.shape.run == 1 else kernels.group_forward
    job.backward = kernels.layer_backward if job.shape.run == 1 else kernels.group_backward
    job.x, job.asked = <const char *>cnp.PyArray_DATA(x), asked_threads()
    return job


cdef inline fr_rows row_chunk(const RowJob *job, Py_ssize_t k) noexcept nogil:
    cdef fr_rows part = job.shape
    part.first = k * job.chunk_rows
    part.rows = min(job.chunk_rows, job.shape.rows - part.first)
    return part


cdef void row_forward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const RowJob *j = <const RowJob *>job
    cdef fr_rows part = row_chunk(j, k)
    cdef Py_ssize_t offset = part.first * j.row_bytes
    j.forward(j.target + offset, j.statistics + 2 * part.first, j.x + offset, part, j.gamma,
              j.beta, j.epsilon, j.centred, j.stream)


cdef void row_backward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const RowJob *j = <const RowJob *>job
    cdef fr_rows part = row_chunk(j, k)
    cdef Py_ssize_t offset = part.first * j.row_bytes
    cdef double *sums = j.sums + 2 * k * j.channels
    j.backward(j.target + offset, sums, sums + j.channels, j.dy + offset, j.x + offset, part,
               j.statistics + 2 * part.first, j.gamma, j.centred, j.stream)


def row_input(str where, str name, object x):
    """A C-contiguous view or copy of a layer's input."""
    return as_input(where, name, x)


def row_normalize(str where, cnp.ndarray x not None, object out, bint in_place, Py_ssize_t rows,
                  Py_ssize_t groups, Py_ssize_t channels, cnp.ndarray gamma not None,
                  cnp.ndarray beta not None, double epsilon, bint centred):
    """``(x - mean) * inv_std * gamma + beta`` of every row, and the rows' (mean, inv_std)."""
    cdef cnp.ndarray target = as_output(where, out, x)
    cdef cnp.ndarray statistics = doubles(rows, 2)
    cdef RowJob job = row_job(x, rows, groups, channels)
    if not in_place and share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with X in training, backward needs X")
    job.target, job.stream = <char *>cnp.PyArray_DATA(target), streams(target, x)
    job.statistics = row_of(statistics, 0)
    job.gamma, job.beta = cnp.PyArray_DATA(gamma), cnp.PyArray_DATA(beta)
    job.epsilon, job.centred = epsilon, centred
    if cnp.PyArray_SIZE(x):
        with nogil:
            fr_run_tasks(row_forward_task, &job, job.chunks, 2 * rows * job.row_bytes,
                         job.asked, False)
    return target, statistics


def row_backward(str where, object dy, object out, cnp.ndarray x not None, Py_ssize_t rows,
                 Py_ssize_t groups, Py_ssize_t channels, cnp.ndarray statistics not None,
                 cnp.ndarray gamma not None, bint centred):
    """The gradients (dx, dgamma, dbeta) of ``row_normalize``."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(x), x.dtype)
    cdef cnp.ndarray target = as_output(where, out, grad)
    cdef RowJob job = row_job(x, rows, groups, channels)
    cdef cnp.ndarray sums
    refuse_changed(where, rows == cnp.PyArray_DIM(statistics, 0)
                   and groups * channels == cnp.PyArray_SIZE(gamma))
    if share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with the X of the last forward call; "
            "leave it out or pass dY"
        )
    if not cnp.PyArray_SIZE(x):
        return target, *np.zeros((2, job.channels))
    sums = doubles(job.chunks, 2 * job.channels)
    job.dy, job.target = <const char *>cnp.PyArray_DATA(grad), <char *>cnp.PyArray_DATA(target)
    job.stream, job.centred = streams(target, grad), centred
    job.statistics, job.sums = row_of(statistics, 0), row_of(sums, 0)
    job.gamma = cnp.PyArray_DATA(gamma)
    with nogil:
        fr_run_tasks(row_backward_task, &job, job.chunks, 3 * rows * job.row_bytes,
                     job.asked, False)
        fr_add_rows(job.sums, job.chunks, 2 * job.channels)
    return target, sums[0, :job.channels], sums[0, job.channels:]
