# Batch norm: sums down the columns of a matrix, merged over its chunks of rows, and passes over it.
#
# From _memory: streams; _arrays: as_input, as_output, dtype_row, float_array, is_dense, shape_of,
# share_memory; _matrix: channels_from, doubles, matrix_job, matrix_task, MatrixJob, MatrixTask,
# row_of, run_matrix, Sums, sums_of; _extremes: extreme_channels, extreme_gradients,
# extreme_normalize, mend_statistics, put_channels.

cdef void moments_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    cdef fr_moments kernel = j.kernels.moments if j.run == 1 else j.kernels.run_moments
    kernel(j.sum_1 + t.sums, j.sum_2 + t.sums, j.x + t.first, t.panel,
           j.origin + t.col * j.itemsize)


cdef void normalize_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    cdef fr_normalize kernel = j.kernels.normalize if j.run == 1 else j.kernels.run_normalize
    kernel(j.target + t.first, j.x + t.first, t.panel, channels_from(&j.channels, t.col),
           j.stream)


cdef void norm_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    cdef fr_norm_sums kernel = j.kernels.norm_sums if j.run == 1 else j.kernels.run_sums
    kernel(j.sum_1 + t.sums, j.sum_2 + t.sums, j.dy + t.first, j.x + t.first, t.panel,
           j.channels.mean + t.col)


cdef void norm_backward_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const MatrixJob *j = <const MatrixJob *>job
    cdef MatrixTask t = matrix_task(j, k)
    cdef fr_norm_backward kernel = j.kernels.norm_backward if j.run == 1 else j.kernels.run_backward
    kernel(j.target + t.first, j.dy + t.first, j.x + t.first, t.panel,
           channels_from(&j.channels, t.col), j.mean_dy + t.col, j.slope + t.col, j.stream)


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
    """A layer's numbers, one per channel, as a contiguous row of float64 or of another's dtype."""
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
    return blend_row(before, <const double *>cnp.PyArray_DATA(now), keep)


cdef cnp.ndarray blend_row(cnp.ndarray before, const double *now, double keep):
    cdef Py_ssize_t cols = cnp.PyArray_SIZE(before)
    cdef cnp.ndarray result = doubles(1, cols)
    fr_blend(row_of(result, 0), <const double *>cnp.PyArray_DATA(before), now, keep, cols)
    return result


cpdef cnp.ndarray batch_statistics(cnp.ndarray x, double epsilon, bint channels_last=False):
    """Rows of float64: mean, biased variance and 1 / sqrt(variance + epsilon) of every channel."""
    cdef MatrixJob job = matrix_job(x, channels_last)
    cdef cnp.ndarray origin = x
    cdef Sums moments = sums_of(2 * job.chunks, job.cols)
    cdef cnp.ndarray statistics = doubles(3, job.cols)
    job.sum_1, job.sum_2 = moments.row(0), moments.row(job.chunks)
    if job.run > 1:  # the first element of each channel, side by side
        origin = x[0].reshape(job.cols, job.run)[:, 0].copy()
        job.origin = <const char *>cnp.PyArray_DATA(origin)
    run_matrix(moments_task, &job, 1)
    job.kernels.statistics(row_of(statistics, 0), job.sum_1, job.sum_2, job.origin, epsilon,
                           job.rows * job.run, job.chunk_rows * job.run, job.cols)
    odd = extreme_channels(x, statistics)
    if odd is not None:
        mend_statistics(x, channels_last, statistics, odd, epsilon)
    return statistics


cdef cnp.ndarray statistics_of(const double *mean, const double *var, Py_ssize_t n,
                               double epsilon):
    """What `batch_statistics` returns, of running averages."""
    cdef cnp.ndarray statistics = doubles(3, n)
    cdef Py_ssize_t c
    for c in range(n):
        row_of(statistics, 0)[c], row_of(statistics, 1)[c] = mean[c], var[c]
        row_of(statistics, 2)[c] = 1.0 / sqrt(var[c] + epsilon)
    return statistics


def kept_statistics(cnp.ndarray mean not None, cnp.ndarray var not None, double epsilon):
    """The same of averages in either dtype and any layout."""
    cdef cnp.ndarray means = np.ascontiguousarray(mean, np.float64)
    cdef cnp.ndarray variances = np.ascontiguousarray(var, np.float64)
    return statistics_of(<const double *>cnp.PyArray_DATA(means),
                         <const double *>cnp.PyArray_DATA(variances), cnp.PyArray_SIZE(means),
                         epsilon)


def batch_normalize(str where, cnp.ndarray x not None, object out, bint in_place,
                    cnp.ndarray statistics not None, cnp.ndarray gamma not None,
                    cnp.ndarray beta not None, bint channels_last):
    """``(x - mean) * inv_std * gamma + beta``, written to ``out`` or a new array."""
    cdef cnp.ndarray target = forward_output(where, out, x, in_place)
    cdef MatrixJob job = matrix_job(x, channels_last)
    job.target, job.stream = <char *>cnp.PyArray_DATA(target), streams(target, x)
    job.channels.mean, job.channels.inv_std = row_of(statistics, 0), row_of(statistics, 2)
    job.channels.gamma = <double *>cnp.PyArray_DATA(gamma)
    job.channels.beta = <double *>cnp.PyArray_DATA(beta)
    odd = extreme_channels(x, statistics)
    if odd is not None:
        mended = extreme_normalize(x, channels_last, statistics, gamma, beta, odd)
    run_matrix(normalize_task, &job, 2, True)
    if odd is not None:
        put_channels(target, &job, odd, mended)
    return target


