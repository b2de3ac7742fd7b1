/* Batch norm (Ioffe & Szegedy, ICML 2015) over panels: rows are samples, columns channels.
 *
 * Sums run down the columns, so every column has one order of addition whatever the vector
 * width: rows in groups of four, groups in sequence, FR_PANEL_ROWS rows at a time in `real`,
 * blocks merged in double by Chan's formula. Where columns are few, neighbouring rows are taken
 * as one wide row, whose sums are merged in the same way. Variance is two-pass inside the block:
 * deviations from the block's first row give its mean, deviations from that mean give the
 * squares, and what rounding left in their sum corrects both. A mean of 1e7 costs no digits and a
 * constant column has variance exactly 0.
 *
 * Bytes per element in float32: moments 4, normalize 8, sums 8, backward 12.
 */

/* Per-column constants in the precision of the array. mean = hi + lo: x - hi is exact where
 * it matters, and lo carries the digits that hi cannot. */
typedef struct {
    real hi[FR_PANEL_COLS], lo[FR_PANEL_COLS], scale[FR_PANEL_COLS];
} columns;

FR_INLINE void split_mean(real *hi, real *lo, const double *mean, ptrdiff_t cols)
{
    for (ptrdiff_t c = 0; c < cols; c++) {
        hi[c] = (real)mean[c];
        lo[c] = (real)(mean[c] - (double)hi[c]);
    }
}

/* How many neighbouring rows to take as one: as many as fit a panel, if they lie end to end. */
FR_INLINE ptrdiff_t rows_together(fr_panel panel)
{
    const ptrdiff_t fit = FR_PANEL_COLS / panel.cols;
    if (panel.cols != panel.stride || panel.rows < 2)
        return 1;
    return fit < panel.rows ? fit : panel.rows;
}

/* The same for sums, which must be merged afterwards: only where columns are narrow. */
FR_INLINE ptrdiff_t sums_together(fr_panel panel)
{
    const ptrdiff_t fit = FR_PANEL_COLS / panel.cols;
    return panel.cols == panel.stride && fit > 4 && panel.rows >= 8 * fit ? fit : 1;
}

FR_INLINE fr_panel widened(fr_panel panel, ptrdiff_t together)
{
    panel.rows /= together;
    panel.cols *= together;
    panel.stride *= together;
    return panel;
}

/* Fill a wide row with copies of its first `cols` entries. */
FR_INLINE void repeat(real *row, ptrdiff_t cols, ptrdiff_t together)
{
    for (ptrdiff_t c = cols; c < cols * together; c++)
        row[c] = row[c - cols];
}

/* A wide row of constants, one per column. */
FR_INLINE void set_constants(real *row, const double *constants, ptrdiff_t cols,
                             ptrdiff_t together)
{
    for (ptrdiff_t c = 0; c < cols; c++)
        row[c] = (real)constants[c];
    repeat(row, cols, together);
}

FR_INLINE void set_columns(columns *k, fr_channels channels, ptrdiff_t cols, ptrdiff_t together)
{
    split_mean(k->hi, k->lo, channels.mean, cols);
    for (ptrdiff_t c = 0; c < cols; c++)
        k->scale[c] = (real)(channels.gamma[c] * channels.inv_std[c]);
    repeat(k->hi, cols, together);
    repeat(k->lo, cols, together);
    repeat(k->scale, cols, together);
}

