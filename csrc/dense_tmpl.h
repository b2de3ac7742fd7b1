/* What surrounds a matrix product: bias, gate (ReLU, then dropout) and their backward.
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

/* `rows` rows of a panel from row `begin`, or what is left of them. */
FR_INLINE fr_panel chunk_at(fr_panel panel, ptrdiff_t begin, ptrdiff_t rows)
{
    const ptrdiff_t left = panel.rows - begin;
    panel.rows = left < rows ? left : rows;
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
        const fr_panel slab = chunk_at(panel, begin, FR_PANEL_ROWS);
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
        const fr_panel slab = chunk_at(panel, begin, FR_PANEL_ROWS);
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
        const fr_panel slab = chunk_at(panel, begin, FR_PANEL_ROWS);
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

static void fold_sums(void *total_, double *sums, ptrdiff_t chunks, ptrdiff_t cols)
{
    real *total = total_;
    fr_add_rows(sums, chunks, cols);
    for (ptrdiff_t c = 0; c < cols; c++)
        total[c] = (real)sums[c];
}

static void gate_slopes(void *dx, void *dbias, const void *dy, const void *y, fr_panel panel,
                        ptrdiff_t chunk_rows, double scale)
{
    double sums[2 * FR_PANEL_COLS];
    ptrdiff_t begin = 0;
    do { /* once where there are no rows: the sums are 0 */
        const ptrdiff_t at = begin * panel.stride;
        gate_sums(y ? (real *)dx + at : NULL, sums + (begin ? panel.cols : 0),
                  (const real *)dy + at, y ? (const real *)y + at : NULL,
                  chunk_at(panel, begin, chunk_rows), scale);
        if (begin)
            fr_add_rows(sums, 2, panel.cols);
        begin += chunk_rows;
    } while (begin < panel.rows);
    if (dbias)
        fold_sums(dbias, sums, 1, panel.cols);
}

/* The sums are those of batch norm alone, from the whole panel, so that they have its bits. */
static void norm_gate_sums(void *dx, double *dscale, double *dbeta, const void *dy, const void *x,
                           const void *y, fr_panel panel, const double *mean, double scale)
{
    ungate(dx, dy, y, panel, scale);
    norm_sums(dscale, dbeta, dx, x, panel, mean);
}

/* Forward of whole columns, all rows at once: moments, chunk after chunk as a pass over the
 * matrix takes them, statistics, and what follows while the columns are in cache. */
static void norm_gate_columns(void *y, double *found, ptrdiff_t width, const void *x,
                              fr_panel panel, ptrdiff_t chunk_rows, fr_channels channels,
                              double epsilon, uint64_t first, const fr_gate *gate)
{
    const ptrdiff_t cols = panel.cols;
    double mean[FR_PANEL_COLS], m2[FR_PANEL_COLS], own[3 * FR_PANEL_COLS];
    double next_mean[FR_PANEL_COLS], next_m2[FR_PANEL_COLS];
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += chunk_rows) {
        const fr_panel chunk = chunk_at(panel, begin, chunk_rows);
        const real *from = (const real *)x + begin * panel.stride;
        moments(begin ? next_mean : mean, begin ? next_m2 : m2, from, chunk, x);
        if (begin)
            merge(mean, m2, next_mean, next_m2, (double)begin, (double)chunk.rows, cols);
    }
    statistics(own, mean, m2, x, epsilon, panel.rows, panel.rows, cols);
    for (ptrdiff_t k = 0; k < 3; k++)
        memcpy(found + k * width, own + k * cols, (size_t)cols * sizeof(double));
    channels.mean = own, channels.inv_std = own + 2 * cols;
    norm_gate(y, x, panel, channels, first, gate);
}

/* Backward of whole columns. dbias, in the element type, is the sum of dx, unless it is NULL. */
static void norm_gate_slopes(void *dx, double *gradients, ptrdiff_t width, void *dbias,
                             const void *dy, const void *x, const void *y, fr_panel panel,
                             ptrdiff_t chunk_rows, fr_channels channels, double scale)
{
    const ptrdiff_t cols = panel.cols;
    double sums[2][2 * FR_PANEL_COLS], own[4 * FR_PANEL_COLS];
    for (ptrdiff_t begin = 0; begin < panel.rows; begin += chunk_rows) {
        const ptrdiff_t at = begin * panel.stride;
        double *dscale = sums[0] + (begin ? cols : 0), *dbeta = sums[1] + (begin ? cols : 0);
        norm_gate_sums((real *)dx + at, dscale, dbeta, (const real *)dy + at,
                       (const real *)x + at, (const real *)y + at,
                       chunk_at(panel, begin, chunk_rows), channels.mean, scale);
        if (begin) {
            fr_add_rows(sums[0], 2, cols);
            fr_add_rows(sums[1], 2, cols);
        }
    }
    fr_gradients(own, sums[0], sums[1], channels.inv_std, 1.0 / (double)panel.rows, 1, cols);
    for (ptrdiff_t k = 0; k < 2; k++)
        memcpy(gradients + k * width, own + k * cols, (size_t)cols * sizeof(double));
    norm_backward(dx, dx, x, panel, channels, own + 2 * cols, own + 3 * cols, 0);
    if (dbias)
        gate_slopes(NULL, dbias, dx, NULL, panel, chunk_rows, 1.0);
}
