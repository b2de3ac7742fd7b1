# Channels of batch norm near the ends of the range: their values are gathered into rows, for which
# extreme_tmpl.h has kernels, or computed here in float64. This is rare, and need not be fast.
#
# From _arrays: dtype_row; _matrix: MatrixJob, row_of; _rownorm: row_backward, row_normalize.

cdef list extreme_channels(cnp.ndarray x, cnp.ndarray statistics,
                     const double *gradients=NULL):
    """The channels whose sums may have left the range of x's dtype; None if there is none.

    ``gradients`` are two rows, dgamma and dbeta, where there are any."""
    cdef double *mean = row_of(statistics, 0)
    cdef double *inv_std = row_of(statistics, 2)
    cdef int is_float = dtype_row(x) == FR_FLOAT32
    cdef Py_ssize_t c, cols = cnp.PyArray_DIM(statistics, 1)
    cdef list odd
    cdef int plain = True
    for c in range(cols):  # as a rule all are: without branches
        plain &= fr_is_plain(mean[c], inv_std[c], is_float)
    if gradients != NULL:
        for c in range(cols):
            plain &= fr_plain_sums(gradients[c], gradients[cols + c], is_float)
    if plain:
        return None
    odd = []
    for c in range(cols):
        if not fr_is_plain(mean[c], inv_std[c], is_float) or (
                gradients != NULL and not fr_plain_sums(
                    gradients[c], gradients[cols + c], is_float)):
            odd.append(c)
    return odd


cdef tuple odd_rows(cnp.ndarray x, bint channels_last, list odd):
    """The values of some channels, one row each, and their shape before."""
    picked = np.moveaxis(x, -1 if channels_last else 1, 0)[odd]
    return np.ascontiguousarray(picked.reshape(len(odd), -1)), picked.shape


cdef object mend_statistics(cnp.ndarray x, bint channels_last, cnp.ndarray statistics, list odd,
                     double epsilon):
    rows, _ = odd_rows(x, channels_last, odd)
    cut = (len(odd), len(odd), 1)
    ones, zeros = np.ones(len(odd), x.dtype), np.zeros(len(odd), x.dtype)
    _, found = row_normalize("", rows, None, True, cut, ones, zeros, epsilon, True)
    with np.errstate(all="ignore"):
        half = 0.5 * rows.astype(np.float64) - 0.5 * found[:, :1]
        power = np.frexp(np.abs(half).max(axis=1))[1]
        square = np.square(np.ldexp(half, -power[:, None])).mean(axis=1)
        statistics[1, odd] = np.ldexp(np.ldexp(square, power + 1), power + 1)
    statistics[0, odd], statistics[2, odd] = found.T


cdef object extreme_normalize(cnp.ndarray x, bint channels_last, cnp.ndarray statistics,
                       cnp.ndarray gamma, cnp.ndarray beta, list odd):
    """The outputs of some channels, channels first."""
    rows, shape = odd_rows(x, channels_last, odd)
    mean, inv_std = statistics[0, odd][:, None], statistics[2, odd][:, None]
    with np.errstate(all="ignore"):
        unit = (0.5 * rows.astype(np.float64) - 0.5 * mean) * inv_std * 2.0
        y = unit * gamma.ravel()[odd][:, None] + beta.ravel()[odd][:, None]
        return y.astype(x.dtype).reshape(shape)


cdef object extreme_gradients(cnp.ndarray x, cnp.ndarray dy, bint channels_last, bint by_batch,
                       cnp.ndarray statistics, cnp.ndarray gradients, cnp.ndarray gamma,
                       list odd):
    """dx of some channels, channels first; their dgamma and dbeta go into ``gradients``."""
    rows, shape = odd_rows(x, channels_last, odd)
    grads, _ = odd_rows(dy, channels_last, odd)
    found = np.ascontiguousarray(statistics[::2, odd].T)
    one = gamma.ravel()[odd].astype(x.dtype)
    slopes = np.empty((2, len(odd)))
    with np.errstate(all="ignore"):
        dx = row_backward(
            "", grads, None, rows, (len(odd), len(odd), 1), found, one, True, list(slopes))
        if not by_batch:
            factor = gamma.ravel()[odd] * found[:, 1]
            dx = (grads.astype(np.float64) * factor[:, None]).astype(x.dtype)
    gradients[0, odd], gradients[1, odd] = slopes
    return dx.reshape(shape)


cdef void put_channels(cnp.ndarray target, const MatrixJob *job, list odd,
                       cnp.ndarray mended) noexcept:
    """Write the outputs of some channels, channels first, over those of a kernel."""
    cdef Py_ssize_t k, row, bytes_of_run = job.run * job.itemsize
    cdef char *to = <char *>cnp.PyArray_DATA(target)
    cdef const char *source = <const char *>cnp.PyArray_DATA(mended)
    for k in range(len(odd)):
        for row in range(job.rows):
            memcpy(to + (row * job.cols + <Py_ssize_t>odd[k]) * bytes_of_run, source, bytes_of_run)
            source += bytes_of_run
