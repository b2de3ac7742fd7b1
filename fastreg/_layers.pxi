# Layers: elements for dropout, panels for batch norm. Blocks are cut by shape alone, so results
# depend on neither threads nor level.

cdef enum:
    CHUNK = 65536  # elements of a row chunk of batch norm


cdef void run_dropout(char *y, const char *x, Py_ssize_t n, Py_ssize_t itemsize,
                      const fr_mask *mask, fr_dropout kernel, int threads) noexcept nogil:
    cdef Py_ssize_t block, start
    for block in prange((n + BLOCK - 1) // BLOCK, schedule="static", num_threads=threads):
        start = block * BLOCK
        kernel(y + start * itemsize, x + start * itemsize, min(BLOCK, n - start), start, mask)


def dropout(str where, str name, object x, object out, uint64_t key, uint64_t call,
            uint64_t threshold, double scale):
    """``x * mask`` for the mask of (key, call), written to ``out`` or a new array."""
    cdef cnp.ndarray source = as_input(where, name, x)
    cdef cnp.ndarray target = as_output(where, out, source)
    cdef fr_mask mask = fr_mask(key, call, threshold, scale)
    cdef fr_dropout kernel = table.kernels[dtype_row(source)].dropout
    with nogil:
        run_dropout(
            <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(source),
            cnp.PyArray_SIZE(source), cnp.PyArray_ITEMSIZE(source), &mask, kernel,
            team(2 * cnp.PyArray_NBYTES(source)))
    return target


def copy_through(str where, str name, object x, object out):
    """The input itself, or its copy in ``out``: a layer that does nothing in inference."""
    float_array(where, name, x)
    if out is None:
        return x
    source = as_input(where, name, x)
    target = as_output(where, out, source)
    np.copyto(target, source)
    return target


# --- batch norm ---------------------------------------------------------------------------

cdef struct Grid:
    # A matrix in tasks: row chunks times column panels, panels of one chunk side by side.
    Py_ssize_t rows, cols, chunk_rows, chunks, panels, itemsize
    int row


cdef Grid grid_of(cnp.ndarray x) noexcept:
    cdef Grid g
    g.rows, g.cols = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    g.chunk_rows = max(1, CHUNK // max(1, g.cols) // FR_PANEL_ROWS) * FR_PANEL_ROWS
    g.chunks = (g.rows + g.chunk_rows - 1) // g.chunk_rows
    g.panels = (g.cols + FR_PANEL_COLS - 1) // FR_PANEL_COLS
    g.itemsize = cnp.PyArray_ITEMSIZE(x)
    g.row = dtype_row(x)
    return g


cdef inline fr_panel panel_of(const Grid *g, Py_ssize_t task, Py_ssize_t *first,
                              Py_ssize_t *col) noexcept nogil:
    """The panel of a task; its first element and its first column."""
    cdef Py_ssize_t row = task // g.panels * g.chunk_rows
    cdef fr_panel panel
    col[0] = task % g.panels * FR_PANEL_COLS
    first[0] = (row * g.cols + col[0]) * g.itemsize
    panel.rows = min(g.chunk_rows, g.rows - row)
    panel.cols = min(<Py_ssize_t>FR_PANEL_COLS, g.cols - col[0])
    panel.stride = g.cols
    return panel


cdef inline fr_channels channels_from(fr_channels whole, Py_ssize_t col) noexcept nogil:
    cdef fr_channels part
    part.mean, part.inv_std = whole.mean + col, whole.inv_std + col
    part.gamma, part.beta = whole.gamma + col, whole.beta + col
    return part


cdef void run_moments(const Grid *g, double *mean, double *m2, const char *x,
                      int threads) noexcept nogil:
    cdef Py_ssize_t task, first, col, at
    cdef fr_panel panel
    cdef fr_moments kernel = table.kernels[g.row].moments
    for task in prange(g.chunks * g.panels, schedule="static", num_threads=threads):
        panel = panel_of(g, task, &first, &col)
        at = task // g.panels * g.cols + col
        kernel(mean + at, m2 + at, x + first, panel)


cdef void run_normalize(const Grid *g, char *y, const char *x, fr_channels channels,
                        int threads) noexcept nogil:
    cdef Py_ssize_t task, first, col
    cdef fr_panel panel
    cdef fr_normalize kernel = table.kernels[g.row].normalize
    for task in prange(g.chunks * g.panels, schedule="static", num_threads=threads):
        panel = panel_of(g, task, &first, &col)
        kernel(y + first, x + first, panel, channels_from(channels, col))


cdef void run_norm_sums(const Grid *g, double *dscale, double *dbeta, const char *dy,
                        const char *x, const double *mean, int threads) noexcept nogil:
    cdef Py_ssize_t task, first, col, at
    cdef fr_panel panel
    cdef fr_norm_sums kernel = table.kernels[g.row].norm_sums
    for task in prange(g.chunks * g.panels, schedule="static", num_threads=threads):
        panel = panel_of(g, task, &first, &col)
        at = task // g.panels * g.cols + col
        kernel(dscale + at, dbeta + at, dy + first, x + first, panel, mean + col)


cdef void run_norm_backward(const Grid *g, char *dx, const char *dy, const char *x,
                            fr_channels channels, const double *mean_dy, const double *slope,
                            int threads) noexcept nogil:
    cdef Py_ssize_t task, first, col
    cdef fr_panel panel
    cdef fr_norm_backward kernel = table.kernels[g.row].norm_backward
    for task in prange(g.chunks * g.panels, schedule="static", num_threads=threads):
        panel = panel_of(g, task, &first, &col)
        kernel(dx + first, dy + first, x + first, panel, channels_from(channels, col),
               mean_dy + col, slope + col)


def batch_input(str where, str name, object x, Py_ssize_t n_features):
    """A C-contiguous (N, n_features) view or copy of a layer's input."""
    array = as_input(where, name, x)
    if array.ndim != 2 or array.shape[1] != n_features:
        raise ValueError(f"{where}: {name} must have shape (N, {n_features}), got {np.shape(x)}")
    return array


def batch_moments(cnp.ndarray x not None):
    """Mean and biased variance of every column, in float64."""
    cdef Grid g = grid_of(x)
    cdef double[:, ::1] mean = np.empty((g.chunks, g.cols))
    cdef double[:, ::1] m2 = np.empty((g.chunks, g.cols))
    cdef Py_ssize_t[::1] rows = np.full(g.chunks, g.chunk_rows, dtype=np.intp)
    rows[g.chunks - 1] = g.rows - (g.chunks - 1) * g.chunk_rows
    if g.cols:
        with nogil:
            run_moments(&g, &mean[0, 0], &m2[0, 0], <const char *>cnp.PyArray_DATA(x),
                        team(cnp.PyArray_NBYTES(x)))
            fr_merge_moments(&mean[0, 0], &m2[0, 0], &rows[0], g.chunks, g.cols)
    return np.asarray(mean)[0], np.asarray(m2)[0] / g.rows


def batch_normalize(str where, cnp.ndarray x not None, object out, bint in_place,
                    const double[::1] mean, const double[::1] inv_std,
                    const double[::1] gamma, const double[::1] beta):
    """``(x - mean) * inv_std * gamma + beta``, written to ``out`` or a new array."""
    cdef cnp.ndarray target = as_output(where, out, x)
    if not in_place and share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with X in training, backward needs X")
    cdef Grid g = grid_of(x)
    cdef fr_channels channels
    if cnp.PyArray_SIZE(x):
        channels.mean, channels.inv_std = &mean[0], &inv_std[0]
        channels.gamma, channels.beta = &gamma[0], &beta[0]
        with nogil:
            run_normalize(&g, <char *>cnp.PyArray_DATA(target),
                          <const char *>cnp.PyArray_DATA(x), channels,
                          team(2 * cnp.PyArray_NBYTES(x)))
    return target


def batch_backward(str where, object dy, object out, cnp.ndarray x not None, bint by_batch,
                   const double[::1] mean, const double[::1] inv_std, const double[::1] gamma):
    """The gradients (dx, dgamma, dbeta) of ``batch_normalize``; through the statistics too if
    they were the batch's own."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, x)
    cdef cnp.ndarray target = as_output(where, out, grad)
    cdef Grid g = grid_of(x)
    cdef fr_channels channels
    cdef double[::1] mean_dy, slope
    if share_memory(target, x):
        raise ValueError(
            f"{where}: out must not share memory with the X of the last forward call; "
            "leave it out or pass dY"
        )
    if not cnp.PyArray_SIZE(x):
        return target, np.zeros(g.cols), np.zeros(g.cols)
    cdef double[:, ::1] dscale = np.empty((g.chunks, g.cols))
    cdef double[:, ::1] dshift = np.empty((g.chunks, g.cols))
    with nogil:
        run_norm_sums(&g, &dscale[0, 0], &dshift[0, 0], <const char *>cnp.PyArray_DATA(grad),
                      <const char *>cnp.PyArray_DATA(x), &mean[0],
                      team(2 * cnp.PyArray_NBYTES(x)))
    dgamma = np.add.reduce(dscale, axis=0) * inv_std
    dbeta = np.add.reduce(dshift, axis=0)
    share = 1.0 / g.rows if by_batch else 0.0
    mean_dy, slope = dbeta * share, dgamma * inv_std * share
    channels.mean, channels.inv_std = &mean[0], &inv_std[0]
    channels.gamma, channels.beta = &gamma[0], &gamma[0]
    with nogil:
        run_norm_backward(&g, <char *>cnp.PyArray_DATA(target),
                          <const char *>cnp.PyArray_DATA(grad),
                          <const char *>cnp.PyArray_DATA(x), channels, &mean_dy[0], &slope[0],
                          team(3 * cnp.PyArray_NBYTES(x)))
    return target, dgamma, dbeta
