# The slots of one parameter's state. State in fewer bits is bfloat16, as uint16, or a byte per number
# (csrc/coded_tmpl.h), whose blocks have scales beside them: an array of int16 for each slot of a
# parameter, which lies in C order.
#
# From _arrays: same_layout; _halves: is_half, param_row.

cdef inline bint is_narrow(const char *kinds, Py_ssize_t k) noexcept:
    """Whether slot k is kept in fewer bits; averages, which come after the slots, never are."""
    return kinds != NULL and k < <Py_ssize_t>strlen(kinds) and kinds[k] != c"f"


cdef inline bint is_unsigned(int rule, Py_ssize_t k) noexcept:
    """Whether a slot has no sign, where it is kept in a byte."""
    return fr_rules[rule].kinds[k] == c"d" or k == fr_rules[rule].watched


cdef object half_of(double number):
    """A number of at least 0 as the bits of the nearest bfloat16."""
    bits = np.float32(number).view(np.uint32)
    return (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)


cdef tuple bytes_of_floats(cnp.ndarray floats, bint unsign):
    """Codes of the nearest numbers of an array in C order, and their scales."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(floats)
    cdef cnp.ndarray codes = np.empty_like(floats, np.uint8, subok=False)
    cdef cnp.ndarray scales = np.empty((n + FR_CODED_BLOCK - 1) // FR_CODED_BLOCK, np.int16)
    table.kernels[FR_FLOAT32].encode_slot[0](
        <uint8_t *>cnp.PyArray_DATA(codes), <int16_t *>cnp.PyArray_DATA(scales),
        <const float *>cnp.PyArray_DATA(floats), n, unsign)
    return codes, scales


cdef cnp.ndarray floats_of_bytes(cnp.ndarray codes, cnp.ndarray scales, bint unsign):
    """The numbers that codes in C order stand for."""
    cdef cnp.ndarray floats = np.empty_like(codes, np.float32, subok=False)
    table.kernels[FR_FLOAT32].decode_slot[0](
        <float *>cnp.PyArray_DATA(floats), <const uint8_t *>cnp.PyArray_DATA(codes),
        <const int16_t *>cnp.PyArray_DATA(scales), cnp.PyArray_SIZE(codes), unsign)
    return floats


cdef tuple first_bytes(object like, double number, bint unsign):
    """Codes of one number in the shape of an array, and their scales."""
    cdef object codes, scales, code, scale
    codes = np.zeros_like(like, np.uint8, subok=False)
    scales = np.zeros((<Py_ssize_t>codes.size + FR_CODED_BLOCK - 1) // FR_CODED_BLOCK, np.int16)
    if number and codes.size:
        code, scale = bytes_of_floats(np.full(1, number, np.float32), unsign)
        codes.fill(code[0])
        scales.fill(scale[0])
    return codes, scales


cdef tuple coded_slot(str where, object name, object param, object state, object scales,
                      double initial, bint unsign):
    """A slot in 8 bits, and its scales: new, or what is known of it. Both arrays are in C order."""
    if state is None:
        return first_bytes(param, initial, unsign)
    check_state(where, name, param, state, np.dtype(np.uint8))
    if same_layout(<cnp.ndarray>state, <cnp.ndarray>param):
        return state, scales
    moved = np.empty_like(param, np.uint8, subok=False)
    moved[...] = state
    return moved, scales


cdef object state_of(str where, object name, object param, object state, object initial,
                     bint halved):
    """A slot in the parameter's layout: new, or what is known of it."""
    half = is_half(param_row(param))
    dtype = np.uint16 if halved else np.float32 if half else param.dtype
    if state is None and initial is None:
        return np.array(param, dtype, order="K", copy=True, subok=False)
    if state is None and initial == 0:
        return np.zeros_like(param, dtype, subok=False)
    if state is None:
        return np.full_like(param, half_of(initial) if halved else initial, dtype, subok=False)
    check_state(where, name, param, state, dtype)
    if same_layout(<cnp.ndarray>state, <cnp.ndarray>param):
        return state
    moved = np.empty_like(param, dtype, subok=False)
    moved[...] = state
    return moved


cdef check_state(str where, object name, object param, object state, object dtype):
    if not isinstance(state, cnp.ndarray):
        raise TypeError(f"{where}: the state of params[{name!r}] must be an array, got {type(state)}")
    if state.shape != param.shape or state.dtype != dtype:
        raise ValueError(
            f"{where}: params[{name!r}] must keep shape {state.shape} and dtype {state.dtype}, got "
            f"{param.shape} and {param.dtype}; use a new optimizer"
        )
