# A dense layer's products: X W + b, and on the way back X' dY and dY W'.
#
# From _threads: asked_here, product_scopes; _arrays: dtype_row, float_array; _product: Product,
# product_of; _gate: bias_gate, check_bias, gate_backward.

cdef cnp.ndarray weight_matrix(str where, object value):
    """A layer's W, whatever array stands there."""
    cdef cnp.ndarray w = float_array(where, "W", value)
    if cnp.PyArray_NDIM(w) != 2:
        raise ValueError(f"{where}: W must have shape (n_in, n_out), got {np.shape(w)}")
    return w


cdef bint is_blas(object products) except -1:
    """Whether a layer's products are NumPy's: as it says, or else as the context does."""
    return asked_here(product_scopes, 0) if products is None else products == "blas"


cdef Product dense_product(object x, object weights, object bias, bint relu, object products):
    """``x @ weights + bias`` for the input, W and b of a dense layer, and its ReLU if asked for.

    It is for the caller to compute; BLAS has been called already."""
    cdef str where = "Dense.forward"
    cdef cnp.ndarray w = weight_matrix(where, weights), array
    cdef Product product
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
    product = product_of(array, False, cnp.PyArray_DIM(w, 1), is_blas(products))
    product.take_right(w, False)
    if product.blas:
        product.compute()
        if bias is not None or relu:
            bias_gate(product.target, bias, relu, None)
    else:
        product.finish_with(bias, relu)
    return product


def dense_forward(x, weights, bias, bint relu=False, products=None):
    """``x @ weights + bias``, and its ReLU if asked for."""
    return dense_product(x, weights, bias, relu, products).compute()


cdef Product weight_gradient(cnp.ndarray x, object weights, object products):
    """``x.T @ dy`` for the X of the last forward call; dy is still to be named."""
    cdef cnp.ndarray w = weight_matrix("Dense.backward", weights)
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_DIM(x, 1) != cnp.PyArray_DIM(w, 0) or (
            dtype_row(x) != dtype_row(w)):
        raise ValueError(
            f"Dense.backward: W must fit the X of the last forward call, {x.dtype} of shape "
            f"{np.shape(x)}, got {w.dtype} of shape {np.shape(w)}")
    return product_of(x, True, cnp.PyArray_DIM(w, 1), is_blas(products))


cdef object input_gradient(cnp.ndarray dy, cnp.ndarray weights, Product dw):
    """``dy @ weights.T``, computed as dW was."""
    cdef Product dx = product_of(dy, False, cnp.PyArray_DIM(weights, 0), dw.blas)
    dx.take_right(weights, True)
    return dx.compute()


def dense_backward(cnp.ndarray x not None, weights, dy, cnp.ndarray dbias, bint wants_input,
                   products):
    """``dy @ weights.T``, or None, and ``x.T @ dy``; the column sums of dy into ``dbias``."""
    cdef Product dw = weight_gradient(x, weights, products)
    grad = gate_backward("Dense.backward", dy, None, 1.0, dbias, dw)
    return input_gradient(grad, weights, dw) if wants_input else None, dw.target
