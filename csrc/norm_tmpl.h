/* Batch norm (Ioffe & Szegedy, ICML 2015) over panels: rows are samples, columns channels.
 *
 * Sums run down the columns, so every column has one order of addition whatever the vector
 * width: rows in groups of four, groups in sequence, FR_PANEL_ROWS rows at a time in `real`,
 * blocks merged in double by Chan's formula. Variance is two-pass inside the block: deviations
 * from the block's first row give its mean, deviations from that mean give the squares, and what
 * rounding left in their sum corrects both. A mean of 1e7 costs no digits and a constant column
 * has variance exactly 0.
 *
 * Bytes an element in float32: moments 4, normalize 8, sums 8, backward 12.
 */

/* Per-column constants in the precision of the array. mean = hi + lo: x - hi is exact where
 * it matters, and lo carries the digits that hi cannot. */
typedef struct {
    real hi[FR_PANEL_COLS], lo[FR_PANEL_COLS], scale[FR_PANEL_COLS];
} NAME(columns);

FR_INLINE void NAME(split_mean)(real *hi, real *lo, const double *mean, ptrdiff_t cols)
{
    for (ptrdiff_t c = 0; c < cols; c++) {
        hi[c] = (real)mean[c];
        lo[c] = (real)(mean[c] - (double)hi[c]);
    }
}

/* Rows that lie end to end and fit a run of FR_PANEL_RUN elements; else one. */
FR_INLINE ptrdiff_t NAME(rows_together)(fr_panel panel)
{
    return panel.cols == panel.stride ? FR_PANEL_RUN / panel.cols : 1;
}

static void NAME(moments)(double *mean, double *m2, const void *x_, fr_panel panel,
                          const void *origin_)
{
    const real *origin = origin_;
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    real centre[FR_PANEL_COLS], sum[FR_PANEL_COLS], squares[FR_PANEL_COLS];

    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const real *x = (const real *)x_ + begin * stride;
        const ptrdiff_t left = panel.rows - begin;
        const ptrdiff_t rows = left < FR_PANEL_ROWS ? left : FR_PANEL_ROWS;
        const real share = (real)(1.0 / (double)rows);
        ptrdiff_t r = 0;

        for (ptrdiff_t c = 0; c < cols; c++)
            sum[c] = 0;
        for (; r + 4 <= rows; r += 4) {
            const real *p = x + r * stride, *q = p + stride, *s = q + stride, *t = s + stride;
            for (ptrdiff_t c = 0; c < cols; c++)
                sum[c] += ((p[c] - x[c]) + (q[c] - x[c])) + ((s[c] - x[c]) + (t[c] - x[c]));
        }
        for (; r < rows; r++)
            for (ptrdiff_t c = 0; c < cols; c++)
                sum[c] += x[r * stride + c] - x[c];

        for (ptrdiff_t c = 0; c < cols; c++) {
            centre[c] = x[c] + sum[c] * share;
            sum[c] = squares[c] = 0;
        }
        for (r = 0; r + 4 <= rows; r += 4) {
            const real *p = x + r * stride, *q = p + stride, *s = q + stride, *t = s + stride;
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real dp = p[c] - centre[c], dq = q[c] - centre[c];
                const real ds = s[c] - centre[c], dt = t[c] - centre[c];
                sum[c] += (dp + dq) + (ds + dt);
                squares[c] += (dp * dp + dq * dq) + (ds * ds + dt * dt);
            }
        }
        for (; r < rows; r++)
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real d = x[r * stride + c] - centre[c];
                sum[c] += d;
                squares[c] += d * d;
            }

        /* Chan, Golub & LeVeque (1979): merge this block with the rows before it. */
        const double before = (double)begin, here = (double)rows, all = before + here;
        const double weight = here / all, cross = before * weight;
        for (ptrdiff_t c = 0; c < cols; c++) {
            const double shift = (double)sum[c] / here;
            const double block_mean = (double)centre[c] - (double)origin[c] + shift;
            const double block_m2 = (double)squares[c] - shift * (double)sum[c];
            const double delta = begin ? block_mean - mean[c] : block_mean;
            mean[c] = begin ? mean[c] + delta * weight : block_mean;
            m2[c] = begin ? m2[c] + block_m2 + delta * delta * cross : block_m2;
        }
    }
}

static void NAME(statistics)(double *statistics, double *mean, double *m2, const void *origin_,
                             double epsilon, ptrdiff_t rows, ptrdiff_t chunk_rows, ptrdiff_t cols)
{
    const real *origin = origin_;
    for (ptrdiff_t begin = chunk_rows; begin < rows; begin += chunk_rows) {
        const double before = (double)begin;
        const double here = (double)(rows - begin < chunk_rows ? rows - begin : chunk_rows);
        const double weight = here / (before + here), cross = before * weight;
        const double *mean_k = mean + begin / chunk_rows * cols;
        const double *m2_k = m2 + begin / chunk_rows * cols;
        for (ptrdiff_t c = 0; c < cols; c++) {
            const double delta = mean_k[c] - mean[c];
            mean[c] += delta * weight;
            m2[c] += m2_k[c] + delta * delta * cross;
        }
    }
    for (ptrdiff_t c = 0; c < cols; c++) {
        const double var = m2[c] / (double)rows;
        statistics[c] = (double)origin[c] + mean[c];
        statistics[cols + c] = var;
        statistics[2 * cols + c] = 1.0 / sqrt(var + epsilon);
    }
}

