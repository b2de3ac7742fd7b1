# What surrounds a matrix product: bias, ReLU, dropout and batch norm in one pass.
#
# From _threads: asked_here, product_scopes; _memory: new_array; _arrays: as_input, dtype_row,
# float_array, is_dense, same_shape, shape_of; _matrix: channels_from, column_task, cut_by_columns,
# doubles, matrix_job, matrix_task, MatrixJob, MatrixTask, row_of, run_matrix, Sums, sums_of; _norm:
# batch_backward, batch_normalize, batch_statistics, check_slopes, norm_backward_task,
# refuse_changed, write_slopes; _extremes: extreme_channels; _product: layer_product.

cdef struct DenseJob:
    MatrixJob batch  # the first member: its address, which `run_matrix` takes, is the job's
    const char *bias
    const char *y
    double *found  # statistics, or gradients
    char *dbias
    double scale, epsilon
    fr_gate gate
    fr_mask mask


cdef void bias_gate_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.bias_gate(
        j.batch.target + t.first, j.bias + t.col * j.batch.itemsize if j.bias else NULL, t.panel,
        t.first // j.batch.itemsize, &j.gate)


cdef void norm_gate_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.norm_gate(
        j.batch.target + t.first, j.batch.x + t.first, t.panel,
        channels_from(&j.batch.channels, t.col), t.first // j.batch.itemsize, &j.gate)


cdef void gate_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.gate_sums(
        j.batch.target + t.first, j.batch.sum_1 + t.sums, j.batch.dy + t.first,
        j.y + t.first if j.y else NULL, t.panel, j.scale)


cdef void norm_gate_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.norm_gate_sums(
        j.batch.target + t.first, j.batch.sum_1 + t.sums, j.batch.sum_2 + t.sums,
        j.batch.dy + t.first, j.batch.x + t.first, j.y + t.first, t.panel,
        j.batch.channels.mean + t.col, j.scale)


cdef void columns_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    j.batch.kernels.norm_gate_columns(
        j.batch.target + t.first, j.found + t.col, j.batch.cols, j.batch.x + t.first, t.panel,
        j.batch.chunk_rows, channels_from(&j.batch.channels, t.col), j.epsilon,
        t.first // j.batch.itemsize, &j.gate)


cdef void slopes_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const DenseJob *j = <const DenseJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    j.batch.kernels.norm_gate_slopes(
        j.batch.target + t.first, j.found + t.col, j.batch.cols,
        j.dbias + t.col * j.batch.itemsize if j.dbias else NULL, j.batch.dy + t.first,
        j.batch.x + t.first, j.y + t.first, t.panel, j.batch.chunk_rows,
        channels_from(&j.batch.channels, t.col), j.scale)


cdef int set_gate(DenseJob *job, bint relu, object draw) except -1:
    """Aim a job's gate: ReLU or not, and the dropout draw (key, call, threshold, scale) or None.

    The job must not move afterwards."""
    job.gate.relu, job.gate.mask = relu, NULL
    if draw is not None:
        job.mask.key, job.mask.call, job.mask.threshold, job.mask.scale = draw
        job.gate.mask = &job.mask
    return 0


cdef bint is_matrix(cnp.ndarray array, cnp.ndarray like) noexcept:
    return (dtype_row(array) >= 0 and cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(like)
            and same_shape(array, like) and is_dense(array))


cdef cnp.ndarray weight_matrix(str where, object value):
    """A layer's W, whatever array stands there."""
    cdef cnp.ndarray w = float_array(where, "W", value)
    if cnp.PyArray_NDIM(w) != 2:
        raise ValueError(f"{where}: W must have shape (n_in, n_out), got {np.shape(w)}")
    return w


cdef int check_bias(object bias, Py_ssize_t cols, cnp.ndarray like) except -1:
    """Refuse a layer's b that is not a row of ``like``'s dtype; None is no bias."""
    if bias is None:
        return 0
    float_array("Dense", "b", bias)
    if cnp.PyArray_SIZE(<cnp.ndarray>bias) != cols or not is_dense(bias) or (
            cnp.PyArray_TYPE(<cnp.ndarray>bias) != cnp.PyArray_TYPE(like)):
        raise ValueError(f"Dense: b must be contiguous, of shape ({cols},) and {like.dtype}, got "
                         f"{np.shape(bias)} and {bias.dtype}")
    return 0


cdef bint is_blas(object products) except -1:
    """Whether a layer's products are NumPy's: as it says, or else as the context does."""
    return asked_here(product_scopes, 0) if products is None else products == "blas"


cpdef object dense_product(object x, object weights, object bias=None, bint relu=False,
                           object products=None):
    """``x @ weights + bias`` for the input, W and b of a dense layer, and its ReLU if asked for."""
    cdef str where = "Dense.forward"
    cdef cnp.ndarray w = weight_matrix(where, weights), array
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"{where}: X must be an array, got {type(x).__name__}")
    array = x
    if cnp.PyArray_NDIM(array) != 2 or cnp.PyArray_DIM(array, 1) != cnp.PyArray_DIM(w, 0):
        raise ValueError(
            f"{where}: X must have shape (N, {cnp.PyArray_DIM(w, 0)}), got {np.shape(x)}")
    if dtype_row(float_array(where, "X", array)) != dtype_row(w):
        raise TypeError(
            f"{where}: X must be {w.dtype}, got {x.dtype}; convert it, or give the layer that "
            "dtype")
    check_bias(bias, cnp.PyArray_DIM(w, 1), w)
    if is_blas(products):
        array = layer_product(array, False, w, False, None, False, True)
        return array if bias is None and not relu else bias_gate(array, bias, relu, None)
    return layer_product(array, False, w, False, bias, relu)


cpdef object dense_gradients(cnp.ndarray x, object weights, cnp.ndarray dy,
                    bint input_gradient, object products=None):
    """``dy @ weights.T``, or None, and ``x.T @ dy`` for the X of the last forward call."""
    cdef str where = "Dense.backward"
    cdef cnp.ndarray w = weight_matrix(where, weights)
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_DIM(x, 1) != cnp.PyArray_DIM(w, 0) or (
            dtype_row(x) != dtype_row(w)):
        raise ValueError(
            f"{where}: W must fit the X of the last forward call, {x.dtype} of shape "
            f"{np.shape(x)}, got {w.dtype} of shape {np.shape(w)}")
    if cnp.PyArray_NDIM(dy) != 2 or cnp.PyArray_DIM(dy, 0) != cnp.PyArray_DIM(x, 0) or (
            cnp.PyArray_DIM(dy, 1) != cnp.PyArray_DIM(w, 1) or dtype_row(dy) != dtype_row(w)):
        shape = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(w, 1)
        raise ValueError(f"{where}: dY must be {w.dtype} of shape {shape}, got {dy.dtype} of "
                         f"shape {np.shape(dy)}")
    cdef bint blas = is_blas(products)
    dw = layer_product(x, True, dy, False, None, False, blas)
    dx = layer_product(dy, False, w, True, None, False, blas) if input_gradient else None
    return dx, dw


cpdef object bias_gate(cnp.ndarray y, object bias, bint relu, object draw):
    """``dropout(relu(y + bias))`` in place; each part only if asked for. ``y`` is returned."""
    cdef DenseJob job
    job.batch = matrix_job(y)
    job.batch.target, job.bias = <char *>cnp.PyArray_DATA(y), NULL
    if bias is not None:
        check_bias(bias, job.batch.cols, y)
        job.bias = <const char *>cnp.PyArray_DATA(<cnp.ndarray>bias)
    set_gate(&job, relu, draw)
    run_matrix(bias_gate_task, &job.batch, 2)
    return y


cdef cnp.ndarray norm_gate(cnp.ndarray x, cnp.ndarray statistics,
              cnp.ndarray gamma, cnp.ndarray beta, bint relu, object draw, bint in_place):
    """``dropout(relu(batch norm(x)))`` in place or as a new array, from `batch_statistics`."""
    cdef cnp.ndarray target
    cdef DenseJob job
    if extreme_channels(x, statistics) is not None:  # the layers one after the other
        target = batch_normalize("", x, None, True, statistics, gamma, beta, False)
        return bias_gate(target, None, relu, draw)
    target = x if in_place else new_array(x)
    job.batch = matrix_job(x)
    job.batch.target = <char *>cnp.PyArray_DATA(target)
    job.batch.channels.mean = row_of(statistics, 0)
    job.batch.channels.inv_std = row_of(statistics, 2)
    job.batch.channels.gamma = <double *>cnp.PyArray_DATA(gamma)
    job.batch.channels.beta = <double *>cnp.PyArray_DATA(beta)
    set_gate(&job, relu, draw)
    run_matrix(norm_gate_task, &job.batch, 2)
    return target


cdef tuple norm_forward(cnp.ndarray x, double epsilon, cnp.ndarray gamma, cnp.ndarray beta,
                        object draw):
    """The `batch_statistics` of x, and `norm_gate` with them and ReLU as a new array."""
    cdef cnp.ndarray target, statistics
    cdef DenseJob job
    job.batch = matrix_job(x)
    if cut_by_columns(&job.batch):
        target, statistics = new_array(x), doubles(3, job.batch.cols)
        job.batch.target, job.found = <char *>cnp.PyArray_DATA(target), row_of(statistics, 0)
        job.batch.channels.gamma = <double *>cnp.PyArray_DATA(gamma)
        job.batch.channels.beta = <double *>cnp.PyArray_DATA(beta)
        job.batch.channels.mean = job.batch.channels.inv_std = job.found  # not known before
        job.epsilon = epsilon
        set_gate(&job, True, draw)
        run_matrix(columns_task, &job.batch, 4, False, True)
        if extreme_channels(x, statistics) is None:
            return statistics, target
    statistics = batch_statistics(x, epsilon)
    return statistics, norm_gate(x, statistics, gamma, beta, True, draw, False)


cdef int check_bias_gradient(str where, cnp.ndarray dbias, cnp.ndarray grad) except -1:
    """Refuse an array for db that does not fit the gradient it is summed from; None is none."""
    if dbias is None:
        return 0
    if cnp.PyArray_SIZE(dbias) != cnp.PyArray_DIM(grad, 1) or (
            cnp.PyArray_TYPE(dbias) != cnp.PyArray_TYPE(grad)):
        raise ValueError(f"{where}: dY must be {dbias.dtype} of shape (N, {dbias.size}), got "
                         f"{grad.dtype} of shape {np.shape(grad)}")
    if not (is_dense(dbias) and cnp.PyArray_ISWRITEABLE(dbias)):
        raise ValueError(f"{where}: db must be contiguous and writeable")
    return 0


cpdef object gate_backward(str where, object dy, object y, double scale, cnp.ndarray dbias):
    """The gradient before the gate whose output was ``y``, its column sums into ``dbias``.

    With ``y`` None the gate was open: ``dy`` itself is returned."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy)
    cdef cnp.ndarray target = grad, output
    cdef DenseJob job
    if cnp.PyArray_NDIM(grad) != 2:
        raise ValueError(f"{where}: dY must have shape (N, n_out), got {np.shape(grad)}")
    check_bias_gradient(where, dbias, grad)
    job.y, job.scale = NULL, scale
    if y is not None:
        output = y
        if not is_matrix(grad, output):
            raise ValueError(f"{where}: dY must be {output.dtype} of shape {np.shape(output)}, got "
                             f"{grad.dtype} of shape {np.shape(grad)}")
        job.y = <const char *>cnp.PyArray_DATA(output)
        target = new_array(grad)
    elif dbias is None:
        return grad
    job.batch = matrix_job(grad)
    job.batch.dy = <const char *>cnp.PyArray_DATA(grad)
    job.batch.target = <char *>cnp.PyArray_DATA(target)
    cdef Sums sums = sums_of(job.batch.chunks, job.batch.cols)
    job.batch.sum_1 = sums.row(0)
    run_matrix(gate_sums_task, &job.batch, 3)
    if dbias is not None:
        if job.batch.chunks:
            job.batch.kernels.fold_sums(cnp.PyArray_DATA(dbias), job.batch.sum_1,
                                        job.batch.chunks, job.batch.cols)
        else:
            dbias.fill(0)
    return target


cdef object norm_gate_backward(str where, object dy, cnp.ndarray y, cnp.ndarray x,
                               cnp.ndarray statistics, cnp.ndarray gamma, double scale,
                               list slopes, cnp.ndarray dbias):
    """dx of ``norm_gate`` with the batch's own statistics; ``slopes`` as for `batch_backward`, the
    column sums of dx into ``dbias``."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(y), y.dtype)
    cdef cnp.ndarray target = new_array(grad)
    cdef DenseJob job
    refuse_changed(where, same_shape(x, y) and cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(y))
    job.batch = matrix_job(x)
    refuse_changed(where, job.batch.cols == cnp.PyArray_DIM(statistics, 1)
                   and job.batch.cols == cnp.PyArray_SIZE(gamma))
    check_slopes(where, slopes, job.batch.cols)
    cdef MatrixJob *batch = &job.batch
    cdef Sums gradients = sums_of(4, batch.cols), sums
    job.y, job.scale, job.found = <const char *>cnp.PyArray_DATA(y), scale, gradients.row(0)
    job.dbias = NULL
    check_bias_gradient("Dense.backward", dbias, grad)
    if dbias is not None:
        job.dbias = <char *>cnp.PyArray_DATA(dbias)
    batch.dy, batch.target = <const char *>cnp.PyArray_DATA(grad), <char *>cnp.PyArray_DATA(target)
    batch.stream = False
    batch.channels.mean, batch.channels.inv_std = row_of(statistics, 0), row_of(statistics, 2)
    batch.channels.gamma = batch.channels.beta = <double *>cnp.PyArray_DATA(gamma)
    if cut_by_columns(batch):
        run_matrix(slopes_task, batch, 8, False, True)
        if extreme_channels(x, statistics, gradients.row(0)) is None:
            write_slopes(slopes, gradients.row(0), gradients.row(1))
            return target
    sums = sums_of(2 * batch.chunks, batch.cols)
    batch.sum_1, batch.sum_2 = sums.row(0), sums.row(batch.chunks)
    batch.mean_dy, batch.slope = gradients.row(2), gradients.row(3)
    run_matrix(norm_gate_sums_task, batch, 4)
    fr_gradients(gradients.row(0), batch.sum_1, batch.sum_2, batch.channels.inv_std,
                 1.0 / batch.rows, batch.chunks, batch.cols)
    if extreme_channels(x, statistics, gradients.row(0)) is not None:
        batch_backward(where, target, target, x, True, statistics, gamma, False, slopes)
    else:
        batch.dy = batch.target
        run_matrix(norm_backward_task, batch, 3)
        write_slopes(slopes, gradients.row(0), gradients.row(1))
    return target if dbias is None else gate_backward("Dense.backward", target, None, 1.0, dbias)
