/* Functions of one element, each in one pass: 8 bytes per element in float, 12 for a slope.
 *
 * Slopes are computed from x again and from exponentials of what is not positive, which neither
 * overflow nor cancel. An exponential's last factor, a power of two, is applied at the very end,
 * so that x e^-u keeps its digits where e^-u alone is subnormal. The exponents of both GELU have
 * more digits than the element type (wide.h, gelu.h): tails are good to a few ulp.
 */
#define FR_ELEMENTARY(name)                                                                      \
    FR_INLINE real at_##name(real x)                                                             \
    {                                                                                            \
        return FN(name)(x);                                                                      \
    }
FR_ELEMENTARY(exp)
FR_ELEMENTARY(log)
FR_ELEMENTARY(log1p)
FR_ELEMENTARY(tanh)
FR_ELEMENTARY(erf)
#undef FR_ELEMENTARY

/* Beyond +-1024 every gate is 0 or 1. */
FR_INLINE real saturated(real x)
{
    x = FN(choose)(x < -1024, (real)-1024, x);
    return FN(choose)(x > 1024, (real)1024, x);
}

/* With e = exp(-|x|): 1 / (1 + e), or e - e (e / (1 + e)) for negative x. Here e is in units of
 * 1 / ONE, in which it is normal down to where it is 0. */
FR_INLINE real at_sigmoid(real x)
{
    const real a = -FABS(x), least = EXP_LEAST;
    const real e = FN(exp_times)(FN(choose)(a < least, least, a), EXP_POWER);
    const real share = FN(choose)(x >= 0, ONE, e) / (ONE + e);
    return FN(choose)(x >= 0, share, (e - e * share) * ((real)1 / ONE));
}

FR_INLINE real at_gelu(real x)
{
    return FN(gelu)(x);
}

FR_INLINE real at_normal_gelu(real x)
{
    real last;
    const real a = FABS(saturated(x)), first = FN(exp_square)(a, &last);
    const real tail = (real)0.5 * FN(mills)(a) * first; /* Phi(-a) but for the last factor */
    return x >= 0 ? x * ((real)1 - tail * last) : -a * tail * last;
}

/* 4 e / (1 + e)^2 with e = exp(-2 |x|). */
FR_INLINE real times_tanh(real dy, real x)
{
    real last;
    const real first = FN(exp_below)((real)-2 * FABS(x), &last), sum = (real)1 + first * last;
    return first / (sum * sum) * dy * ((real)4 * last);
}

/* e / (1 + e)^2 with e = exp(-|x|). */
FR_INLINE real times_sigmoid(real dy, real x)
{
    real last;
    const real first = FN(exp_below)(-FABS(x), &last), sum = (real)1 + first * last;
    return first / (sum * sum) * dy * last;
}

FR_INLINE real times_gelu(real dy, real x)
{
    return FN(gelu_slope)(dy, x);
}

/* Phi(x) + x phi(x). */
FR_INLINE real times_normal_gelu(real dy, real x)
{
    real last;
    const real a = FABS(saturated(x)), first = FN(exp_square)(a, &last);
    /* Phi(-a) - a phi(a) but for the last factor; phi(0) = 0.3989... */
    const real tail = ((real)0.5 * FN(mills)(a) - a * (real)0.3989422804014327) * first;
    return (x >= 0 ? (real)1 - tail * last : tail) * dy * (x >= 0 ? (real)1 : last);
}

/* Inlined once per function, with `at` or `times` constant; `dy` is NULL for a function. */
typedef real at(real x);
typedef real times(real dy, real x);

FR_INLINE void activate_run(real *y, const real *dy, const real *x, ptrdiff_t n, at *at,
                            times *times)
{
    n = whole_registers(n);
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] = at ? at(x[i]) : times(dy[i], x[i]);
}

/* Streams in runs of a few registers, so that memory takes in one run while the next is computed:
 * a longer run would be computed first and written then, one waiting for the other. */
FR_INLINE void activate(void *y_, const real *dy, const real *x, ptrdiff_t n, int stream, at *at,
                        times *times)
{
    enum { RUN = 256 / sizeof(real) };
    _Alignas(64) real done[RUN], last_x[GRAIN], last_dy[GRAIN];
    real *y = y_;
    stream = stream && (uintptr_t)y % FR_STREAMED == 0;
    for (ptrdiff_t i = 0, here; i < n; i += here) {
        const ptrdiff_t left = n - i;
        const int streams = stream && left >= RUN, is_rest = left < GRAIN;
        const real *from = is_rest ? register_of(last_x, x, i, (int)left) : x + i;
        const real *by = at ? NULL : is_rest ? register_of(last_dy, dy, i, (int)left) : dy + i;
        here = streams ? RUN : is_rest ? GRAIN : whole_registers(left);
        activate_run(streams || is_rest ? done : y + i, by, from, here, at, times);
        if (streams)
            fr_stream_aligned((char *)(y + i), (const char *)done, sizeof done);
        else if (is_rest)
            give_back(y, i, done, (int)left);
    }
    if (stream)
        fr_stream_end();
}

#define FR_DEFINE_FUNCTION(name)                                                                 \
    static void function_##name(void *y, const void *x, ptrdiff_t n, int stream)                 \
    {                                                                                            \
        activate(y, NULL, x, n, stream, at_##name, NULL);                                        \
    }
#define FR_DEFINE_SLOPE(name)                                                                    \
    static void slope_##name(void *dx, const void *dy, const void *x, ptrdiff_t n, int stream)   \
    {                                                                                            \
        activate(dx, dy, x, n, stream, NULL, times_##name);                                      \
    }
FR_FUNCTIONS(FR_DEFINE_FUNCTION)
FR_SLOPES(FR_DEFINE_SLOPE)
#undef FR_DEFINE_FUNCTION
#undef FR_DEFINE_SLOPE
