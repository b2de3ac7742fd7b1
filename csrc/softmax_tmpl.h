/* Softmax of rows, and cross-entropy against labels or shares with its gradient.
 *
 * Each crosses memory once: 8 bytes per element in float, 12 against shares. Sums have eight
 * lanes, lane j taking entries j, j + 8, ...; those of losses are in double. Rows of few columns
 * would leave most of a register idle and wait for each of their elements in turn: they are
 * worked on from the side, many rows at once, with the bits that each has alone.
 */

enum {
    SUM_LANES = 8,
    SIDE = 16, /* rows of few columns that are turned on their side together */
    FEW = 64,  /* columns at most */
};

/* The largest element, of lanes that need not wait for each other; NaN where the first is. */
FR_INLINE real row_max(const real *x, ptrdiff_t n)
{
    real lane[SIDE], most = x[0];
    ptrdiff_t k = 0;
    for (int j = 0; j < SIDE; j++)
        lane[j] = most;
    for (; k + SIDE <= n; k += SIDE)
        for (int j = 0; j < SIDE; j++)
            lane[j] = x[k + j] > lane[j] ? x[k + j] : lane[j];
    for (; k < n; k++)
        most = x[k] > most ? x[k] : most;
    for (int j = 0; j < SIDE; j++)
        most = lane[j] > most ? lane[j] : most;
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

/* Rows of few columns on their side: element k of row r at [k * SIDE + r], so that what is done
 * to each row is done to SIDE of them at once, in the order it has in one. Rows that are not
 * there are zeros. */
FR_INLINE void turn_in(real *to, const real *rows, ptrdiff_t n, ptrdiff_t cols)
{
    for (ptrdiff_t r = 0; r < SIDE; r += WIDTH)
        turn_lines(to + r, SIDE, rows + r * cols, cols,
                   (int)(n - r < 0 ? 0 : at_most(WIDTH, n - r)), WIDTH, cols);
}

FR_INLINE void turn_out(real *rows, const real *from, ptrdiff_t n, ptrdiff_t cols)
{
    for (ptrdiff_t k = 0; k < cols; k += WIDTH) {
        const int here = (int)at_most(WIDTH, cols - k);
        turn_lines(rows + k, cols, from + k * SIDE, SIDE, here, here, n);
    }
}

/* The largest element of each. */
FR_INLINE void side_max(real *most, const real *z, ptrdiff_t cols)
{
    memcpy(most, z, SIDE * sizeof(real));
    for (ptrdiff_t k = 1; k < cols; k++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        most[r] = z[k * SIDE + r] > most[r] ? z[k * SIDE + r] : most[r];
}

/* e = exp(e - most). */
FR_INLINE void side_exp(real *e, const real *most, ptrdiff_t cols)
{
    for (ptrdiff_t k = 0; k < cols; k++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        e[k * SIDE + r] = FN(exp)(e[k * SIDE + r] - most[r]);
}

/* The sum of each as in row_sum, with 0 in place of the element at its peak. */
FR_INLINE void side_sum(real *sum, const real *e, const whole *peak, ptrdiff_t cols)
{
    real lane[SUM_LANES][SIDE];
    for (int j = 0; j < SUM_LANES; j++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        lane[j][r] = 0;
    for (ptrdiff_t k = 0; k < cols; k++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        lane[k % SUM_LANES][r] += (whole)k == peak[r] ? (real)0 : e[k * SIDE + r];
    FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        sum[r] = ((lane[0][r] + lane[4][r]) + (lane[2][r] + lane[6][r])) +
                 ((lane[1][r] + lane[5][r]) + (lane[3][r] + lane[7][r]));
}

/* What a row of the cross-entropy below leaves: its part of the loss beside log(1 + rest). */
typedef struct {
    double target, rest;
} row_loss;

/* `n` rows of it, at most SIDE, of few columns. */
FR_INLINE void side_entropy(real *dz, row_loss *losses, const real *z, const int64_t *labels,
                            const double *shares, double share, double on, double off,
                            ptrdiff_t n, ptrdiff_t cols)
{
    _Alignas(64) real e[FEW * SIDE], most[SIDE], sum[SIDE], top[SIDE], factor[SIDE], even[SIDE];
    _Alignas(64) whole peak[SIDE];
    double weight[SIDE], far[SIDE] = {0}, rest[SIDE], part[SIDE], is_peak[SIDE];
    const double q = on + off;
    turn_in(e, z, n, cols);
    side_max(most, e, cols);
    if (off != 0)
        for (ptrdiff_t k = 0; k < cols; k++)
            FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        far[r] += 0.5 * (double)e[k * SIDE + r] - 0.5 * (double)most[r];
    side_exp(e, most, cols);
    FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        peak[r] = (whole)(cols - 1);
    for (ptrdiff_t k = cols - 2; k >= 0; k--)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        peak[r] = e[k * SIDE + r] == 1 ? (whole)k : peak[r];
    side_sum(sum, e, peak, cols);
    FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++) {
        const ptrdiff_t row = r < n ? r : 0, label = labels[row] < 0 ? 0 : labels[row];
        weight[r] = shares ? shares[row] : share;
        top[r] = e[(ptrdiff_t)peak[r] * SIDE + r];
        part[r] = (double)e[label * SIDE + r];
        is_peak[r] = label == (ptrdiff_t)peak[r];
    }
    FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++) {
        rest[r] = (double)sum[r] + ((double)top[r] - 1.0);
        const double all = 1.0 + rest[r];
        part[r] = (is_peak[r] != 0 ? (1.0 - q) - q * rest[r] : part[r]) / all;
        factor[r] = (real)(weight[r] / all), even[r] = (real)(weight[r] * off);
    }
    for (ptrdiff_t k = 0; k < cols; k++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        e[k * SIDE + r] = e[k * SIDE + r] * factor[r] - even[r];
    turn_out(dz, e, n, cols);
    for (ptrdiff_t r = 0; r < n; r++) {
        const ptrdiff_t label = labels[r];
        if (label < 0) {
            memset(dz + r * cols, 0, (size_t)cols * sizeof(real));
            losses[r].rest = 0;
            continue;
        }
        const double target = (0.5 * (double)z[r * cols + label] - 0.5 * (double)most[r]) * on;
        losses[r] = (row_loss){off != 0 ? target + far[r] * off : target, rest[r]};
        dz[r * cols + label] = (real)(weight[r] * (is_peak[r] ? part[r] : part[r] - q));
    }
}

/* Softmax cross-entropy, row by row, in runs that stay in L1. With targets q = (1 - smoothing)
 * onehot + smoothing / K, the loss of a row is log sum exp z - sum q z and its gradient
 * softmax(z) - q; both are multiplied by the row's share. The largest exponential is 1 and left
 * out of the sum, so that what the others add to it keeps its digits: the loss of a sure row, and
 * its gradient 1 - p, do not round to 0. */
FR_INLINE void row_entropy(real *dz, row_loss *loss, const real *z, ptrdiff_t label,
                           double weight, double on, double off, ptrdiff_t cols)
{
    if (label < 0) {
        memset(dz, 0, (size_t)cols * sizeof(real));
        loss->rest = 0;
        return;
    }
    const real most = row_max(z, cols);
    loss->target = (0.5 * (double)z[label] - 0.5 * (double)most) * on;
    if (off != 0)
        loss->target += half_sum(z, cols, most) * off;
    FR_ELEMENTWISE
    for (ptrdiff_t k = 0; k < cols; k++)
        dz[k] = FN(exp)(z[k] - most);
    const ptrdiff_t peak = place_of(dz, cols);
    const double top = (double)dz[peak], at_label = (double)dz[label], q = on + off;
    dz[peak] = 0;
    const double rest = (double)row_sum(dz, cols) + (top - 1.0), sum = 1.0 + rest;
    const real factor = (real)(weight / sum), even = (real)(weight * off);
    dz[peak] = (real)top;
    for (ptrdiff_t k = 0; k < cols; k++)
        dz[k] = dz[k] * factor - even;
    dz[label] = (real)(label == peak ? weight * (((1.0 - q) - q * rest) / sum)
                                     : weight * (at_label / sum - q));
    loss->rest = rest;
}

static void cross_entropy(void *dz_, double *loss, const void *z_, const int64_t *labels,
                          const double *shares, double share, double smoothing, ptrdiff_t rows,
                          ptrdiff_t cols)
{
    const real *z = z_;
    real *dz = dz_;
    const ptrdiff_t together = cols < FR_PANEL_RUN ? FR_PANEL_RUN / cols : 1;
    const double off = smoothing / (double)cols, on = 1.0 - smoothing;
    double value = 0, logs[FR_PANEL_RUN];
    row_loss losses[FR_PANEL_RUN];
    for (ptrdiff_t begin = 0; begin < rows; begin += together) {
        const ptrdiff_t here = at_most(together, rows - begin);
        const ptrdiff_t step = cols <= FEW ? SIDE : 1;
        for (ptrdiff_t r = 0; r < here; r += step) {
            const ptrdiff_t row = begin + r, at = row * cols;
            if (cols <= FEW)
                side_entropy(dz + at, losses + r, z + at, labels + row,
                             shares ? shares + row : NULL, share, on, off,
                             at_most(SIDE, here - r), cols);
            else
                row_entropy(dz + at, losses + r, z + at, labels[row],
                            shares ? shares[row] : share, on, off, cols);
        }
        for (ptrdiff_t r = 0; r < here; r++) {
            if (labels[begin + r] >= 0)
                value -= losses[r].target * (2.0 * (shares ? shares[begin + r] : share));
            logs[r] = losses[r].rest;
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
FR_INLINE void side_softmax(real *y, const real *z, ptrdiff_t n, ptrdiff_t cols)
{
    _Alignas(64) real e[FEW * SIDE], most[SIDE], sum[SIDE];
    _Alignas(64) whole nowhere[SIDE];
    memset(nowhere, 0xff, sizeof nowhere);
    turn_in(e, z, n, cols);
    side_max(most, e, cols);
    side_exp(e, most, cols);
    side_sum(sum, e, nowhere, cols);
    for (ptrdiff_t k = 0; k < cols; k++)
        FR_ELEMENTWISE
    FR_ROLLED
    for (int r = 0; r < SIDE; r++)
        e[k * SIDE + r] /= sum[r];
    turn_out(y, e, n, cols);
}

static void softmax(void *y_, const void *z_, ptrdiff_t rows, ptrdiff_t cols)
{
    const ptrdiff_t step = cols <= FEW ? SIDE : 1;
    for (ptrdiff_t r = 0; r < rows; r += step) {
        const real *z = (const real *)z_ + r * cols;
        real *y = (real *)y_ + r * cols;
        if (cols <= FEW) {
            side_softmax(y, z, at_most(SIDE, rows - r), cols);
            continue;
        }
        const real most = row_max(z, cols);
        FR_ELEMENTWISE
        for (ptrdiff_t k = 0; k < cols; k++)
            y[k] = FN(exp)(z[k] - most);
        const real sum = row_sum(y, cols);
        for (ptrdiff_t k = 0; k < cols; k++)
            y[k] /= sum;
    }
}
