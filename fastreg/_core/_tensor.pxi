# One tensor of an optimizer, as the kernels see it, and the units of work of a step.
#
# Each tensor has its own count of steps. Tensors of one group that have taken part in the same
# steps share a row: their count, and the scalars of a step, which are computed once per row.
#
# From _halves: is_half.

cdef struct Tensor:
    fr_span span            # grad is NULL where this step leaves the tensor alone
    int dtype
    Py_ssize_t row          # of the step's scalars
    const char *kinds       # how each slot is rounded to fewer bits; NULL: none is
    int bits                # how many: 8 or 16
    int16_t *scale[4]  # of slots in 8 bits, by block
    float *master           # the floats that are stepped instead of a parameter of 16 bits, or NULL
    uint64_t first          # the number of its first element among those that draw
    bint born               # it has its state and a count: it has had a gradient
    const void *disjoint    # the gradient last proven to share no memory with any target

cdef struct Row:
    int group
    bint penalised, active  # active: this step moves its tensors
    long long count         # steps they have taken
    double memory, next_memory  # the rule's number from step to step (see fr_prepare)
    Py_ssize_t idle         # while rows are split: the row of those that are left alone

cdef struct Piece:
    Py_ssize_t tensor, start, n


cdef struct Step:
    const Tensor *tensors
    const Piece *pieces
    const Py_ssize_t *units
    const fr_step *scalars  # one per row
    fr_mask draws           # what the rounding of state draws from: its key, and the step
    double *sums            # one per piece: of `summed` over the gradient; two: see _layerwise
    double scale, unit
    int rule, summed, asked


cdef inline Py_ssize_t bytes_of(const Tensor *tensor, Py_ssize_t n) noexcept nogil:
    """The size of n elements of a tensor."""
    return n * (2 if is_half(tensor.dtype) else state_bytes_of(tensor, 1))


cdef inline Py_ssize_t state_bytes_of(const Tensor *tensor, Py_ssize_t n) noexcept nogil:
    """The size of n elements of its average or of a slot that is not kept in fewer bits."""
    return n * (8 if tensor.dtype == FR_FLOAT64 else 4)


cdef inline fr_span span_of(const Tensor *tensor, const Piece *piece) noexcept nogil:
    """One piece of a tensor."""
    cdef Py_ssize_t offset = bytes_of(tensor, piece.start)
    cdef Py_ssize_t state_offset = state_bytes_of(tensor, piece.start)
    cdef fr_span span
    cdef int k
    span.param = <char *>tensor.span.param + offset
    span.grad = <const char *>tensor.span.grad + offset
    for k in range(FR_MAX_SLOTS):
        if not tensor.span.slot[k]:
            span.slot[k] = NULL
        elif tensor.kinds and tensor.kinds[k] != c"f":
            span.slot[k] = <char *>tensor.span.slot[k] + tensor.bits // 8 * piece.start
        else:
            span.slot[k] = <char *>tensor.span.slot[k] + state_offset
    span.average = NULL
    if tensor.span.average:
        span.average = <char *>tensor.span.average + state_offset
    span.n = piece.n
    return span


cdef inline fr_draws draws_of(const Step *s, const Piece *piece) noexcept nogil:
    """What the rounding of a piece draws."""
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_draws draws
    cdef int k
    draws.mask = s.draws
    draws.first = tensor.first + <uint64_t>piece.start
    for k in range(FR_MAX_SLOTS):
        draws.scale[k] = NULL
        if tensor.scale[k]:
            draws.scale[k] = tensor.scale[k] + piece.start // FR_CODED_BLOCK
    return draws


cdef inline fr_half half_of_piece(const Step *s, const Piece *piece) noexcept nogil:
    """How a piece of a parameter of 16 bits is stepped."""
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_half half
    half.rule, half.type, half.narrow = s.rule, tensor.dtype, tensor.bits
    half.master = tensor.master + piece.start if tensor.master else NULL
    return half


