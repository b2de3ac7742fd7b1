# Layers that run as one: Dense, BatchNorm, ReLU and Dropout in one pass each way, and all layers of
# a network in one call, which happens whole or not at all.
#
# From _lock: attributes, Whole; _places: Pending; _dropout: LAST_CALL;
# _arrays: dtype_row, empty_like, is_dense, shape_of; _matrix: doubles, row_of; _norm:
# blend_row, statistics_of; _product: Product; _gate: gate_backward, gated, norm_forward, norm_gate,
# norm_gate_backward; _dense: dense_product, input_gradient, weight_gradient.

cdef object ONE_BY_ONE = object()  # a chain's answer where its layers must run one after the other


cdef class Chain:
    """Dense, BatchNorm, ReLU and Dropout, some of them, as one forward and one backward pass.

    Bits and state (gradients, running statistics, dropout's call count) are those of the layers
    run one after the other, which is also what happens while one of them is not in training or
    its attributes are not as its constructor makes them."""

    cdef readonly object layers, dense, norm, dropout
    cdef bint relu
    cdef dict own  # "last": (X, statistics, Y, scale) if the last forward call was fused

    def __init__(self, layers, dense, norm, bint relu, dropout):
        self.layers, self.dense, self.norm, self.dropout = layers, dense, norm, dropout
        self.relu = relu
        self.own = {"last": None}

    def forward(self, x):
        """Return the last layer's output."""
        cdef Pending pending = Pending()
        y = self.run_forward(x, pending, None)
        pending.settle()
        return y

    def backward(self, dy, *, bint input_gradient=True):
        """Return the first layer's dX, if it is wanted; store every gradient."""
        cdef Pending pending = Pending()
        dx = self.run_backward(dy, input_gradient, pending, None)
        pending.settle()
        return dx

    cdef object run_forward(self, object x, Pending pending, Whole lock):
        """The output: fused, or layer by layer, which a network's lock remembers first."""
        y = self.fused_forward(x, pending)
        if y is not ONE_BY_ONE:
            return y
        if lock is not None:
            lock.remember_all(self.layers)
        pending.change(self.own, "last", None)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    cdef object run_backward(self, object dy, bint input_gradient, Pending pending, Whole lock):
        """The first layer's dX, in the same way."""
        dx = self.fused_backward(dy, input_gradient, pending)
        if dx is not ONE_BY_ONE:
            return dx
        if lock is not None:
            lock.remember_all(self.layers)
        for layer in self.layers[:0:-1]:
            dy = layer.backward(dy)
        if self.dense is None:
            return self.layers[0].backward(dy)
        return self.dense.backward(dy, input_gradient=input_gradient)

    cdef bint has_own_methods(self) except -1:
        """Whether some layer has been given a pass that its class does not have."""
        cdef dict own
        for layer in self.layers:
            own = attributes(layer)
            if "forward" in own or "backward" in own:
                return True
        return False

    cdef bint fits_norm(self, dict norm, cnp.ndarray given, object wide) except -1:
        """Whether batch norm will get rows enough, and as many columns as it has features: those
        of ``wide``, the layer's W, or the input itself."""
        return (cnp.PyArray_DIM(given, 0) > 1 and isinstance(wide, cnp.ndarray)
                and cnp.PyArray_NDIM(<cnp.ndarray>wide) == 2
                and cnp.PyArray_DIM(<cnp.ndarray>wide, 1) == norm["n_features"])

    cdef object fused_forward(self, object given, Pending pending):
        """The output; what it makes of the layers' attributes is left in ``pending``."""
        cdef dict dense = None, norm = None, dropout = None
        cdef object draw = None
        cdef Product product = None
        cdef cnp.ndarray x, y, statistics = None, gamma = None, beta = None
        cdef cnp.ndarray running_mean = None, running_var = None
        cdef object weights = None
        cdef double scale = 1.0
        if not isinstance(given, cnp.ndarray) or cnp.PyArray_NDIM(<cnp.ndarray>given) != 2:
            return ONE_BY_ONE
        if self.has_own_methods():
            return ONE_BY_ONE
        if self.dense is not None:
            dense = attributes(self.dense)
            weights = dense["W"]
        if self.norm is not None:
            norm = attributes(self.norm)
            if not is_plain_norm(norm, True) or not self.fits_norm(
                    norm, given, given if dense is None else weights):
                return ONE_BY_ONE
            gamma, beta = norm["gamma"], norm["beta"]  # those of the check, whoever sets others
            running_mean, running_var = norm["running_mean"], norm["running_var"]
        if self.dropout is not None:
            dropout = attributes(self.dropout)
            if dropout["training"] is not True or dropout["_key"] is None:
                return ONE_BY_ONE
            draw = dropout["_key"], dropout["_calls"], *dropout["_scalars"]
            scale = draw[3]
        if dense is not None:
            product = dense_product(
                given, weights, dense["b"], self.relu and norm is None, dense["products"])
            x = product.target
        elif not cnp.PyArray_CheckExact(given) or dtype_row(given) < 0 or not is_dense(given):
            return ONE_BY_ONE
        else:
            x = given
        if norm is not None:
            statistics, y = norm_forward(x, product, norm["epsilon"], gamma, beta, draw)
            move_norm(pending, norm, running_mean, running_var, x, statistics)
        elif draw is not None:
            y = gated(product, draw)
        else:
            y = product.compute()
        if dense is not None:
            pending.change(dense, "_last", given)
        if dropout is not None:
            shape = shape_of(y)
            pending.change(dropout, "_last", (shape, draw, None))
            pending.change(dropout, "_drawn", (draw, shape, y.dtype))
            pending.change(dropout, "_calls", (<long long>draw[1] + 1) & LAST_CALL)
        pending.change(self.own, "last", (x, statistics, y, scale))
        return y

    cdef object infer(self, object given):
        """The output in evaluation mode, of which no layer keeps anything: ReLU in the product's
        pass, batch norm in place, dropout not at all."""
        cdef dict dense, norm
        cdef cnp.ndarray x, statistics, gamma, beta
        cdef object weights
        if self.dense is None or not isinstance(given, cnp.ndarray) or (
                cnp.PyArray_NDIM(<cnp.ndarray>given) != 2) or self.has_own_methods() or (
                not are_in(self.layers, False)):
            return ONE_BY_ONE
        dense = attributes(self.dense)
        if self.norm is None:
            return dense_product(
                given, dense["W"], dense["b"], self.relu, dense["products"]).compute()
        norm, weights = attributes(self.norm), dense["W"]
        if not is_plain_norm(norm, False) or not self.fits_norm(norm, given, weights):
            return ONE_BY_ONE
        gamma, beta = norm["gamma"], norm["beta"]
        statistics = statistics_of(
            <const double *>cnp.PyArray_DATA(norm["running_mean"]),
            <const double *>cnp.PyArray_DATA(norm["running_var"]),
            cnp.PyArray_DIM(<cnp.ndarray>weights, 1), norm["epsilon"])
        x = dense_product(given, weights, dense["b"], False, dense["products"]).compute()
        return norm_gate(x, statistics, gamma, beta, True, None, True)

    cdef object fused_backward(self, object dy, bint wanted, Pending pending):
        cdef cnp.ndarray db = None
        cdef Product dw = None
        cdef dict dense = None, norm
        cdef object weights = None
        cdef Py_ssize_t n
        if self.own["last"] is None or (not self.relu and self.has_own_methods()):
            return ONE_BY_ONE
        x, statistics, y, scale = self.own["last"]
        if self.dense is not None:
            dense = attributes(self.dense)
            if not isinstance(dense["_last"], cnp.ndarray):
                return ONE_BY_ONE
            if dense["b"] is not None:
                db = empty_like("Dense.backward", "b", dense["b"])
            weights = dense["W"]  # as it is now, whoever sets another meanwhile
            dw = weight_gradient(dense["_last"], weights, dense["products"])
        if self.norm is None:
            dx = gate_backward("Dense.backward", dy, y if self.relu else None, scale, db, dw)
        else:
            norm = attributes(self.norm)
            n = cnp.PyArray_DIM(statistics, 1)
            if is_plain_shape(norm["gamma"], n) and is_plain_shape(norm["beta"], n):
                gamma, slopes = norm["gamma"], [doubles(1, n), doubles(1, n)]
            else:  # have been replaced: the slopes follow
                gamma, _ = self.norm._affine("BatchNorm.backward")
                slopes = self.norm._new_slopes()
            dx = norm_gate_backward(
                "BatchNorm.backward", dy, y, x, statistics, gamma, scale, slopes, db, dw)
            dgamma, dbeta = slopes or (None, None)
            pending.change(norm, "dgamma", dgamma)
            pending.change(norm, "dbeta", dbeta)
        if dense is not None:
            pending.change(dense, "dW", dw.target)
            pending.change(dense, "db", db)
            return input_gradient(dx, weights, dw) if wanted else None
        return dx


