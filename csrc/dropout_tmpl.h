/* Dropout: y = x * mask, mask in {0, scale} (Srivastava et al., JMLR 2014), and its relatives.
 *
 * Every kernel draws its noise again whenever it is asked, so backward is the same function of dy
 * and nothing is stored. Each moves 8 bytes per element in float32 (read x, write y); y may be x.
 * Dropped values are x * 0, so NaN and infinity stay visible.
 */

/* y from x for the n elements from index `first`, n <= FR_MASK_BATCH. */
typedef void noise(real *y, const real *x, int n, uint64_t first, const fr_mask *mask);

FR_INLINE void keep(real *y, const real *x, int n, uint64_t first, const fr_mask *mask)
{
    const real scale = (real)mask->scale;
    uint16_t pieces[FR_MASK_BATCH];
    const uint32_t limit = philox_pieces(pieces, n, first, mask);
    FR_ELEMENTWISE
    for (int j = 0; j < n; j++)
        y[j] = x[j] * (pieces[j] < limit ? scale : (real)0);
}

/* Alpha dropout (Klambauer et al., NeurIPS 2017): kept elements become x * scale + kept_shift,
 * dropped ones x * 0 + dropped_shift. */
FR_INLINE void keep_moments(real *y, const real *x, int n, uint64_t first, const fr_mask *mask)
{
    const real scale = (real)mask->scale;
    const real kept = (real)mask->kept_shift, dropped = (real)mask->dropped_shift;
    uint16_t pieces[FR_MASK_BATCH];
    const uint32_t limit = philox_pieces(pieces, n, first, mask);
    FR_ELEMENTWISE
    for (int j = 0; j < n; j++)
        y[j] =
            x[j] * (pieces[j] < limit ? scale : (real)0) + (pieces[j] < limit ? kept : dropped);
}

/* Gaussian dropout (Srivastava et al., section 10): y = x * (1 + scale * z), z standard normal.
 */
FR_INLINE void spread(real *y, const real *x, int n, uint64_t first, const fr_mask *mask)
{
    const real scale = (real)mask->scale;
    float deviates[FR_MASK_BATCH];
    normal_deviates(deviates, n, first, mask);
    FR_ELEMENTWISE
    for (int j = 0; j < n; j++)
        y[j] = x[j] * ((real)1 + scale * (real)deviates[j]);
}

/* Inlined once per kernel, with `noise` constant. */
FR_INLINE void noise_span(void *y, const real *x, ptrdiff_t n, uint64_t first,
                          const fr_mask *mask, int stream, noise *noise)
{
    sink sink;
    sink_open(&sink, y, stream);
    for (ptrdiff_t start = 0; start < n; start += FR_MASK_BATCH) {
        const int count = (int)(n - start < FR_MASK_BATCH ? n - start : FR_MASK_BATCH);
        noise(sink_next(&sink, count), x + start, count, first + (uint64_t)start, mask);
    }
    sink_close(&sink);
}

#define FR_DEFINE_NOISE(name, noise)                                                             \
    static void name(void *y, const void *x, ptrdiff_t n, uint64_t first, const fr_mask *mask,   \
                     int stream)                                                                 \
    {                                                                                            \
        noise_span(y, x, n, first, mask, stream, noise);                                         \
    }
FR_DEFINE_NOISE(dropout, keep)
FR_DEFINE_NOISE(alpha_dropout, keep_moments)
FR_DEFINE_NOISE(gaussian_dropout, spread)
#undef FR_DEFINE_NOISE

/* y = x * factor, one factor for a whole run (see fr_runs): dropout of channels, rows, batches.
 * The factors of a batch are laid out in L1 first, so that short runs cost little more. */
static void scale_runs(void *y_, const void *x_, ptrdiff_t n, ptrdiff_t first,
                       const void *factors, fr_runs runs, int stream)
{
    enum { STEP = 16 }; /* a run is filled in whole steps, the next one covers the excess */
    const real *x = x_;
    real each[FR_MASK_BATCH + STEP];
    sink sink;
    ptrdiff_t inside = first % runs.length, col = first / runs.length % runs.cols;
    ptrdiff_t row = first / runs.length / runs.cols, turn = row % runs.repeat;
    const real *factor = (const real *)factors + row / runs.repeat * runs.cols;

    sink_open(&sink, y_, stream);
    for (ptrdiff_t start = 0; start < n; start += FR_MASK_BATCH) {
        const ptrdiff_t count = n - start < FR_MASK_BATCH ? n - start : FR_MASK_BATCH;
        for (ptrdiff_t j = 0, here; j < count; j += here) {
            if (runs.length == 1) {
                here = runs.cols - col < count - j ? runs.cols - col : count - j;
                memcpy(each + j, factor + col, (size_t)here * sizeof(real));
                col += here;
            } else {
                const real value = factor[col];
                const ptrdiff_t left = runs.length - inside;
                here = left < count - j ? left : count - j;
                for (ptrdiff_t k = 0; k < here; k += STEP)
                    for (int e = 0; e < STEP; e++)
                        each[j + k + e] = value;
                inside = here < left ? inside + here : 0;
                col += here == left;
            }
            if (col == runs.cols) {
                col = 0;
                turn = turn + 1 < runs.repeat ? turn + 1 : 0;
                factor += turn == 0 ? runs.cols : 0;
            }
        }
        real *y = sink_next(&sink, count);
        FR_ELEMENTWISE
        for (ptrdiff_t j = 0; j < count; j++)
            y[j] = x[start + j] * each[j];
    }
    sink_close(&sink);
}
