/* What surrounds a matrix product: bias, gate (ReLU, then dropout), their backward, and the loss.
 *
 * The gate works on runs that the step before it has just written, so bias + ReLU + dropout and
 * batch norm + ReLU + dropout each cross memory once: 8 bytes per element in float32. Backward
 * needs no mask: what came out positive was kept, so dx = dy * (y > 0 ? scale : 0); 12 bytes.
 * Every result has the bits of the layers run one after the other.
 */

/* y *= mask for the elements from index `first` of the masked array, at most FR_PANEL_RUN. */
FR_INLINE void mask_run(real *y, ptrdiff_t n, uint64_t first, const fr_mask *mask)
{
    const int skip = (int)(first % FR_MASK_GROUP);
    const real scale = (real)mask->scale;
    uint16_t pieces[FR_PANEL_RUN + 2 * FR_MASK_GROUP];
    const uint32_t limit = philox_pieces(pieces, skip + (int)n, first - (uint64_t)skip, mask);
    const uint16_t *draws = pieces + skip;
    for (ptrdiff_t j = 0; j < n; j++)
        y[j] *= draws[j] < limit ? scale : (real)0;
}

FR_INLINE void gate_run(real *y, ptrdiff_t n, uint64_t first, const fr_gate *gate)
{
    if (gate->relu)
        for (ptrdiff_t j = 0; j < n; j++)
            y[j] = y[j] <= 0 ? (real)0 : y[j]; /* NaN stays */
    if (gate->mask)
        mask_run(y, n, first, gate->mask);
}

/* Rows begin .. begin + FR_PANEL_ROWS - 1 of a panel, or what is left of them. */
FR_INLINE fr_panel slab_at(fr_panel panel, ptrdiff_t begin)
{
    const ptrdiff_t left = panel.rows - begin;
    panel.rows = left < FR_PANEL_ROWS ? left : FR_PANEL_ROWS;
    return panel;
}

FR_INLINE void gate_slab(real *y, fr_panel slab, uint64_t first, const fr_gate *gate)
{
    const ptrdiff_t rows = slab.cols == slab.stride ? FR_PANEL_RUN / slab.cols : 1;
    for (ptrdiff_t r = 0; r < slab.rows; r += rows) {
        const ptrdiff_t left = slab.rows - r, offset = r * slab.stride;
        gate_run(y + offset, (left < rows ? left : rows) * slab.cols, first + (uint64_t)offset,
                 gate);
    }
}

static void bias_gate(void *y_, const void *bias_, fr_panel panel, uint64_t first,
                      const fr_gate *gate)
{
    const real *bias = bias_;
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const fr_panel slab = slab_at(panel, begin);
        real *y = (real *)y_ + begin * panel.stride;
        for (ptrdiff_t r = 0; bias && r < slab.rows; r++) {
            real *row = y + r * slab.stride;
            FR_ELEMENTWISE
            for (ptrdiff_t c = 0; c < slab.cols; c++)
                row[c] += bias[c];
        }
        gate_slab(y, slab, first + (uint64_t)(begin * panel.stride), gate);
    }
}

static void norm_gate(void *y_, const void *x_, fr_panel panel, fr_channels channels,
                      uint64_t first, const fr_gate *gate)
{
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const ptrdiff_t offset = begin * panel.stride;
        const fr_panel slab = slab_at(panel, begin);
        real *y = (real *)y_ + offset;
        normalize(y, (const real *)x_ + offset, slab, channels, 0);
        gate_slab(y, slab, first + (uint64_t)offset, gate);
    }
}

/* dx = dy * (y > 0 ? scale : 0). dx may be dy. */
FR_INLINE void ungate(real *dx, const real *dy, const real *y, fr_panel panel, double scale_)
{
    const real scale = (real)scale_;
    for (ptrdiff_t r = 0; r < panel.rows; r++) {
        const ptrdiff_t row = r * panel.stride;
        FR_ELEMENTWISE
        for (ptrdiff_t c = row; c < row + panel.cols; c++)
            dx[c] = dy[c] * (y[c] > 0 ? scale : (real)0);
    }
}

