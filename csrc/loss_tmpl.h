/* Losses of elements and their gradients: outputs against targets.
 *
 * Each works through runs that stay in L1, so it crosses memory once: 12 bytes per element in
 * float. Sums have eight lanes as those of softmax_tmpl.h, in double.
 */

/* A loss of one output z and its target t, and the derivative by z. What a and b are is the
 * loss's own matter. */
typedef void point_loss(double *loss, real *dz, real z, real t, double a, double b);

/* |z| (1 - t or t) + log(1 + e) with e = exp(-|z|), the first where z >= 0; the target is a t +
 * b. The derivative is ((1 - t) - t e) / (1 + e), mirrored where z is negative: no difference of
 * almost equal numbers, so a probability of 1e-30 keeps its digits. */
FR_INLINE void point_binary(double *loss, real *dz, real z, real t, double a, double b)
{
    t = t * (real)a + (real)b;
    const real size = FABS(z), e = FN(exp)(-size), other = (real)1 - t;
    const real away = z >= 0 ? other : t, near = z >= 0 ? t : other;
    const real slope = (away - near * e) / ((real)1 + e);
    *loss = (double)(size * away + FN(log1p)(e));
    *dz = z >= 0 ? slope : -slope;
}

/* (z - t)^2; half its derivative. */
FR_INLINE void point_squared(double *loss, real *dz, real z, real t, double a, double b)
{
    const real d = z - t;
    (void)a, (void)b;
    *loss = (double)d * (double)d;
    *dz = d;
}

/* |z - t|; at 0 the derivative is 0. */
FR_INLINE void point_absolute(double *loss, real *dz, real z, real t, double a, double b)
{
    const real d = z - t;
    (void)a, (void)b;
    *loss = (double)FABS(d);
    *dz = d > 0 ? (real)1 : d < 0 ? (real)-1 : d;
}

/* d^2 / 2 up to |d| = a, a (|d| - a / 2) from there: m (|d| - m / 2) with m the smaller. */
FR_INLINE void point_huber(double *loss, real *dz, real z, real t, double a, double b)
{
    const real d = z - t, most = (real)a;
    const double size = (double)FABS(d), m = size < (double)most ? size : (double)most;
    (void)b;
    *loss = m * (size - 0.5 * m);
    *dz = d > most ? most : d < -most ? -most : d;
}

/* a (t - z) where z is too low, (1 - a) (z - t) where it is too high. */
FR_INLINE void point_quantile(double *loss, real *dz, real z, real t, double a, double b)
{
    const real d = z - t;
    (void)b;
    *loss = d > 0 ? (1.0 - a) * (double)d : -(a * (double)d);
    *dz = d > 0 ? (real)(1.0 - a) : d < 0 ? (real)-a : d;
}

/* e^z - t z: a Poisson distribution's, but for what the target alone says. */
FR_INLINE void point_poisson(double *loss, real *dz, real z, real t, double a, double b)
{
    const real mean = FN(exp)(z);
    (void)a, (void)b;
    *loss = t == 0 || mean - mean != 0 ? (double)mean : (double)mean - (double)t * (double)z;
    *dz = mean - t;
}

/* -w (1 - p)^a log p with p the probability of the target, 0 or 1; w is b where that is 1 and
 * 1 - b where it is 0, or 1 if b is negative. With u = z or -z, p = 1 / (1 + exp(-u)): the
 * derivative by u is -w (1 - p)^a (1 - p - a p log p), a sum of terms of one sign. In double. */
FR_INLINE void point_focal(double *loss, real *dz, real z, real t, double a, double b)
{
    const double u = t > 0 ? (double)z : -(double)z, size = fabs(u), e = exp_f64(-size);
    const double sum = 1.0 + e, rest = log1p_f64(e);
    const double right = (u > 0 ? 1.0 : e) / sum, wrong = (u > 0 ? e : 1.0) / sum;
    const double surprise = (u > 0 ? 0.0 : size) + rest, doubt = (u > 0 ? size : 0.0) + rest;
    const double weight = b < 0 ? 1.0 : t > 0 ? b : 1.0 - b;
    const double factor = weight * (a > 0 ? exp_f64(-(a * doubt)) : 1.0);
    /* Beyond 1000 `right` is 0, and infinity would make it NaN. */
    const double near = surprise > 1000.0 ? 1000.0 : surprise;
    const double slope = factor * (a * right * near + wrong);
    *loss = factor * surprise;
    *dz = (real)(t > 0 ? -slope : slope);
}

FR_INLINE double fold_losses(const double *x, ptrdiff_t n)
{
    double lane[SUM_LANES] = {0};
    ptrdiff_t k = 0;
    for (; k + SUM_LANES <= n; k += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            lane[j] += x[k + j];
    for (int j = 0; k < n; k++, j++)
        lane[j] += x[k];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* x *= factor, in double where the factor is too small for the type. */
FR_INLINE void scale_row(real *x, ptrdiff_t n, double factor)
{
    const real rounded = (real)factor;
    if (factor > 0 && rounded < SMALLEST)
        for (ptrdiff_t k = 0; k < n; k++)
            x[k] = (real)((double)x[k] * factor);
    else
        for (ptrdiff_t k = 0; k < n; k++)
            x[k] *= rounded;
}

/* Without shares everything is one row. */
FR_INLINE void point_rows(real *dz, double *loss, const real *z, const real *t,
                          const double *shares, double factor, double a, double b, ptrdiff_t rows,
                          ptrdiff_t cols, point_loss *point)
{
    double losses[FR_PANEL_RUN], value = 0;
    cols = shares ? cols : rows * cols;
    rows = shares ? rows : 1;
    const ptrdiff_t width = cols < FR_PANEL_RUN ? cols : FR_PANEL_RUN;
    const ptrdiff_t together = FR_PANEL_RUN / width;
    for (ptrdiff_t r = 0; r < rows; r += together)
        for (ptrdiff_t c = 0; c < cols; c += width) {
            const ptrdiff_t here = rows - r < together ? rows - r : together;
            const ptrdiff_t n = cols - c < width ? cols - c : width, first = r * cols + c;
            FR_ELEMENTWISE
            for (ptrdiff_t i = 0; i < here * n; i++)
                point(&losses[i], &dz[first + i], z[first + i], t[first + i], a, b);
            for (ptrdiff_t k = 0; k < here; k++) {
                const double share = shares ? shares[r + k] : 1.0;
                value += fold_losses(losses + k * n, n) * share;
                scale_row(dz + first + k * n, n, factor * share);
            }
        }
    *loss = value;
}

#define FR_DEFINE_POINT_LOSS(name)                                                               \
    static void loss_##name(void *dz, double *loss, const void *z, const void *t,                \
                            const double *shares, double factor, double a, double b,             \
                            ptrdiff_t rows, ptrdiff_t cols)                                      \
    {                                                                                            \
        point_rows(dz, loss, z, t, shares, factor, a, b, rows, cols, point_##name);              \
    }
FR_POINT_LOSSES(FR_DEFINE_POINT_LOSS)
#undef FR_DEFINE_POINT_LOSS
