# Steps of rules whose rate is each tensor's own (csrc/layerwise_tmpl.h): the norms of every tensor
# and of its step first, then the step.
#
# From _halves: is_half; _tensor: draws_of, half_of_piece, Piece, span_of, Step, Tensor, update_span; _matrix: BLOCK.

cdef inline void measure_piece(const Step *s, const Piece *piece, const double *units, int again,
                               double *squares) noexcept nogil:
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_span span = span_of(tensor, piece)
    cdef fr_draws draws
    cdef fr_half half
    if is_half(tensor.dtype):
        draws, half = draws_of(s, piece), half_of_piece(s, piece)
        table.kernels[FR_FLOAT32].half_measure[0](
            &span, &s.scalars[tensor.row], &draws, &half, squares)
        return
    if tensor.bits and s.rule == FR_RULE_lamb:  # the others measure without their state
        draws = draws_of(s, piece)
        if tensor.bits == 8:
            table.kernels[FR_FLOAT32].measure_coded[0](
                &span, &s.scalars[tensor.row], &draws, squares)
        else:
            table.kernels[FR_FLOAT32].measure_narrow[0](
                &span, &s.scalars[tensor.row], &draws, squares)
        return
    table.kernels[tensor.dtype].measure[s.rule - FR_RULE_lamb](
        &span, &s.scalars[tensor.row], units, again, squares)


cdef void measure_again(const Step *s, const Piece *pieces, Py_ssize_t count,
                        double *squares) noexcept nogil:
    """Sums of squares as norms; those of float64 that left its range are taken in other units."""
    cdef double[2] units, part, total
    cdef Py_ssize_t p
    cdef int k
    cdef bint again = False
    for k in range(2):
        units[k] = 1.0
        total[k] = squares[k]
        if s.tensors[pieces.tensor].dtype == FR_FLOAT64 and not 1e-280 <= squares[k] < HUGE_VAL:
            units[k] = 2.0**540 if squares[k] < 1e-280 else 2.0**-540
            total[k] = 0.0
            again = True
    if again:
        for p in range(count):
            measure_piece(s, &pieces[p], units, True, part)
            for k in range(2):
                if units[k] != 1.0:
                    total[k] += part[k]
    for k in range(2):
        squares[k] = sqrt(total[k]) / units[k]


cdef void write_piece(const Step *s, const Piece *piece, const double *norms) noexcept nogil:
    cdef const Tensor *tensor = &s.tensors[piece.tensor]
    cdef fr_span span = span_of(tensor, piece)
    cdef fr_step own
    fr_trust(&own, &s.scalars[tensor.row], s.rule, norms[0], norms[1])
    update_span(s, piece, &span, &own)


cdef void whole_piece(const Step *s, const Piece *piece) noexcept nogil:
    """Advance a tensor of one piece."""
    cdef double[2] units, norms
    units[0] = units[1] = 1.0
    measure_piece(s, piece, units, False, norms)
    measure_again(s, piece, 1, norms)
    write_piece(s, piece, norms)


cdef void measure_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Advance the tensors of one piece, and measure the pieces of the others."""
    cdef const Step *s = <const Step *>job
    cdef const Tensor *tensor
    cdef Py_ssize_t p
    cdef double[2] units
    units[0] = units[1] = 1.0
    for p in range(s.units[unit], s.units[unit + 1]):
        tensor = &s.tensors[s.pieces[p].tensor]
        if not tensor.span.grad:
            continue
        if tensor.span.n <= BLOCK:
            whole_piece(s, &s.pieces[p])
        else:
            measure_piece(s, &s.pieces[p], units, False, &s.sums[2 * p])


cdef void write_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Write the pieces of the tensors that have several; the norms are with the first piece."""
    cdef const Step *s = <const Step *>job
    cdef const Tensor *tensor
    cdef Py_ssize_t p
    for p in range(s.units[unit], s.units[unit + 1]):
        tensor = &s.tensors[s.pieces[p].tensor]
        if tensor.span.grad and tensor.span.n > BLOCK:
            write_piece(s, &s.pieces[p], &s.sums[2 * (p - s.pieces[p].start // BLOCK)])


cdef void step_layerwise(const Step *s, Py_ssize_t n_units, Py_ssize_t n_pieces,
                         Py_ssize_t nbytes) noexcept nogil:
    """Take a step of such a rule over all pieces. ``sums``: two per piece."""
    cdef Py_ssize_t p = 0, q, count
    cdef bint several = False
    fr_run_tasks(measure_unit, s, n_units, nbytes, s.asked, False)
    while p < n_pieces:
        count = (s.tensors[s.pieces[p].tensor].span.n + BLOCK - 1) // BLOCK
        if count > 1 and s.tensors[s.pieces[p].tensor].span.grad:
            several = True
            for q in range(p + 1, p + count):
                s.sums[2 * p] += s.sums[2 * q]
                s.sums[2 * p + 1] += s.sums[2 * q + 1]
            measure_again(s, &s.pieces[p], count, &s.sums[2 * p])
        p += count
    if several:
        fr_run_tasks(write_unit, s, n_units, nbytes, s.asked, True)