static void NAME(normalize)(void *y_, const void *x_, fr_panel panel, fr_channels channels,
                            int stream)
{
    const ptrdiff_t cols = panel.cols;
    real shift[FR_PANEL_COLS];
    NAME(columns) k;
    NAME(split_mean)(k.hi, k.lo, channels.mean, cols);
    for (ptrdiff_t c = 0; c < cols; c++) {
        k.scale[c] = (real)(channels.gamma[c] * channels.inv_std[c]);
        shift[c] = (real)channels.beta[c];
    }
    const ptrdiff_t rows = NAME(rows_together)(panel);
    real done[FR_PANEL_RUN];
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += rows) {
        const ptrdiff_t left = panel.rows - begin, here = left < rows ? left : rows;
        real *y = (real *)y_ + begin * panel.stride, *to = stream ? done : y;
        for (ptrdiff_t r = 0; r < here; r++) {
            const real *x = (const real *)x_ + (begin + r) * panel.stride;
            real *row = to + r * panel.stride;
            FR_ELEMENTWISE
            for (ptrdiff_t c = 0; c < cols; c++)
                row[c] = ((x[c] - k.hi[c]) - k.lo[c]) * k.scale[c] + shift[c];
        }
        if (stream)
            fr_stream(y, done, (size_t)(here * cols) * sizeof(real));
    }
    if (stream)
        fr_stream_end();
}

static void NAME(norm_sums)(double *dscale, double *dbeta, const void *dy_, const void *x_,
                            fr_panel panel, const double *mean)
{
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    real sum[FR_PANEL_COLS], dot[FR_PANEL_COLS];
    NAME(columns) k;
    NAME(split_mean)(k.hi, k.lo, mean, cols);
    for (ptrdiff_t c = 0; c < cols; c++)
        dscale[c] = dbeta[c] = 0;

    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const real *x = (const real *)x_ + begin * stride;
        const real *dy = (const real *)dy_ + begin * stride;
        const ptrdiff_t left = panel.rows - begin;
        const ptrdiff_t rows = left < FR_PANEL_ROWS ? left : FR_PANEL_ROWS;
        ptrdiff_t r = 0;
        for (ptrdiff_t c = 0; c < cols; c++)
            sum[c] = dot[c] = 0;
        for (; r + 2 <= rows; r += 2) {
            const real *p = x + r * stride, *q = p + stride;
            const real *dp = dy + r * stride, *dq = dp + stride;
            for (ptrdiff_t c = 0; c < cols; c++) {
                sum[c] += dp[c] + dq[c];
                dot[c] +=
                    dp[c] * ((p[c] - k.hi[c]) - k.lo[c]) + dq[c] * ((q[c] - k.hi[c]) - k.lo[c]);
            }
        }
        for (; r < rows; r++)
            for (ptrdiff_t c = 0; c < cols; c++) {
                sum[c] += dy[r * stride + c];
                dot[c] += dy[r * stride + c] * ((x[r * stride + c] - k.hi[c]) - k.lo[c]);
            }
        for (ptrdiff_t c = 0; c < cols; c++) {
            dbeta[c] += (double)sum[c];
            dscale[c] += (double)dot[c];
        }
    }
}

static void NAME(norm_backward)(void *dx_, const void *dy_, const void *x_, fr_panel panel,
                                fr_channels channels, const double *mean_dy, const double *slope,
                                int stream)
{
    const ptrdiff_t cols = panel.cols;
    real offset[FR_PANEL_COLS], tilt[FR_PANEL_COLS];
    NAME(columns) k;
    NAME(split_mean)(k.hi, k.lo, channels.mean, cols);
    for (ptrdiff_t c = 0; c < cols; c++) {
        k.scale[c] = (real)(channels.gamma[c] * channels.inv_std[c]);
        offset[c] = (real)mean_dy[c];
        tilt[c] = (real)slope[c];
    }
    const ptrdiff_t rows = NAME(rows_together)(panel);
    real done[FR_PANEL_RUN];
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += rows) {
        const ptrdiff_t left = panel.rows - begin, here = left < rows ? left : rows;
        real *dx = (real *)dx_ + begin * panel.stride, *to = stream ? done : dx;
        for (ptrdiff_t r = 0; r < here; r++) {
            const real *dy = (const real *)dy_ + (begin + r) * panel.stride;
            const real *x = (const real *)x_ + (begin + r) * panel.stride;
            real *row = to + r * panel.stride;
            FR_ELEMENTWISE
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real centred = (x[c] - k.hi[c]) - k.lo[c];
                row[c] = ((dy[c] - offset[c]) - centred * tilt[c]) * k.scale[c];
            }
        }
        if (stream)
            fr_stream(dx, done, (size_t)(here * cols) * sizeof(real));
    }
    if (stream)
        fr_stream_end();
}
