/* What the norms over contiguous runs share: sums along memory, and where outputs go.
 *
 * Sums have FR_ROW_LANES accumulators, which are then folded in halves, so their order is the
 * same for every vector width. (32 lanes, because gcc 12 unrolls an inner loop of 16 first and
 * then vectorises the outer one, by shuffles.) Blocks of FR_ROW_BLOCK elements are summed in
 * `real` and merged in double. Moments are two-pass inside a block and corrected, as in
 * norm_tmpl.h.
 */

/* Where an output goes: straight to memory, or by way of a buffer that is streamed when full. */
typedef struct {
    _Alignas(64) real done[FR_PANEL_RUN];
    real *to;
    ptrdiff_t used;
    int stream;
} sink;

/* No buffer is cleared here: a struct initialiser would write all of it. */
FR_INLINE void sink_open(sink *sink, void *to, int stream)
{
    sink->to = to;
    sink->used = 0;
    sink->stream = stream;
}

FR_INLINE void sink_flush(sink *sink)
{
    fr_stream(sink->to, sink->done, (size_t)sink->used * sizeof(real));
    sink->to += sink->used;
    sink->used = 0;
}

/* What follows goes elsewhere. */
FR_INLINE void sink_move(sink *sink, real *to)
{
    if (sink->stream)
        sink_flush(sink);
    sink->to = to;
}

/* The place of the next n elements; n <= FR_PANEL_RUN if they are streamed. */
FR_INLINE real *sink_next(sink *sink, ptrdiff_t n)
{
    if (!sink->stream) {
        sink->to += n;
        return sink->to - n;
    }
    if (sink->used + n > FR_PANEL_RUN)
        sink_flush(sink);
    sink->used += n;
    return sink->done + sink->used - n;
}

FR_INLINE void sink_close(sink *sink)
{
    if (sink->stream) {
        sink_flush(sink);
        fr_stream_end();
    }
}

