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
    x = x < -1024 ? (real)-1024 : x;
    return x > 1024 ? (real)1024 : x;
}

/* e / (1 + e) for negative x, as e - e (e / (1 + e)), where e may be subnormal. */
FR_INLINE real at_sigmoid(real x)
{
    const real e = FN(exp)(-FABS(x)), share = (x >= 0 ? (real)1 : e) / ((real)1 + e);
    return x >= 0 ? share : e - e * share;
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
    const real first = FN(exp_parts)((real)-2 * FABS(x), &last), sum = (real)1 + first * last;
    return first / (sum * sum) * dy * ((real)4 * last);
}

/* e / (1 + e)^2 with e = exp(-|x|). */
FR_INLINE real times_sigmoid(real dy, real x)
{
    real last;
    const real first = FN(exp_parts)(-FABS(x), &last), sum = (real)1 + first * last;
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

FR_INLINE void activate(void *y, const real *dy, const real *x, ptrdiff_t n, int stream, at *at,
                        times *times)
{
    const ptrdiff_t run = stream ? FR_PANEL_RUN : n;
    sink sink;
    sink_open(&sink, y, stream);
    for (ptrdiff_t begin = 0; begin < n; begin += run) {
        const ptrdiff_t left = n - begin, here = left < run ? left : run;
        const real *from = x + begin, *dfrom = dy + (at ? 0 : begin);
        real *to = sink_next(&sink, here);
        if (at) {
            FR_ELEMENTWISE
            for (ptrdiff_t i = 0; i < here; i++)
                to[i] = at(from[i]);
        } else {
            FR_ELEMENTWISE
            for (ptrdiff_t i = 0; i < here; i++)
                to[i] = times(dfrom[i], from[i]);
        }
    }
    sink_close(&sink);
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