static void moments_of_rows(double *mean, double *m2, const real *x_, fr_panel panel,
                            const real *origin)
{
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    real centre[FR_PANEL_COLS], sum[FR_PANEL_COLS], squares[FR_PANEL_COLS];

    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const real *x = x_ + begin * stride;
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

        /* Merge this block with the rows before it. */
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

static void moments(double *mean, double *m2, const void *x_, fr_panel panel, const void *origin_)
{
    const real *x = x_, *origin = origin_;
    const ptrdiff_t cols = panel.cols, together = sums_together(panel);
    const fr_panel wide = widened(panel, together);
    const ptrdiff_t whole = wide.rows * together;
    double wide_mean[FR_PANEL_COLS], wide_m2[FR_PANEL_COLS];
    real wide_origin[FR_PANEL_COLS];
    if (together == 1) {
        moments_of_rows(mean, m2, x, panel, origin);
        return;
    }
    memcpy(wide_origin, origin, (size_t)cols * sizeof(real));
    repeat(wide_origin, cols, together);
    moments_of_rows(wide_mean, wide_m2, x, wide, wide_origin);
    memcpy(mean, wide_mean, (size_t)cols * sizeof(double));
    memcpy(m2, wide_m2, (size_t)cols * sizeof(double));
    for (ptrdiff_t k = 1; k < together; k++)
        merge(mean, m2, wide_mean + k * cols, wide_m2 + k * cols, (double)(k * wide.rows),
              (double)wide.rows, cols);
    panel.rows -= whole;
    if (panel.rows) {
        moments_of_rows(wide_mean, wide_m2, x + whole * cols, panel, origin);
        merge(mean, m2, wide_mean, wide_m2, (double)whole, (double)panel.rows, cols);
    }
}

static void statistics(double *statistics, double *mean, double *m2, const void *origin_,
                       double epsilon, ptrdiff_t rows, ptrdiff_t chunk_rows, ptrdiff_t cols)
{
    const real *origin = origin_;
    for (ptrdiff_t begin = chunk_rows; begin < rows; begin += chunk_rows) {
        const ptrdiff_t chunk = begin / chunk_rows * cols;
        const ptrdiff_t here = rows - begin < chunk_rows ? rows - begin : chunk_rows;
        merge(mean, m2, mean + chunk, m2 + chunk, (double)begin, (double)here, cols);
    }
    for (ptrdiff_t c = 0; c < cols; c++) {
        const double var = m2[c] / (double)rows;
        statistics[c] = (double)origin[c] + mean[c];
        statistics[cols + c] = var;
        statistics[2 * cols + c] = 1.0 / sqrt(var + epsilon);
    }
}

/* The place of row r of a panel whose outputs begin at `to`. */
FR_INLINE real *sink_row(sink *sink, void *to, fr_panel panel, ptrdiff_t r)
{
    if (panel.cols != panel.stride) /* there is a gap between rows */
        sink_move(sink, (real *)to + r * panel.stride);
    return sink_next(sink, panel.cols);
}

FR_CALLED void normalize_rows(sink *sink, void *y, const real *x, fr_panel panel,
                              const columns *k, const real *shift)
{
    const ptrdiff_t cols = panel.cols;
    for (ptrdiff_t r = 0; r < panel.rows; r++, x += panel.stride) {
        real *row = sink_row(sink, y, panel, r);
        FR_ELEMENTWISE
        for (ptrdiff_t c = 0; c < cols; c++)
            row[c] = ((x[c] - k->hi[c]) - k->lo[c]) * k->scale[c] + shift[c];
    }
}

static void normalize(void *y, const void *x, fr_panel panel, fr_channels channels, int stream)
{
    const ptrdiff_t cols = panel.cols, together = rows_together(panel);
    const fr_panel wide = widened(panel, together);
    const ptrdiff_t whole = wide.rows * together * panel.stride;
    real shift[FR_PANEL_COLS];
    columns k;
    sink sink;
    set_columns(&k, channels, cols, together);
    set_constants(shift, channels.beta, cols, together);
    sink_open(&sink, y, stream);
    normalize_rows(&sink, y, x, wide, &k, shift);
    panel.rows %= together;
    if (panel.rows)
        normalize_rows(&sink, y, (const real *)x + whole, panel, &k, shift);
    sink_close(&sink);
}

static void sums_of_rows(double *dscale, double *dbeta, const real *dy_, const real *x_,
                         fr_panel panel, const columns *k)
{
    const ptrdiff_t cols = panel.cols, stride = panel.stride;
    real sum[FR_PANEL_COLS], dot[FR_PANEL_COLS];
    for (ptrdiff_t c = 0; c < cols; c++)
        dscale[c] = dbeta[c] = 0;

    for (ptrdiff_t begin = 0; begin < panel.rows; begin += FR_PANEL_ROWS) {
        const real *x = x_ + begin * stride, *dy = dy_ + begin * stride;
        const ptrdiff_t left = panel.rows - begin;
        const ptrdiff_t rows = left < FR_PANEL_ROWS ? left : FR_PANEL_ROWS;
        ptrdiff_t r = 0;
        for (ptrdiff_t c = 0; c < cols; c++)
            sum[c] = dot[c] = 0;
        for (; r + 4 <= rows; r += 4) {
            const real *x0 = x + r * stride, *x1 = x0 + stride, *x2 = x1 + stride;
            const real *d0 = dy + r * stride, *d1 = d0 + stride, *d2 = d1 + stride;
            const real *x3 = x2 + stride, *d3 = d2 + stride;
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real hi = k->hi[c], lo = k->lo[c];
                sum[c] += (d0[c] + d1[c]) + (d2[c] + d3[c]);
                dot[c] += (d0[c] * ((x0[c] - hi) - lo) + d1[c] * ((x1[c] - hi) - lo)) +
                          (d2[c] * ((x2[c] - hi) - lo) + d3[c] * ((x3[c] - hi) - lo));
            }
        }
        for (; r < rows; r++)
            for (ptrdiff_t c = 0; c < cols; c++) {
                const real d = dy[r * stride + c];
                sum[c] += d;
                dot[c] += d * ((x[r * stride + c] - k->hi[c]) - k->lo[c]);
            }
        for (ptrdiff_t c = 0; c < cols; c++) {
            dbeta[c] += (double)sum[c];
            dscale[c] += (double)dot[c];
        }
    }
}