static void gate_sums(void *dx_, double *dbias, const void *dy_, const void *y_, fr_panel panel,
                      double scale)
{
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    real sum[FR_PANEL_COLS];
    for (ptrdiff_t c = 0; c < cols; c++)
        dbias[c] = 0;
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const fr_panel slab = slab_at(panel, begin);
        const real *dx = (const real *)dy_ + begin * stride;
        if (y_) {
            real *to = (real *)dx_ + begin * stride;
            ungate(to, dx, (const real *)y_ + begin * stride, slab, scale);
            dx = to;
        }
        ptrdiff_t r = 0;
        for (ptrdiff_t c = 0; c < cols; c++)
            sum[c] = 0;
        for (; r + 4 <= slab.rows; r += 4) {
            const real *p = dx + r * stride, *q = p + stride, *s = q + stride, *t = s + stride;
            for (ptrdiff_t c = 0; c < cols; c++)
                sum[c] += (p[c] + q[c]) + (s[c] + t[c]);
        }
        for (; r < slab.rows; r++)
            for (ptrdiff_t c = 0; c < cols; c++)
                sum[c] += dx[r * stride + c];
        for (ptrdiff_t c = 0; c < cols; c++)
            dbias[c] += (double)sum[c];
    }
}

/* The sums are those of batch norm alone, from the whole panel, so that they have its bits. */
static void norm_gate_sums(void *dx, double *dscale, double *dbeta, const void *dy, const void *x,
                           const void *y, fr_panel panel, const double *mean, double scale)
{
    ungate(dx, dy, y, panel, scale);
    norm_sums(dscale, dbeta, dx, x, panel, mean);
}

static void fold_sums(void *total_, double *sums, ptrdiff_t chunks, ptrdiff_t cols)
{
    real *total = total_;
    fr_add_rows(sums, chunks, cols);
    for (ptrdiff_t c = 0; c < cols; c++)
        total[c] = (real)sums[c];
}

/* A row's largest value and its sum, in eight lanes: lane j takes entries j, j + 8, ... */
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
 * its gradient 1 - p, do not round to 0. The logarithm, one per row and in the value alone, is
 * the C library's. */
static void cross_entropy(void *dz_, double *loss, const void *z_, const int64_t *labels,
                          const double *shares, double share, double smoothing, ptrdiff_t rows,
                          ptrdiff_t cols)
{
    const real *z = z_;
    real *dz = dz_;
    const ptrdiff_t together = cols < FR_PANEL_RUN ? FR_PANEL_RUN / cols : 1;
    const double off = smoothing / (double)cols, on = 1.0 - smoothing;
    double value = 0;
    for (ptrdiff_t begin = 0; begin < rows; begin += together) {
        const ptrdiff_t left = rows - begin, here = left < together ? left : together;
        const real *run = z + begin * cols;
        real *drun = dz + begin * cols;
        for (ptrdiff_t r = 0; r < here; r++) {
            const real *row = run + r * cols;
            const real most = row_max(row, cols);
            double target = (0.5 * (double)row[labels[begin + r]] - 0.5 * (double)most) * on;
            for (ptrdiff_t k = 0; k < cols; k++)
                drun[r * cols + k] = row[k] - most;
            if (off != 0)
                target += half_sum(row, cols, most) * off;
            value -= target * (2.0 * (shares ? shares[begin + r] : share));
        }
        for (ptrdiff_t i = 0; i < here * cols; i++)
            drun[i] = EXP(drun[i]);
        for (ptrdiff_t r = 0; r < here; r++) {
            real *row = drun + r * cols;
            const double weight = shares ? shares[begin + r] : share, q = on + off;
            const ptrdiff_t label = labels[begin + r];
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
            value += log1p(rest) * weight;
        }
    }
    *loss = value;
}