cdef cnp.ndarray forward_output(str where, object out, cnp.ndarray x, bint in_place):
    """The array for Y: ``out``, which may be X only where no backward call needs it."""
    cdef cnp.ndarray target = as_output(where, out, x)
    if not in_place and share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with X in training, backward needs X")
    return target


cdef cnp.ndarray backward_output(str where, object out, cnp.ndarray dy, cnp.ndarray x):
    """The array for dX: ``out``, which may be dY."""
    cdef cnp.ndarray target = as_output(where, out, dy)
    if share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with the X of the last forward call; "
            "leave it out or pass dY"
        )
    return target


cdef int refuse_changed(str where, bint fits) except -1:
    """Refuse an X or a Y that has got another shape since the forward call."""
    if not fits:
        raise ValueError(f"{where}: X and Y of the last forward call must keep their shape; call "
                         "forward again")
    return 0


cdef int check_slopes(str where, list slopes, Py_ssize_t n) except -1:
    """Refuse arrays for gradients of a layer's numbers that do not hold one for each."""
    cdef cnp.ndarray slope
    for slope in slopes:
        refuse_changed(where, cnp.PyArray_SIZE(slope) == n and dtype_row(slope) >= 0
                       and is_dense(slope))
    return 0


cdef void write_slopes(list slopes, const double *first, const double *second) noexcept:
    """Write dgamma and dbeta, as far as there are arrays for them, in their dtypes."""
    cdef cnp.ndarray slope
    cdef const double *values = first
    cdef Py_ssize_t i
    for slope in slopes:
        for i in range(cnp.PyArray_SIZE(slope)):
            if dtype_row(slope) == FR_FLOAT32:
                (<float *>cnp.PyArray_DATA(slope))[i] = <float>values[i]
            else:
                (<double *>cnp.PyArray_DATA(slope))[i] = values[i]
        values = second


def batch_backward(str where, object dy, object out, cnp.ndarray x not None, bint by_batch,
                   cnp.ndarray statistics not None, cnp.ndarray gamma not None,
                   bint channels_last, list slopes not None):
    """dx of ``batch_normalize``; through the statistics too if they were the batch's own.

    dgamma and dbeta are written to ``slopes``, arrays made for them, or none."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(x), x.dtype)
    cdef cnp.ndarray target = backward_output(where, out, grad, x)
    cdef MatrixJob job = matrix_job(x, channels_last)
    cdef Sums sums = sums_of(2 * job.chunks, job.cols)
    cdef cnp.ndarray gradients = doubles(4, job.cols)
    cdef cnp.ndarray zeros = np.zeros(0 if by_batch else job.cols)
    cdef const double *zero = <const double *>cnp.PyArray_DATA(zeros)
    refuse_changed(where, job.cols == cnp.PyArray_DIM(statistics, 1) == cnp.PyArray_SIZE(gamma))
    check_slopes(where, slopes, job.cols)
    job.dy, job.target = <const char *>cnp.PyArray_DATA(grad), <char *>cnp.PyArray_DATA(target)
    job.stream = streams(target, grad)
    job.sum_1, job.sum_2 = sums.row(0), sums.row(job.chunks)
    job.channels.mean, job.channels.inv_std = row_of(statistics, 0), row_of(statistics, 2)
    job.channels.gamma = job.channels.beta = <double *>cnp.PyArray_DATA(gamma)
    job.mean_dy, job.slope = row_of(gradients, 2), row_of(gradients, 3)
    if not cnp.PyArray_SIZE(x):
        gradients.fill(0)
        write_slopes(slopes, row_of(gradients, 0), row_of(gradients, 1))
        return target
    run_matrix(norm_sums_task, &job, 2)
    fr_gradients(row_of(gradients, 0), job.sum_1, job.sum_2, job.channels.inv_std,
                 1.0 / (job.rows * job.run) if by_batch else 0.0, job.chunks, job.cols)
    odd = extreme_channels(x, statistics, row_of(gradients, 0))
    if odd is not None:
        mended = extreme_gradients(x, grad, channels_last, by_batch, statistics, gradients, gamma,
                                   odd)
    if by_batch:
        run_matrix(norm_backward_task, &job, 3, True)
    else:  # a factor alone: X, which need not be finite, has no part in it
        job.x, job.channels.mean, job.channels.beta = job.dy, zero, zero
        run_matrix(normalize_task, &job, 2, True)
    if odd is not None:
        put_channels(target, &job, odd, mended)
    write_slopes(slopes, row_of(gradients, 0), row_of(gradients, 1))
    return target