cdef bint is_plain_norm(dict norm, object training) except -1:
    """Whether a batch norm is in this mode and its arrays are as its constructor makes them."""
    cdef Py_ssize_t n = norm["n_features"]
    return (norm["training"] is training and norm["affine"] is True
            and norm["track_running_stats"] is True and norm["unbiased_running_var"] is False
            and is_plain_row(norm["gamma"], n) and is_plain_row(norm["beta"], n)
            and is_plain_row(norm["running_mean"], n) and is_plain_row(norm["running_var"], n))


cdef bint is_plain_row(object values, Py_ssize_t n) noexcept:
    return (cnp.PyArray_CheckExact(values) and dtype_row(<cnp.ndarray>values) == FR_FLOAT64
            and cnp.PyArray_SIZE(<cnp.ndarray>values) == n and is_dense(<cnp.ndarray>values))


cdef bint is_plain_shape(object values, Py_ssize_t n) noexcept:
    return (is_plain_row(values, n) and cnp.PyArray_NDIM(<cnp.ndarray>values) == 2
            and cnp.PyArray_DIM(<cnp.ndarray>values, 1) == n)


cdef int move_norm(Pending pending, dict norm, cnp.ndarray mean, cnp.ndarray var, cnp.ndarray x,
                   cnp.ndarray statistics) except -1:
    """Have a batch norm's attributes be what a training batch makes of them."""
    cdef object batches = norm["batches"], momentum = norm["momentum"]
    cdef double keep = batches / (batches + 1) if momentum is None else momentum
    pending.change(norm, "running_mean", blend_row(mean, row_of(statistics, 0), keep))
    pending.change(norm, "running_var", blend_row(var, row_of(statistics, 1), keep))
    pending.change(norm, "batches", batches + 1)
    pending.change(norm, "_last", (x, True, statistics))
    pending.change(norm, "_trained", (x, statistics))
    return 0


