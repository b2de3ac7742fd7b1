# Batch norm in panels of rows and columns, cut by the shape of the matrix alone, so that results
# depend on neither threads nor level.

cdef enum:
    CHUNK = 65536  # elements of a chunk of rows

cdef struct BatchPasses:
    fr_moments moments
    fr_normalize normalize
    fr_norm_sums sums
    fr_norm_backward backward
    fr_column_squares column_squares
    fr_scale_columns scale_columns


cdef struct BatchJob:
    # A matrix in tasks, row chunks times column panels, and what a pass over it reads and writes.
    # Its entries are runs of one element in (N, C), of L in (N, C, L). x, dy and target are
    # matrices; the sums have a row a chunk; the others an entry a column.
    Py_ssize_t rows, cols, run, chunk_rows, chunks, panel_cols, panels, itemsize
    const fr_kernels *kernels
    BatchPasses passes
    const char *x
    const char *origin
    const char *dy
    char *target
    double *sum_1
    double *sum_2
    fr_channels channels
    const double *mean_dy
    const double *slope
    int asked
    bint stream


cdef struct BatchTask:
    fr_panel panel
    Py_ssize_t first, col, sums  # offset of the first element, first column, place of its sums


cdef BatchJob batch_job(cnp.ndarray x, bint channels_last=False) noexcept:
    """A job over an array with channels in the last axis or the second, cut by shape alone."""
    cdef BatchJob job
    cdef const fr_kernels *kernels = table.kernels[dtype_row(x)]
    cdef int last = cnp.PyArray_NDIM(x) - 1, axis
    job.cols, job.rows, job.run = cnp.PyArray_DIM(x, last if channels_last else 1), 1, 1
    for axis in range(last + 1):
        if axis == 0 or (channels_last and axis < last):
            job.rows *= cnp.PyArray_DIM(x, axis)
        elif axis > 1 and not channels_last:
            job.run *= cnp.PyArray_DIM(x, axis)
    job.kernels = kernels
    if job.run == 1:
        job.passes.moments, job.passes.normalize = kernels.moments, kernels.normalize
        job.passes.sums, job.passes.backward = kernels.norm_sums, kernels.norm_backward
        job.chunk_rows = max(1, CHUNK // max(1, job.cols) // FR_PANEL_ROWS) * FR_PANEL_ROWS
        job.panel_cols = FR_PANEL_COLS
    else:
        job.passes.moments, job.passes.normalize = kernels.run_moments, kernels.run_normalize
        job.passes.sums, job.passes.backward = kernels.run_sums, kernels.run_backward
        job.chunk_rows = max(1, CHUNK // max(1, job.cols * job.run))
        job.panel_cols = max(1, min(job.cols, CHUNK // max(1, job.run)))
    job.chunks = (job.rows + job.chunk_rows - 1) // job.chunk_rows
    job.panels = (job.cols + job.panel_cols - 1) // job.panel_cols
    job.itemsize, job.asked = cnp.PyArray_ITEMSIZE(x), asked_threads()
    job.x = job.origin = <const char *>cnp.PyArray_DATA(x)
    return job


cdef inline BatchTask batch_task(const BatchJob *job, Py_ssize_t k) noexcept nogil:
    cdef BatchTask t
    cdef Py_ssize_t chunk = k // job.panels, row = chunk * job.chunk_rows
    t.col = k % job.panels * job.panel_cols
    t.first = (row * job.cols + t.col) * job.run * job.itemsize
    t.sums = chunk * job.cols + t.col
    t.panel.rows = min(job.chunk_rows, job.rows - row)
    t.panel.cols = min(job.panel_cols, job.cols - t.col)
    t.panel.stride, t.panel.run = job.cols * job.run, job.run
    return t


cdef inline fr_channels channels_from(const fr_channels *whole, Py_ssize_t col) noexcept nogil:
    cdef fr_channels part
    part.mean, part.inv_std = whole.mean + col, whole.inv_std + col
    part.gamma, part.beta = whole.gamma + col, whole.beta + col
    return part


cdef void moments_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const BatchJob *j = <const BatchJob *>job
    cdef BatchTask t = batch_task(j, k)
    j.passes.moments(j.sum_1 + t.sums, j.sum_2 + t.sums, j.x + t.first, t.panel,
                      j.origin + t.col * j.itemsize)


cdef void normalize_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const BatchJob *j = <const BatchJob *>job
    cdef BatchTask t = batch_task(j, k)
    j.passes.normalize(j.target + t.first, j.x + t.first, t.panel,
                        channels_from(&j.channels, t.col), j.stream)


cdef void norm_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const BatchJob *j = <const BatchJob *>job
    cdef BatchTask t = batch_task(j, k)
    j.passes.sums(j.sum_1 + t.sums, j.sum_2 + t.sums, j.dy + t.first, j.x + t.first, t.panel,
                   j.channels.mean + t.col)


cdef void norm_backward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const BatchJob *j = <const BatchJob *>job
    cdef BatchTask t = batch_task(j, k)
    j.passes.backward(j.target + t.first, j.dy + t.first, j.x + t.first, t.panel,
                       channels_from(&j.channels, t.col), j.mean_dy + t.col, j.slope + t.col,
                       j.stream)


cdef void run_batch(fr_task task, const BatchJob *job, int arrays,
                    bint backwards=False) noexcept nogil:
    """One pass that reads and writes this many arrays of the matrix's size."""
    fr_run_tasks(task, job, job.chunks * job.panels,
                 arrays * job.rows * job.cols * job.run * job.itemsize, job.asked, backwards)


cdef inline double *row_of(cnp.ndarray table, Py_ssize_t k) noexcept nogil:
    """Row k of a float64 matrix this file made."""
    return <double *>cnp.PyArray_DATA(table) + k * cnp.PyArray_DIM(table, 1)


cdef cnp.ndarray doubles(Py_ssize_t rows, Py_ssize_t cols):
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = rows, cols
    return pooled(2, shape, cnp.NPY_FLOAT64)


def batch_input(str where, str name, object x, Py_ssize_t n_features, bint channels_last):
    """A C-contiguous view or copy of a layer's input, n_features long in its channel axis."""
    cdef cnp.ndarray array = as_input(where, name, x)
    cdef int ndim = cnp.PyArray_NDIM(array)
    if ndim < 2 or cnp.PyArray_DIM(array, ndim - 1 if channels_last else 1) != n_features:
        more = f"(..., {n_features})" if channels_last else f"(N, {n_features}, ...)"
        raise ValueError(
            f"{where}: {name} must have shape (N, {n_features}) or {more}, got {np.shape(x)}")
    return array


def channels(str where, str name, object values, tuple shape, cnp.ndarray like=None):
    """A layer's numbers, one a channel, as a contiguous row of float64 or of another's dtype."""
    cdef cnp.ndarray array = float_array(where, name, values)
    cdef Py_ssize_t size = 1, length
    for length in shape:
        size *= length
    if cnp.PyArray_SIZE(array) != size:
        raise ValueError(f"{where}: {name} must have shape {shape}, got {np.shape(array)}")
    if is_dense(array) and dtype_row(array) == (
            FR_FLOAT64 if like is None else dtype_row(like)):
        return array
    return np.ascontiguousarray(array, dtype=np.float64 if like is None else like.dtype)


def blend(cnp.ndarray before not None, cnp.ndarray now not None, double keep):
    """``keep * before + (1 - keep) * now`` as a new row."""
    cdef Py_ssize_t cols = cnp.PyArray_SIZE(now)
    cdef cnp.ndarray result = doubles(1, cols)
    fr_blend(row_of(result, 0), <double *>cnp.PyArray_DATA(before),
             <double *>cnp.PyArray_DATA(now), keep, cols)
    return result


def batch_statistics(cnp.ndarray x not None, double epsilon, bint channels_last=False):
    """Rows of float64: mean, biased variance and 1 / sqrt(variance + epsilon) of every channel."""
    cdef BatchJob job = batch_job(x, channels_last)
    cdef cnp.ndarray origin = x
    cdef cnp.ndarray moments = doubles(2 * job.chunks, job.cols)
    cdef cnp.ndarray statistics = doubles(3, job.cols)
    job.sum_1, job.sum_2 = row_of(moments, 0), row_of(moments, job.chunks)
    if job.run > 1:  # the first element of each channel, side by side
        origin = x[0].reshape(job.cols, job.run)[:, 0].copy()
        job.origin = <const char *>cnp.PyArray_DATA(origin)
    with nogil:
        run_batch(moments_task, &job, 1)
        job.kernels.statistics(row_of(statistics, 0), job.sum_1, job.sum_2, job.origin, epsilon,
                               job.rows * job.run, job.chunk_rows * job.run, job.cols)
    odd = extreme_channels(x, statistics)
    if odd is not None:
        mend_statistics(x, channels_last, statistics, odd, epsilon)
    return statistics


def batch_normalize(str where, cnp.ndarray x not None, object out, bint in_place,
                    cnp.ndarray statistics not None, cnp.ndarray gamma not None,
                    cnp.ndarray beta not None, bint channels_last):
    """``(x - mean) * inv_std * gamma + beta``, written to ``out`` or a new array."""
    cdef cnp.ndarray target = as_output(where, out, x)
    cdef BatchJob job = batch_job(x, channels_last)
    if not in_place and share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with X in training, backward needs X")
    job.target, job.stream = <char *>cnp.PyArray_DATA(target), streams(target, x)
    job.channels.mean, job.channels.inv_std = row_of(statistics, 0), row_of(statistics, 2)
    job.channels.gamma = <double *>cnp.PyArray_DATA(gamma)
    job.channels.beta = <double *>cnp.PyArray_DATA(beta)
    odd = extreme_channels(x, statistics)
    if odd is not None:
        mended = extreme_normalize(x, channels_last, statistics, gamma, beta, odd)
    with nogil:
        run_batch(normalize_task, &job, 2, True)
    if odd is not None:
        np.moveaxis(target, -1 if channels_last else 1, 0)[odd] = mended
    return target


cdef int refuse_changed(str where, bint fits) except -1:
    """Refuse an X or a Y that has got another shape since the forward call."""
    if not fits:
        raise ValueError(f"{where}: X and Y of the last forward call must keep their shape; call "
                         "forward again")
    return 0


def batch_backward(str where, object dy, object out, cnp.ndarray x not None, bint by_batch,
                   cnp.ndarray statistics not None, cnp.ndarray gamma not None,
                   bint channels_last):
    """The gradients (dx, dgamma, dbeta) of ``batch_normalize``; through the statistics too if
    they were the batch's own."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(x), x.dtype)
    cdef cnp.ndarray target = as_output(where, out, grad)
    cdef BatchJob job = batch_job(x, channels_last)
    cdef cnp.ndarray sums = doubles(2 * job.chunks, job.cols)
    cdef cnp.ndarray gradients = doubles(4, job.cols)
    cdef cnp.ndarray zeros = np.zeros(0 if by_batch else job.cols)
    cdef const double *zero = <const double *>cnp.PyArray_DATA(zeros)
    refuse_changed(where, job.cols == cnp.PyArray_DIM(statistics, 1) == cnp.PyArray_SIZE(gamma))
    if share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with the X of the last forward call; "
            "leave it out or pass dY"
        )
    job.dy, job.target = <const char *>cnp.PyArray_DATA(grad), <char *>cnp.PyArray_DATA(target)
    job.stream = streams(target, grad)
    job.sum_1, job.sum_2 = row_of(sums, 0), row_of(sums, job.chunks)
    job.channels.mean, job.channels.inv_std = row_of(statistics, 0), row_of(statistics, 2)
    job.channels.gamma = job.channels.beta = <double *>cnp.PyArray_DATA(gamma)
    job.mean_dy, job.slope = row_of(gradients, 2), row_of(gradients, 3)
    if not cnp.PyArray_SIZE(x):
        return target, *np.zeros((2, 1, job.cols))
    with nogil:
        run_batch(norm_sums_task, &job, 2)
        fr_gradients(row_of(gradients, 0), job.sum_1, job.sum_2, job.channels.inv_std,
                     1.0 / (job.rows * job.run) if by_batch else 0.0, job.chunks, job.cols)
    odd = extreme_channels(x, statistics, gradients)
    if odd is not None:
        mended = extreme_gradients(x, grad, channels_last, by_batch, statistics, gradients, gamma,
                                   odd)
    with nogil:
        if by_batch:
            run_batch(norm_backward_task, &job, 3, True)
        else:  # a factor alone: X, which need not be finite, has no part in it
            job.x, job.channels.mean, job.channels.beta = job.dy, zero, zero
            run_batch(normalize_task, &job, 2, True)
    if odd is not None:
        np.moveaxis(target, -1 if channels_last else 1, 0)[odd] = mended
    return target, gradients[0:1], gradients[1:2]