static void norm_sums(double *dscale, double *dbeta, const void *dy_, const void *x_,
                      fr_panel panel, const double *mean)
{
    const real *x = x_, *dy = dy_;
    const ptrdiff_t cols = panel.cols, together = sums_together(panel);
    const fr_panel wide = widened(panel, together);
    const ptrdiff_t whole = wide.rows * together;
    double wide_dot[FR_PANEL_COLS], wide_sum[FR_PANEL_COLS];
    columns k;
    split_mean(k.hi, k.lo, mean, cols);
    if (together == 1) {
        sums_of_rows(dscale, dbeta, dy, x, panel, &k);
        return;
    }
    repeat(k.hi, cols, together);
    repeat(k.lo, cols, together);
    panel.rows -= whole;
    sums_of_rows(dscale, dbeta, dy + whole * cols, x + whole * cols, panel, &k);
    sums_of_rows(wide_dot, wide_sum, dy, x, wide, &k);
    for (ptrdiff_t r = 0; r < together; r++)
        for (ptrdiff_t c = 0; c < cols; c++) {
            dscale[c] += wide_dot[r * cols + c];
            dbeta[c] += wide_sum[r * cols + c];
        }
}

/* Inlined: as a call it is 4 % slower in float64 where it streams rows with gaps. */
FR_INLINE void backward_rows(sink *sink, void *dx, const real *dy, const real *x, fr_panel panel,
                             const columns *k, const real *offset, const real *tilt)
{
    const ptrdiff_t cols = panel.cols;
    for (ptrdiff_t r = 0; r < panel.rows; r++, x += panel.stride, dy += panel.stride) {
        real *row = sink_row(sink, dx, panel, r);
        FR_ELEMENTWISE
        for (ptrdiff_t c = 0; c < cols; c++) {
            const real centred = (x[c] - k->hi[c]) - k->lo[c];
            row[c] = ((dy[c] - offset[c]) - centred * tilt[c]) * k->scale[c];
        }
    }
}

static void norm_backward(void *dx, const void *dy, const void *x, fr_panel panel,
                          fr_channels channels, const double *mean_dy, const double *slope,
                          int stream)
{
    const ptrdiff_t cols = panel.cols, together = rows_together(panel);
    const fr_panel wide = widened(panel, together);
    const ptrdiff_t whole = wide.rows * together * panel.stride;
    real offset[FR_PANEL_COLS], tilt[FR_PANEL_COLS];
    columns k;
    sink sink;
    set_columns(&k, channels, cols, together);
    set_constants(offset, mean_dy, cols, together);
    set_constants(tilt, slope, cols, together);
    sink_open(&sink, dx, stream);
    backward_rows(&sink, dx, dy, x, wide, &k, offset, tilt);
    panel.rows %= together;
    if (panel.rows)
        backward_rows(&sink, dx, (const real *)dy + whole, (const real *)x + whole, panel, &k,
                      offset, tilt);
    sink_close(&sink);
}
