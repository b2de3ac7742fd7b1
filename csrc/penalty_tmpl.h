/* Weight penalties: sums of a term over the elements of a span, and element-wise results.
 *
 * A sum runs in FR_SUM_LANES lanes of double, element i in lane i % FR_SUM_LANES, and the lanes
 * are added up by halves: one order whatever the vector width. The square of a float is exact in
 * double and a block's sum is good to 1e-12 of its size. Doubles have no such room, so each lane
 * keeps what rounding took from it (Knuth's two-sum; no term is below 0, so nothing cancels).
 * Plain sums go without: counts, which are exact, and the norm that gradients are clipped by.
 *
 * Bytes per element in float32: sums 4, maps 8. y may be x.
 */
FR_INLINE void add(double *sum, double *rest, double term, const int plain)
{
    const double total = *sum + term;
    if (sizeof(real) == sizeof(double) && !plain) {
        const double part = total - *sum;
        *rest += (*sum - (total - part)) + (term - part);
    }
    *sum = total;
}

typedef double term(real x, double number);

FR_INLINE double term_abs(real x, double number)
{
    (void)number;
    return fabs((double)x);
}

FR_INLINE double term_squares(real x, double number)
{
    (void)number;
    return (double)x * (double)x;
}

FR_INLINE double term_scaled_squares(real x, double number)
{
    const double scaled = number * (double)x;
    return scaled * scaled;
}

FR_INLINE double term_near_zero(real x, double number)
{
    const double bound = (double)(real)number; /* 0 below the type's range, where zeros count */
    return fabs((double)x) < (bound > 0 ? bound : number) ? 1.0 : 0.0;
}

FR_INLINE double term_zeros(real x, double number)
{
    (void)number;
    return x == 0 ? 1.0 : 0.0;
}

FR_INLINE double term_nonfinite(real x, double number)
{
    (void)number;
    return x - x == 0 ? 0.0 : 1.0;
}

/* Inlined once per term, with `term` and `plain` constant. */
FR_INLINE double sum_span(const real *x, ptrdiff_t n, double number, term *term, const int plain)
{
    double sum[FR_SUM_LANES] = {0}, rest[FR_SUM_LANES] = {0};
    ptrdiff_t i = 0;
    for (; i + FR_SUM_LANES <= n; i += FR_SUM_LANES)
        for (int k = 0; k < FR_SUM_LANES; k++)
            add(&sum[k], &rest[k], term(x[i + k], number), plain);
    for (int k = 0; i + k < n; k++)
        add(&sum[k], &rest[k], term(x[i + k], number), plain);
    for (int half = FR_SUM_LANES / 2; half; half /= 2)
        for (int k = 0; k < half; k++) {
            rest[k] += rest[k + half];
            add(&sum[k], &rest[k], sum[k + half], plain);
        }
    return fr_total(sum[0], rest[0]);
}

#define FR_DEFINE_SUM(name, plain)                                                               \
    static double sum_##name(const void *x, ptrdiff_t n, double number)                          \
    {                                                                                            \
        return sum_span(x, n, number, term_##name, plain);                                       \
    }
FR_SUMS(FR_DEFINE_SUM)
#undef FR_DEFINE_SUM

typedef real result(real x, real a, real b);

/* a sign(x), with sign(0) = 0 and sign(NaN) = NaN. */
FR_INLINE real l1(real x, real a, real b)
{
    (void)b;
    return a * (x > 0 ? (real)1 : x < 0 ? (real)-1 : x == 0 ? (real)0 : x);
}

/* 0, whatever x: the gradient of a penalty of strength 0. */
FR_INLINE real zero(real x, real a, real b)
{
    (void)x, (void)a, (void)b;
    return 0;
}

FR_INLINE real l2(real x, real a, real b)
{
    (void)a;
    return b * x;
}

FR_INLINE real elastic(real x, real a, real b)
{
    return l1(x, a, b) + l2(x, a, b);
}

/* The proximal operator of a |x|: x less what of it lies within [-a, a]. */
FR_INLINE real soft(real x, real a, real b)
{
    (void)b;
    const real below = x > a ? a : x;
    return x - (below < -a ? -a : below);
}

/* That of a |x| + (b - 1) x^2 / 2. */
FR_INLINE real prox(real x, real a, real b)
{
    return soft(x, a, b) / b;
}

FR_INLINE void map_span(void *y, const real *x, ptrdiff_t n, double a_, double b_, int stream,
                        result *result)
{
    const real a = (real)a_, b = (real)b_;
    const ptrdiff_t run = stream ? FR_PANEL_RUN : n;
    sink sink;
    sink_open(&sink, y, stream);
    for (ptrdiff_t begin = 0; begin < n; begin += run, x += run) {
        const ptrdiff_t left = n - begin, here = left < run ? left : run;
        real *to = sink_next(&sink, here);
        FR_ELEMENTWISE
        for (ptrdiff_t i = 0; i < here; i++)
            to[i] = result(x[i], a, b);
    }
    sink_close(&sink);
}

#define FR_DEFINE_MAP(result)                                                                    \
    static void map_##result(void *y, const void *x, ptrdiff_t n, double a, double b,            \
                             int stream)                                                         \
    {                                                                                            \
        map_span(y, x, n, a, b, stream, result);                                                 \
    }
FR_MAPS(FR_DEFINE_MAP)
#undef FR_DEFINE_MAP

/* The same sums down the columns of a panel, rows in groups of four. */
static void column_squares(double *squares, const void *x_, fr_panel panel)
{
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    double rest[FR_PANEL_COLS];
    ptrdiff_t r = 0;
    for (ptrdiff_t c = 0; c < cols; c++)
        squares[c] = rest[c] = 0;
    for (; r + 4 <= panel.rows; r += 4) {
        const real *p = (const real *)x_ + r * stride, *q = p + stride;
        const real *s = q + stride, *t = s + stride;
        for (ptrdiff_t c = 0; c < cols; c++)
            add(&squares[c], &rest[c],
                (term_squares(p[c], 1.0) + term_squares(q[c], 1.0)) +
                    (term_squares(s[c], 1.0) + term_squares(t[c], 1.0)),
                0);
    }
    for (; r < panel.rows; r++) {
        const real *p = (const real *)x_ + r * stride;
        for (ptrdiff_t c = 0; c < cols; c++)
            add(&squares[c], &rest[c], term_squares(p[c], 1.0), 0);
    }
    for (ptrdiff_t c = 0; c < cols; c++)
        squares[c] = fr_total(squares[c], rest[c]);
}

/* y = x * factor, one factor per column. */
static void scale_columns(void *y_, const void *x_, fr_panel panel, const double *factors)
{
    const ptrdiff_t cols = panel.cols;
    real factor[FR_PANEL_COLS];
    for (ptrdiff_t c = 0; c < cols; c++)
        factor[c] = (real)factors[c];
    for (ptrdiff_t r = 0; r < panel.rows; r++) {
        const real *x = (const real *)x_ + r * panel.stride;
        real *y = (real *)y_ + r * panel.stride;
        FR_ELEMENTWISE
        for (ptrdiff_t c = 0; c < cols; c++)
            y[c] = factor[c] * x[c];
    }
}
