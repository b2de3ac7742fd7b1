/* Rows whose values or gradients are near the ends of the range, where sums of `real` would leave
 * it: the same statistics, forward and backward in double, for one row at a time and in no hurry.
 * Deviations are taken in halves, which cannot overflow, and squared in a unit, a power of two.
 *
 * A row is `channels` runs of `run` elements, as in rownorm_tmpl.h.
 */

/* Whether all of a row's sums are far from the ends. */
FR_INLINE int plain_row(const double *statistics)
{
    return fr_is_plain(statistics[0], statistics[1], sizeof(real) == sizeof(float));
}

/* Whether sums of gradients are: 0, or of middling size. */
FR_INLINE int plain_sums(double sum, double dot)
{
    return fr_plain_sums(sum, dot, sizeof(real) == sizeof(float));
}

static void extreme_statistics(double *statistics, const real *x, ptrdiff_t n, double epsilon,
                               int centred)
{
    const double share = 1.0 / (double)n, origin = centred ? 0.5 * (double)x[0] : 0.0;
    double mean = 0, rest = 0, top = 0, squares = 0;
    int power;
    for (ptrdiff_t i = 0; centred && i < n; i++)
        mean += (0.5 * (double)x[i] - origin) * share;
    for (ptrdiff_t i = 0; centred && i < n; i++)
        rest += ((0.5 * (double)x[i] - origin) - mean) * share;
    mean += rest;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double size = fabs((0.5 * (double)x[i] - origin) - mean);
        top = size > top ? size : top;
    }
    const double floor = 0.5 * sqrt(epsilon);
    (void)frexp(top > floor ? top : floor, &power);
    const double down = ldexp(1.0, -power), whole = 0.5 * down;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double d = ((0.5 * (double)x[i] - origin) - mean) * down;
        squares += d * d * share;
    }
    statistics[0] = 2.0 * (origin + mean);
    statistics[1] = whole / sqrt(squares + epsilon * whole * whole);
}

FR_INLINE double extreme_unit(real x, const double *statistics)
{
    return (0.5 * (double)x - 0.5 * statistics[0]) * statistics[1] * 2.0;
}

/* y = (x - mean) * inv_std * gamma + beta. */
static void extreme_forward(sink *sink, const real *x, const double *statistics,
                            ptrdiff_t channels, ptrdiff_t run, const real *gamma,
                            const real *beta)
{
    for (ptrdiff_t c = 0; c < channels; c++)
        for (ptrdiff_t i = 0; i < run; i++, x++)
            *sink_next(sink, 1) =
                (real)(extreme_unit(*x, statistics) * (double)gamma[c] + (double)beta[c]);
}

/* sum dy and sum dy * (x - mean). */
static void extreme_dots(double *sum, double *dot, const real *dy, const real *x, ptrdiff_t n,
                         double mean)
{
    *sum = *dot = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        *sum += (double)dy[i];
        *dot += (double)dy[i] * ((double)x[i] - mean);
    }
}

/* dx of one row, and what it adds to dgamma and dbeta. */
static void extreme_backward(sink *sink, double *dgamma, double *dbeta, const real *dy,
                             const real *x, const double *statistics, const real *gamma,
                             ptrdiff_t channels, ptrdiff_t run, int centred)
{
    const double share = 1.0 / (double)(channels * run);
    double sum = 0, dot = 0;
    for (ptrdiff_t k = 0; k < channels * run; k++) {
        const double unit = extreme_unit(x[k], statistics), d = (double)dy[k];
        dbeta[k / run] += d;
        dgamma[k / run] += d * unit;
        sum += centred ? d * share * (double)gamma[k / run] : 0.0;
        dot += d * share * (double)gamma[k / run] * unit;
    }
    for (ptrdiff_t k = 0; k < channels * run; k++) {
        const double g = (double)dy[k] * (double)gamma[k / run];
        *sink_next(sink, 1) =
            (real)(((g - sum) - extreme_unit(x[k], statistics) * dot) * statistics[1]);
    }
}
