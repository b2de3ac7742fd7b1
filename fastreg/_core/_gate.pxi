# What surrounds a matrix product: bias, ReLU, dropout and batch norm in one pass.
#
# A pass over whole columns takes the product along: each block of columns is multiplied and gated
# by one thread while it is in cache; on the way back it is gated, then multiplied to its part of dW.
#
# From _memory: new_array; _arrays: as_input, dtype_row, float_array, is_dense, same_shape, shape_of;
# _matrix: channels_from, column_task, cut_by_columns, doubles, is_serial, matrix_job, matrix_task,
# MatrixJob, MatrixTask, NARROW, row_of, run_matrix, Sums, sums_of; _norm: batch_backward, batch_normalize,
# batch_statistics, check_slopes, norm_backward_task, refuse_changed, write_slopes; _extremes:
# extreme_channels.

cdef struct GateJob:
    MatrixJob batch  # the first member: its address, which `run_matrix` takes, is the job's
    const char *bias
    const char *y
    double *found  # statistics, or gradients
    char *dbias
    double scale, epsilon
    fr_gate gate
    fr_mask mask
    const fr_product *product  # computed along with the columns, or NULL


cdef void bias_gate_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.bias_gate(
        j.batch.target + t.first, j.bias + t.col * j.batch.itemsize if j.bias else NULL, t.panel,
        t.first // j.batch.itemsize, &j.gate)


cdef void norm_gate_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.norm_gate(
        j.batch.target + t.first, j.batch.x + t.first, t.panel,
        channels_from(&j.batch.channels, t.col), t.first // j.batch.itemsize, &j.gate)


cdef void gate_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.gate_sums(
        j.batch.target + t.first, j.batch.sum_1 + t.sums, j.batch.dy + t.first,
        j.y + t.first if j.y else NULL, t.panel, j.scale)


cdef void norm_gate_sums_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = matrix_task(&j.batch, k)
    j.batch.kernels.norm_gate_sums(
        j.batch.target + t.first, j.batch.sum_1 + t.sums, j.batch.sum_2 + t.sums,
        j.batch.dy + t.first, j.batch.x + t.first, j.y + t.first, t.panel,
        j.batch.channels.mean + t.col, j.scale)


cdef void gate_columns_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    j.batch.kernels.product_columns(j.product, k)
    j.batch.kernels.bias_gate(
        j.batch.target + t.first, NULL, t.panel, t.first // j.batch.itemsize, &j.gate)


cdef void gate_slopes_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    j.batch.kernels.gate_slopes(
        j.batch.target + t.first, j.dbias + t.col * j.batch.itemsize if j.dbias else NULL,
        j.batch.dy + t.first, j.y + t.first if j.y else NULL, t.panel, j.batch.chunk_rows, j.scale)
    if j.product:
        j.batch.kernels.product_columns(j.product, k)


cdef void columns_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    if j.product:
        j.batch.kernels.product_columns(j.product, k)
    j.batch.kernels.norm_gate_columns(
        j.batch.target + t.first, j.found + t.col, j.batch.cols, j.batch.x + t.first, t.panel,
        j.batch.chunk_rows, channels_from(&j.batch.channels, t.col), j.epsilon,
        t.first // j.batch.itemsize, &j.gate)


cdef void slopes_task(const void *job, Py_ssize_t k) noexcept nogil:
    cdef const GateJob *j = <const GateJob *>job
    cdef MatrixTask t = column_task(&j.batch, k)
    j.batch.kernels.norm_gate_slopes(
        j.batch.target + t.first, j.found + t.col, j.batch.cols,
        j.dbias + t.col * j.batch.itemsize if j.dbias else NULL, j.batch.dy + t.first,
        j.batch.x + t.first, j.y + t.first, t.panel, j.batch.chunk_rows,
        channels_from(&j.batch.channels, t.col), j.scale)
    if j.product:
        j.batch.kernels.product_columns(j.product, k)


cdef int set_gate(GateJob *job, bint relu, object draw) except -1:
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


cdef int take_slopes(Product dw, cnp.ndarray dy) except -1:
    """Name dW's second side, the gradient of the layer's output, if it fits."""
    if cnp.PyArray_NDIM(dy) != 2 or cnp.PyArray_DIM(dy, 0) != dw.job.depth or (
            cnp.PyArray_DIM(dy, 1) != dw.job.cols or dtype_row(dy) != dtype_row(dw.target)):
        shape = dw.job.depth, dw.job.cols
        raise ValueError(f"Dense.backward: dY must be {dw.target.dtype} of shape {shape}, got "
                         f"{dy.dtype} of shape {np.shape(dy)}")
    return dw.take_right(dy, False)


cdef int cut_product(GateJob *job, Product product) except -1:
    """Have the columns of a job take their product along, if there is one and it is as good so.

    Panels are then narrow: a thread that falls behind leaves some to the others."""
    cdef MatrixJob *batch = &job.batch
    cdef Py_ssize_t cols = batch.panel_cols if is_serial(batch) else NARROW
    cdef Py_ssize_t panels = (batch.cols + cols - 1) // cols
    job.product = NULL
    if product is not None and product.cut_like(cols, panels):
        job.product, batch.besides = &product.job, product.job.cost
        batch.panel_cols, batch.panels = cols, panels
    return 0


cpdef cnp.ndarray bias_gate(cnp.ndarray y, object bias, bint relu, object draw):
    """``dropout(relu(y + bias))`` in place; each part only if asked for. ``y`` is returned."""
    cdef GateJob job
    job.batch = matrix_job(y)
    job.batch.target, job.bias = <char *>cnp.PyArray_DATA(y), NULL
    if bias is not None:
        check_bias(bias, job.batch.cols, y)
        job.bias = <const char *>cnp.PyArray_DATA(<cnp.ndarray>bias)
    set_gate(&job, relu, draw)
    run_matrix(bias_gate_task, &job.batch, 2)
    return y


cdef cnp.ndarray gated(Product product, object draw):
    """A product with dropout."""
    cdef GateJob job
    job.batch = matrix_job(product.target)
    if cut_by_columns(&job.batch):
        cut_product(&job, product)
        if job.product:
            job.batch.target = <char *>cnp.PyArray_DATA(product.target)
            set_gate(&job, False, draw)
            run_matrix(gate_columns_task, &job.batch, 2, False, True)
            return product.target
    return bias_gate(product.compute(), None, False, draw)


cdef cnp.ndarray norm_gate(cnp.ndarray x, cnp.ndarray statistics,
              cnp.ndarray gamma, cnp.ndarray beta, bint relu, object draw, bint in_place):
    """``dropout(relu(batch norm(x)))`` in place or as a new array, from `batch_statistics`."""
    cdef cnp.ndarray target
    cdef GateJob job
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


cdef tuple norm_forward(cnp.ndarray x, Product product, double epsilon, cnp.ndarray gamma,
                        cnp.ndarray beta, object draw):
    """The `batch_statistics` of x, and `norm_gate` with them and ReLU as a new array.

    x may be the target of a product, which is computed then."""
    cdef cnp.ndarray target, statistics
    cdef GateJob job
    job.batch = matrix_job(x)
    if cut_by_columns(&job.batch):
        cut_product(&job, product)
        if product is not None:
            product.compute()  # unless that is for the columns to do
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
    elif product is not None:
        product.compute()
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


cpdef cnp.ndarray gate_backward(str where, object dy, object y, double scale, cnp.ndarray dbias,
                                Product dw=None):
    """The gradient before the gate whose output was ``y``, its column sums into ``dbias``; dW is
    computed from it.

    With ``y`` None the gate was open: the gradient is ``dy`` itself."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy)
    cdef cnp.ndarray target = grad, output
    cdef GateJob job
    cdef MatrixJob *batch = &job.batch
    if cnp.PyArray_NDIM(grad) != 2:
        raise ValueError(f"{where}: dY must have shape (N, n_out), got {np.shape(grad)}")
    check_bias_gradient(where, dbias, grad)
    job.y, job.dbias, job.scale = NULL, NULL, scale
    if y is not None:
        output = y
        if not is_matrix(grad, output):
            raise ValueError(f"{where}: dY must be {output.dtype} of shape {np.shape(output)}, got "
                             f"{grad.dtype} of shape {np.shape(grad)}")
        job.y = <const char *>cnp.PyArray_DATA(output)
        target = new_array(grad)
    if dw is not None:
        take_slopes(dw, target)
    if y is not None or dbias is not None:
        job.batch = matrix_job(grad)
        batch.dy = <const char *>cnp.PyArray_DATA(grad)
        batch.target = <char *>cnp.PyArray_DATA(target)
        if dbias is not None:
            job.dbias = <char *>cnp.PyArray_DATA(dbias)
        gate_slopes(&job, dw)
    if dw is not None:
        dw.compute()
    return target


cdef int gate_slopes(GateJob *job, Product dw) except -1:
    """The pass of `gate_backward`: by columns, which may take dW along, or by chunks of rows."""
    cdef MatrixJob *batch = &job.batch
    cdef Sums sums
    if cut_by_columns(batch):
        cut_product(job, dw)
        run_matrix(gate_slopes_task, batch, 3, False, True)
        return 0
    sums = sums_of(max(batch.chunks, 1), batch.cols)
    batch.sum_1 = sums.row(0)
    run_matrix(gate_sums_task, batch, 3)
    if job.dbias:
        batch.kernels.fold_sums(job.dbias, batch.sum_1, batch.chunks, batch.cols)
    return 0


cdef object norm_gate_backward(str where, object dy, cnp.ndarray y, cnp.ndarray x,
                               cnp.ndarray statistics, cnp.ndarray gamma, double scale,
                               list slopes, cnp.ndarray dbias, Product dw):
    """dx of ``norm_gate`` with the batch's own statistics; ``slopes`` as for `batch_backward`, the
    column sums of dx into ``dbias``; dW is computed from it."""
    cdef cnp.ndarray grad = as_input(where, "dY", dy, shape_of(y), y.dtype)
    cdef cnp.ndarray target = new_array(grad)
    cdef GateJob job
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
    if dw is not None:
        take_slopes(dw, target)
    if cut_by_columns(batch):
        cut_product(&job, dw)
        run_matrix(slopes_task, batch, 8, False, True)
        if extreme_channels(x, statistics, gradients.row(0)) is None:
            write_slopes(slopes, gradients.row(0), gradients.row(1))
            if dw is not None:
                dw.compute()
            return target
        if dw is not None:
            dw.done = False  # it is of another dx
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
    return gate_backward("Dense.backward", target, None, 1.0, dbias, dw)