@cython.final
cdef class Network(Whole):
    """A lock over the layers of a network, and their passes, which happen whole or not at all."""

    cdef list stages  # chains, and layers that are in none

    def __cinit__(self, str name not None, str what="call", *owners):
        self.stages = []

    def set_stages(self, list stages not None):
        self.stages = stages

    def forward(self, x):
        """The last layer's output. If it fails, every layer is as it was before."""
        cdef Pending pending = Pending()
        cdef list before = []
        self.begin("forward", before)
        try:
            for stage in self.stages:
                if isinstance(stage, Chain):
                    x = (<Chain>stage).run_forward(x, pending, self)
                else:
                    self.remember(stage)
                    x = stage.forward(x)
            pending.settle()
            return x
        except BaseException:
            self.take_back()
            raise
        finally:
            self.end()

    def infer(self, x):
        """The same in evaluation mode, for nothing but the output: nothing is kept for backward."""
        cdef Pending pending = Pending()
        cdef list before = []
        self.begin("forward", before)
        try:
            for stage in self.stages:
                y = (<Chain>stage).infer(x) if isinstance(stage, Chain) else ONE_BY_ONE
                if y is not ONE_BY_ONE:
                    x = y
                elif isinstance(stage, Chain):
                    x = (<Chain>stage).run_forward(x, pending, self)
                else:
                    self.remember(stage)
                    x = stage.forward(x)
            pending.settle()
            return x
        except BaseException:
            self.take_back()
            raise
        finally:
            self.end()

    def backward(self, dy, bint input_gradient):
        """The gradient of the input, if it is wanted."""
        cdef Pending pending = Pending()
        cdef list before = []
        cdef Py_ssize_t i
        self.begin("backward", before)
        try:
            for i in range(len(self.stages) - 1, -1, -1):
                stage, wanted = self.stages[i], input_gradient or i > 0
                if isinstance(stage, Chain):
                    dy = (<Chain>stage).run_backward(dy, wanted, pending, self)
                else:
                    self.remember(stage)
                    dy = stage.backward(dy) if wanted else stage.backward(dy, input_gradient=False)
            pending.settle()
            return dy
        except BaseException:
            self.take_back()
            raise
        finally:
            self.end()


cpdef bint are_in(object layers, bint training) except -1:
    """Whether every layer says that it is in this mode."""
    cdef object mode = training
    for layer in layers:
        if getattr(layer, "training", None) is not mode:
            return False
    return True