/* The sum of 32 lanes, in halves. Constant widths, or gcc makes a loop of each. */
FR_INLINE real fold(real *lanes)
{
    for (int l = 0; l < 16; l++)
        lanes[l] += lanes[l + 16];
    for (int l = 0; l < 8; l++)
        lanes[l] += lanes[l + 8];
    for (int l = 0; l < 4; l++)
        lanes[l] += lanes[l + 4];
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/* The last elements, filled up with a value that adds nothing. */
FR_INLINE void pad(real *padded, const real *x, ptrdiff_t n, real filler)
{
    FR_ELEMENTWISE
    for (int l = 0; l < FR_ROW_LANES; l++)
        padded[l] = l < n ? x[l] : filler;
}

/* sum (x - origin), n <= FR_ROW_BLOCK. */
static real sum_from(const real *x, ptrdiff_t n, real origin)
{
    real sum[FR_ROW_LANES] = {0}, padded[FR_ROW_LANES];
    ptrdiff_t i = 0;
    for (; i + FR_ROW_LANES <= n; i += FR_ROW_LANES)
        for (int l = 0; l < FR_ROW_LANES; l++)
            sum[l] += x[i + l] - origin;
    if (i < n) {
        pad(padded, x + i, n - i, origin);
        for (int l = 0; l < FR_ROW_LANES; l++)
            sum[l] += padded[l] - origin;
    }
    return fold(sum);
}

typedef struct {
    real first, second;
} pair;

/* A mean in the element type: x - hi is exact where it matters, lo has the digits hi cannot. */
FR_INLINE pair parts(double mean)
{
    const real hi = (real)mean;
    return (pair){hi, (real)(mean - (double)hi)};
}

/* sum d and sum d * d for d = x - centre, n <= FR_ROW_BLOCK. */
static pair spread_around(const real *x, ptrdiff_t n, real centre)
{
    real sum[FR_ROW_LANES] = {0}, squares[FR_ROW_LANES] = {0}, padded[FR_ROW_LANES];
    ptrdiff_t i = 0;
    for (; i + FR_ROW_LANES <= n; i += FR_ROW_LANES)
        for (int l = 0; l < FR_ROW_LANES; l++) {
            const real d = x[i + l] - centre;
            sum[l] += d;
            squares[l] += d * d;
        }
    if (i < n) {
        pad(padded, x + i, n - i, centre);
        for (int l = 0; l < FR_ROW_LANES; l++) {
            const real d = padded[l] - centre;
            sum[l] += d;
            squares[l] += d * d;
        }
    }
    return (pair){fold(sum), fold(squares)};
}

/* sum g and sum g * (x - mean) for g = dy * gamma, or dy where gamma is NULL; n <= FR_ROW_BLOCK.
 * The compiler drops gamma where it is known to be NULL. */
FR_INLINE pair dots(const real *dy, const real *x, const real *gamma, ptrdiff_t n, real hi,
                    real lo)
{
    real sum[FR_ROW_LANES] = {0}, dot[FR_ROW_LANES] = {0};
    real padded_dy[FR_ROW_LANES], padded_x[FR_ROW_LANES], padded_gamma[FR_ROW_LANES];
    ptrdiff_t i = 0;
    for (; i + FR_ROW_LANES <= n; i += FR_ROW_LANES)
        for (int l = 0; l < FR_ROW_LANES; l++) {
            const real g = gamma ? dy[i + l] * gamma[i + l] : dy[i + l];
            sum[l] += g;
            dot[l] += g * ((x[i + l] - hi) - lo);
        }
    if (i < n) {
        pad(padded_dy, dy + i, n - i, 0);
        pad(padded_x, x + i, n - i, hi);
        pad(padded_gamma, gamma ? gamma + i : x + i, n - i, 0);
        for (int l = 0; l < FR_ROW_LANES; l++) {
            const real g = gamma ? padded_dy[l] * padded_gamma[l] : padded_dy[l];
            sum[l] += g;
            dot[l] += g * ((padded_x[l] - hi) - lo);
        }
    }
    return (pair){fold(sum), fold(dot)};
}

typedef struct {
    double mean, m2;
} moment;

/* Chan, Golub & LeVeque (1979): the moments of `before` rows take in those of `here` more. */
FR_INLINE void merge(double *mean, double *m2, const double *mean_k, const double *m2_k,
                     double before, double here, ptrdiff_t cols)
{
    const double weight = here / (before + here), cross = before * weight;
    for (ptrdiff_t c = 0; c < cols; c++) {
        const double delta = mean_k[c] - mean[c];
        mean[c] += delta * weight;
        m2[c] += m2_k[c] + delta * delta * cross;
    }
}

/* The mean less x[0] and the squares around the mean; for centred = 0 those around 0. */
static moment moments_of(const real *x, ptrdiff_t n, int centred)
{
    moment all = {0, 0};
    for (ptrdiff_t begin = 0; begin < n; begin += FR_ROW_BLOCK) {
        const real *block = x + begin;
        const ptrdiff_t rows = n - begin < FR_ROW_BLOCK ? n - begin : FR_ROW_BLOCK;
        const double here = (double)rows, share = 1.0 / here;
        if (!centred) {
            all.m2 += (double)spread_around(block, rows, 0).second;
            continue;
        }
        const real centre = block[0] + sum_from(block, rows, block[0]) * (real)share;
        const pair rest = spread_around(block, rows, centre);
        const double shift = (double)rest.first * share;
        const double mean = (double)centre - (double)x[0] + shift;
        const double m2 = (double)rest.second - shift * (double)rest.first;
        if (begin)
            merge(&all.mean, &all.m2, &mean, &m2, (double)begin, here, 1);
        else
            all = (moment){mean, m2};
    }
    return all;
}

/* Sums over a run of any length, blocks added up in double. */
FR_INLINE void dots_of(double *sum, double *dot, const real *dy, const real *x, const real *gamma,
                       ptrdiff_t n, real hi, real lo)
{
    *sum = *dot = 0;
    for (ptrdiff_t begin = 0; begin < n; begin += FR_ROW_BLOCK) {
        const ptrdiff_t here = n - begin < FR_ROW_BLOCK ? n - begin : FR_ROW_BLOCK;
        const pair block =
            dots(dy + begin, x + begin, gamma ? gamma + begin : NULL, here, hi, lo);
        *sum += (double)block.first;
        *dot += (double)block.second;
    }
}

static void run_dots(double *sum, double *dot, const real *dy, const real *x, ptrdiff_t n,
                     real hi, real lo)
{
    dots_of(sum, dot, dy, x, NULL, n, hi, lo);
}

static void row_dots(double *sum, double *dot, const real *dy, const real *x, const real *gamma,
                     ptrdiff_t n, real hi, real lo)
{
    dots_of(sum, dot, dy, x, gamma, n, hi, lo);
}

/* y = (x - mean) * scale + shift for one run. */
FR_INLINE void scale_run(sink *sink, const real *x, ptrdiff_t n, real hi, real lo, real scale,
                         real shift)
{
    for (ptrdiff_t begin = 0; begin < n; begin += FR_PANEL_RUN, x += FR_PANEL_RUN) {
        const ptrdiff_t here = n - begin < FR_PANEL_RUN ? n - begin : FR_PANEL_RUN;
        real *y = sink_next(sink, here);
        FR_ELEMENTWISE
        for (ptrdiff_t i = 0; i < here; i++)
            y[i] = ((x[i] - hi) - lo) * scale + shift;
    }
}

/* dx = dy * scale - offset - (x - mean) * tilt for one run. */
FR_INLINE void gradient_run(sink *sink, const real *dy, const real *x, ptrdiff_t n, real hi,
                            real lo, real scale, real offset, real tilt)
{
    for (ptrdiff_t begin = 0; begin < n; begin += FR_PANEL_RUN) {
        const ptrdiff_t here = n - begin < FR_PANEL_RUN ? n - begin : FR_PANEL_RUN;
        real *dx = sink_next(sink, here);
        FR_ELEMENTWISE
        for (ptrdiff_t i = 0; i < here; i++)
            dx[i] = (dy[i] * scale - offset) - ((x[i] - hi) - lo) * tilt;
        dy += here;
        x += here;
    }
}
