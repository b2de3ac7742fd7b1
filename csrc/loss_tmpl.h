/* Losses and their gradients: rows against labels, elements against targets.
 *
 * Each works through runs that stay in L1, so it crosses memory once: 8 bytes per element in
 * float against labels, 12 against targets. Sums have eight lanes, lane j taking entries j, j +
 * 8, ...; those of losses are in double.
 */

enum { SUM_LANES = 8 };

FR_INLINE real row_max(const real *x, ptrdiff_t n)
{
    real most = x[0];
    for (ptrdiff_t k = 1; k < n; k++)
        most = x[k] > most ? x[k] : most;
    return most;
}

FR_INLINE real row_sum(const real *x, ptrdiff_t n)
{
    real lane[SUM_LANES] = {0};
    ptrdiff_t k = 0;
    for (; k + SUM_LANES <= n; k += SUM_LANES)
        for (int j = 0; j < SUM_LANES; j++)
            lane[j] += x[k + j];
    for (int j = 0; k < n; k++, j++)
        lane[j] += x[k];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* sum (z - most), in halves that cannot overflow. */
FR_INLINE double half_sum(const real *z, ptrdiff_t n, real most)
{
    double sum = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        sum += 0.5 * (double)z[k] - 0.5 * (double)most;
    return sum;
}

/* The first place of 1, a row's largest exponential; some place where there is NaN. */
FR_INLINE ptrdiff_t place_of(const real *exponentials, ptrdiff_t n)
{
    ptrdiff_t k = 0;
    while (k < n - 1 && exponentials[k] != 1)
        k++;
    return k;
}

/* Softmax cross-entropy, row by row, in runs that stay in L1. With targets q = (1 - smoothing)
 * onehot + smoothing / K, the loss of a row is log sum exp z - sum q z and its gradient
 * softmax(z) - q; both are multiplied by the row's share. The largest exponential is 1 and left
 * out of the sum, so that what the others add to it keeps its digits: the loss of a sure row, and
 * its gradient 1 - p, do not round to 0. */
static void cross_entropy(void *dz_, double *loss, const void *z_, const int64_t *labels,
                          const double *shares, double share, double smoothing, ptrdiff_t rows,
                          ptrdiff_t cols)
{
    const real *z = z_;
    real *dz = dz_;
    const ptrdiff_t together = cols < FR_PANEL_RUN ? FR_PANEL_RUN / cols : 1;
    const double off = smoothing / (double)cols, on = 1.0 - smoothing;
    double value = 0, logs[FR_PANEL_RUN];
    for (ptrdiff_t begin = 0; begin < rows; begin += together) {
        const ptrdiff_t left = rows - begin, here = left < together ? left : together;
        const real *run = z + begin * cols;
        real *drun = dz + begin * cols;
        for (ptrdiff_t r = 0; r < here; r++) {
            const real *row = run + r * cols;
            if (labels[begin + r] < 0) {
                for (ptrdiff_t k = 0; k < cols; k++)
                    drun[r * cols + k] = 0;
                continue;
            }
            const real most = row_max(row, cols);
            double target = (0.5 * (double)row[labels[begin + r]] - 0.5 * (double)most) * on;
            for (ptrdiff_t k = 0; k < cols; k++)
                drun[r * cols + k] = row[k] - most;
            if (off != 0)
                target += half_sum(row, cols, most) * off;
            value -= target * (2.0 * (shares ? shares[begin + r] : share));
        }
        for (ptrdiff_t i = 0; i < here * cols; i++)
            drun[i] = FN(exp)(drun[i]);
        for (ptrdiff_t r = 0; r < here; r++) {
            real *row = drun + r * cols;
            const double weight = shares ? shares[begin + r] : share, q = on + off;
            const ptrdiff_t label = labels[begin + r];
            if (label < 0) {
                for (ptrdiff_t k = 0; k < cols; k++)
                    row[k] = 0;
                logs[r] = 0;
                continue;
            }
            const ptrdiff_t peak = place_of(row, cols);
            const double top = (double)row[peak], at_label = (double)row[label];
            row[peak] = 0;
            const double rest = (double)row_sum(row, cols) + (top - 1.0), sum = 1.0 + rest;
            const real factor = (real)(weight / sum), even = (real)(weight * off);
            row[peak] = (real)top;
            for (ptrdiff_t k = 0; k < cols; k++)
                row[k] = row[k] * factor - even;
            row[label] = (real)(label == peak ? weight * (((1.0 - q) - q * rest) / sum)
                                              : weight * (at_label / sum - q));
            logs[r] = rest;
        }
        FR_ELEMENTWISE
        for (ptrdiff_t r = 0; r < here; r++)
            logs[r] = log1p_f64(logs[r]);
        for (ptrdiff_t r = 0; r < here; r++)
            value += logs[r] * (shares ? shares[begin + r] : share);
    }
    *loss = value;
}

/* The same against shares q = a t + b of every class, whose sum need not be 1: the loss of a row
 * is sum q log sum exp z - sum q z, its gradient sum q softmax(z) - q. A class without a share
 * adds nothing, even at minus infinity. */
static void soft_cross_entropy(void *dz_, double *loss, const void *z_, const void *t_,
                               const double *shares, double share, double a, double b,
                               ptrdiff_t rows, ptrdiff_t cols)
{
    const real *z = z_, *t = t_;
    real *dz = dz_;
    double value = 0;
    for (ptrdiff_t r = 0; r < rows; r++, z += cols, t += cols, dz += cols) {
        const double weight = shares ? shares[r] : share;
        const real most = row_max(z, cols);
        double target = 0, total = 0;
        for (ptrdiff_t k = 0; k < cols; k++) {
            const double q = (double)t[k] * a + b, far = 0.5 * (double)z[k] - 0.5 * (double)most;
            target += q != 0 ? far * q : 0;
            total += q;
        }
        FR_ELEMENTWISE
        for (ptrdiff_t k = 0; k < cols; k++)
            dz[k] = FN(exp)(z[k] - most);
        const ptrdiff_t peak = place_of(dz, cols);
        const double top = (double)dz[peak], at_peak = (double)t[peak] * a + b;
        dz[peak] = 0;
        const double rest = (double)row_sum(dz, cols) + (top - 1.0), sum = 1.0 + rest;
        const double factor = total / sum;
        for (ptrdiff_t k = 0; k < cols; k++)
            dz[k] = (real)(weight * ((double)dz[k] * factor - ((double)t[k] * a + b)));
        dz[peak] = (real)(weight * (((total - at_peak) - at_peak * rest) / sum));
        value += (total * log1p_f64(rest) - 2.0 * target) * weight;
    }
    *loss = value;
}

/* exp(z - most), row by row, divided by its sum. */
static void softmax(void *y_, const void *z_, ptrdiff_t rows, ptrdiff_t cols)
{
    for (ptrdiff_t r = 0; r < rows; r++) {
        const real *z = (const real *)z_ + r * cols;
        real *y = (real *)y_ + r * cols;
        const real most = row_max(z, cols);
        FR_ELEMENTWISE
        for (ptrdiff_t k = 0; k < cols; k++)
            y[k] = FN(exp)(z[k] - most);
        const real sum = row_sum(y, cols);
        for (ptrdiff_t k = 0; k < cols; k++)
            y[k] /= sum;
    }
}

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
