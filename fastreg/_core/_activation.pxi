# Functions of one element and their slopes, in blocks; functions of one number.
#
# From _threads: asked_threads; _memory: new_array, streams; _arrays: as_dense,
# dtype_row, matching, shape_of; _matrix: BLOCK.

cdef dict FUNCTIONS = {
    "exp": FR_FUNCTION_exp, "log": FR_FUNCTION_log, "log1p": FR_FUNCTION_log1p,
    "tanh": FR_FUNCTION_tanh, "erf": FR_FUNCTION_erf, "sigmoid": FR_FUNCTION_sigmoid,
    "gelu": FR_FUNCTION_gelu, "normal_gelu": FR_FUNCTION_normal_gelu}
cdef dict SLOPES = {
    "tanh": FR_SLOPE_tanh, "sigmoid": FR_SLOPE_sigmoid, "gelu": FR_SLOPE_gelu,
    "normal_gelu": FR_SLOPE_normal_gelu}


cdef struct ActivationJob:
    char *y
    const char *x
    const char *dy  # NULL for a function
    Py_ssize_t n, itemsize
    fr_function function
    fr_slope slope
    bint stream


cdef void activation_block(const void *job, Py_ssize_t block) noexcept nogil:
    cdef const ActivationJob *j = <const ActivationJob *>job
    cdef Py_ssize_t start = block * BLOCK, offset = start * j.itemsize
    cdef Py_ssize_t n = min(<Py_ssize_t>BLOCK, j.n - start)
    if j.dy:
        j.slope(j.y + offset, j.dy + offset, j.x + offset, n, j.stream)
    else:
        j.function(j.y + offset, j.x + offset, n, j.stream)


cdef void run_activation(ActivationJob *job, cnp.ndarray target, cnp.ndarray x, int arrays):
    cdef int asked = asked_threads()
    job.y, job.x = <char *>cnp.PyArray_DATA(target), <const char *>cnp.PyArray_DATA(x)
    job.n, job.itemsize = cnp.PyArray_SIZE(x), cnp.PyArray_ITEMSIZE(x)
    job.stream = streams(target, x)
    with nogil:
        fr_run_tasks(activation_block, job, (job.n + BLOCK - 1) // BLOCK,
                     arrays * job.n * job.itemsize, asked, False)


def activate(str where, str function, object x):
    """A function in FUNCTIONS of every element."""
    cdef cnp.ndarray source = as_dense(matching(where, "X", x, None, None))
    cdef cnp.ndarray target = new_array(source)
    cdef ActivationJob job
    job.dy, job.function = NULL, table.kernels[dtype_row(source)].function[<int>FUNCTIONS[function]]
    run_activation(&job, target, source, 2)
    return target


def activate_backward(str where, str function, object dy, cnp.ndarray x not None):
    """The gradient dy times the slope of a function in SLOPES at every element."""
    cdef cnp.ndarray grad = as_dense(matching(where, "dY", dy, shape_of(x), x.dtype))
    cdef cnp.ndarray source = as_dense(x), target = new_array(source)
    cdef ActivationJob job
    job.dy = <const char *>cnp.PyArray_DATA(grad)
    job.slope = table.kernels[dtype_row(source)].slope[<int>SLOPES[function]]
    run_activation(&job, target, source, 3)
    return target


def power(double x, double y):
    """``x ** y`` for x of at least 0; infinity where it is too large."""
    return fr_power(x, y)


def missing_power(double x, double y):
    """``1 - (1 - x) ** y`` for x from 0 to 1, without the difference."""
    return fr_missing_power(x, y)


def cosine(double x):
    """``cos(x)`` for x from 0 to 2^20."""
    return fr_cos(x)


def sine(double x):
    """``sin(x)`` for x from 0 to 2^20."""
    return fr_sin(x)
