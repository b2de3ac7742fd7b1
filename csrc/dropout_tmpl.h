/* Inverted dropout (Srivastava et al., JMLR 2014): y = x * mask, mask in {0, scale}.
 *
 * Backward is the same function of dy. Nothing is stored: the mask is drawn again. Moves 8
 * bytes an element in float32 (read x, write y). y may be x. Dropped values are x * 0, so NaN
 * and infinity stay visible.
 */
static void NAME(dropout)(void *y_, const void *x_, ptrdiff_t n, uint64_t first,
                          const fr_mask *mask, int stream)
{
    enum { BATCH = 1024 }; /* elements whose bits sit in L1 together */
    real *y = y_;
    const real *x = x_;
    const uint32_t upper = (uint32_t)(mask->threshold >> 16);
    const uint32_t lower = (uint32_t)(mask->threshold & 0xFFFFu);
    const real scale = (real)mask->scale;
    uint16_t pieces[BATCH];
    real done[BATCH];

    for (ptrdiff_t start = 0; start < n; start += BATCH) {
        const int count = (int)(n - start < BATCH ? n - start : BATCH);
        const uint64_t index = first + (uint64_t)start;
        for (int j = 0; j < count; j += FR_MASK_GROUP)
            philox_group(pieces + j, index + (uint64_t)j, mask);
        if (lower != 0) { /* turn the rare ties into plain keeps (0) and drops (all ones) */
            int ties = 0;
            for (int j = 0; j < count; j++)
                ties |= pieces[j] == upper;
            for (int j = 0; ties && j < count; j++)
                if (pieces[j] == upper)
                    pieces[j] = philox_tie(index + (uint64_t)j, mask) < lower ? 0 : 0xFFFF;
        }
        real *to = stream ? done : y + start;
        FR_ELEMENTWISE
        for (int j = 0; j < count; j++)
            to[j] = x[start + j] * (pieces[j] < upper ? scale : (real)0);
        if (stream)
            fr_stream(y + start, done, (size_t)count * sizeof(real));
    }
    if (stream)
        fr_stream_end();
}