cdef inline void update_span(const Step *s, const Piece *piece, const fr_span *span,
                             const fr_step *step) noexcept nogil:
    """Take the step of a rule on a span of a tensor."""
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_draws draws
    cdef fr_half half
    if is_half(tensor.dtype):
        draws, half = draws_of(s, piece), half_of_piece(s, piece)
        table.kernels[FR_FLOAT32].half_update[0](span, step, &draws, &half)
    elif tensor.bits == 8:
        draws = draws_of(s, piece)
        table.kernels[FR_FLOAT32].coded_update[0](span, step, &draws, s.rule)
    elif tensor.bits:
        draws = draws_of(s, piece)
        table.kernels[FR_FLOAT32].narrow[s.rule](span, step, &draws)
    else:
        table.kernels[tensor.dtype].update[s.rule](span, step)


cdef void update_piece(const Step *s, const Piece *piece) noexcept nogil:
    """Advance one piece of a tensor."""
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_span span = span_of(tensor, piece)
    update_span(s, piece, &span, &s.scalars[tensor.row])


cdef void update_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Advance the pieces of one unit."""
    cdef const Step *s = <const Step *>job
    cdef Py_ssize_t p
    for p in range(s.units[unit], s.units[unit + 1]):
        if s.tensors[s.pieces[p].tensor].span.grad:
            update_piece(s, &s.pieces[p])


cdef void sum_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Sum over the gradients of one unit, piece by piece."""
    cdef const Step *s = <const Step *>job
    cdef const Tensor *tensor
    cdef const char *grad
    cdef Py_ssize_t p, n
    for p in range(s.units[unit], s.units[unit + 1]):
        tensor, n = &s.tensors[s.pieces[p].tensor], s.pieces[p].n
        grad = <const char *>tensor.span.grad + bytes_of(tensor, s.pieces[p].start)
        if not tensor.span.grad:
            s.sums[p] = 0.0
        elif is_half(tensor.dtype):
            s.sums[p] = table.kernels[FR_FLOAT32].half_sum[0](
                grad, n, s.scale, s.summed, tensor.dtype)
        else:
            s.sums[p] = table.kernels[tensor.dtype].sum[s.summed](grad, n, s.scale)


cdef double sum_gradients(Step *job, int what, Py_ssize_t n_units, Py_ssize_t n_pieces,
                          Py_ssize_t nbytes) noexcept nogil:
    """A sum over all gradients, piece after piece."""
    cdef double total = 0
    cdef Py_ssize_t p
    job.summed = what
    fr_run_tasks(sum_unit, job, n_units, nbytes, job.asked, False)
    for p in range(n_pieces):
        total += job.sums[p]
    return total


cdef bint measure_gradients(Step *job, Py_ssize_t n_units, Py_ssize_t n_pieces, Py_ssize_t nbytes,
                            double clip_norm, double more, double *norm) noexcept nogil:
    """Their norm, and in ``job`` the factors that clip it where it counts as ``more`` larger;
    whether all are finite. If not, the job's sums say where."""
    cdef double total, nonfinite = 0.0, unit = 1.0
    total = sum_gradients(job, FR_SUM_scaled_squares, n_units, n_pieces, nbytes)
    if not total < HUGE_VAL:
        nonfinite = sum_gradients(job, FR_SUM_nonfinite, n_units, n_pieces, nbytes)
        if nonfinite == 0:  # float64 gradients beyond 1e154
            unit = 2.0**-540
    elif total < 1e-280:  # or so small that their squares lose digits
        unit = 2.0**540
    if unit != 1.0:
        job.scale = unit
        total = sum_gradients(job, FR_SUM_scaled_squares, n_units, n_pieces, nbytes)
    job.scale = 1.0
    norm[0] = sqrt(total) / unit
    if nonfinite:
        return False
    clip_to(job, clip_norm, sqrt(total) + more * unit, unit)
    return True


cdef void clip_to(Step *job, double clip_norm, double root, double unit) noexcept nogil:
    """Leave in ``job`` the factors that clip a norm of ``root / unit``."""
    cdef double scale
    if clip_norm and clip_norm * unit < root:
        scale = clip_norm / root * max(unit, 1.0)
        unit = min(unit, 1.0)
        if unit == 1.0 and scale < 1e-30:  # a factor that float32, or even float64, cannot hold
            unit = 2.0**-60 if scale > 1e-280 else 2.0**-540
            scale = clip_norm / unit / root
        job.scale, job.unit = scale, unit
