/* Standard normal deviates as a pure function of (key, call, element): Box & Muller (1958) on
 * Philox bits. Part of stream version 1, domain 1 (see philox.h):
 *
 * A group of 64 elements draws counters 16g .. 16g+15. Counter k gives words w0..w3 and two pairs
 * of deviates: (w0, w1) those of elements 2k and 32+2k of the group, (w2, w3) those of 2k+1 and
 * 33+2k. The first word of a pair is its radius, the second its angle:
 *
 *   u = (first >> 1) + 1/2 over 2^31, radius = sqrt(-2 ln u), at most 6.66;
 *   angle in [-pi/4, pi/4) from the upper 30 bits of second; bit 0 swaps sine and cosine, bit 1
 *   turns the sign of the cosine.
 *
 * Everything is float, with + - * sqrt alone in the order written, so that all levels and the
 * reference agree in every bit. Polynomials: logf, sinf and cosf of Cephes (Moshier). A deviate
 * is within 3e-7, relative to its radius, of the exact function of its words (u as rounded to 24
 * bits), and the distribution function within 2e-7 of the normal one.
 */
/* sqrt(-2 ln u) for u = (word >> 1) + 1/2 over 2^31. */
FR_INLINE float normal_radius(uint32_t word)
{
    const uint32_t root_half = 0x3F3504F3u; /* sqrt(1/2): u = 2^e * (1 + f) around it */
    const uint32_t bits = bits_of((float)(int32_t)(word >> 1) + 0.5f) - root_half;
    const float e = (float)((int32_t)bits >> 23) - 31.0f;
    const float f = float_of((bits & 0x7FFFFFu) + root_half) - 1.0f;
    const float ln_u = e * 0.693147180559945f + (f + (log_tail(f) * f - 0.5f) * (f * f));
    return sqrtf(-2.0f * ln_u);
}

/* Cosine and sine of a uniform angle. */
FR_INLINE void normal_angle(float *first, float *second, uint32_t word)
{
    const float angle = (float)((int32_t)word >> 2) * 1.46291807926716e-9f; /* pi/4 * 2^-29 */
    const float z = angle * angle;
    float s = -1.9515295891e-4f, c = 2.443315711809948e-5f;
    s = s * z + 8.3321608736e-3f;
    s = s * z - 1.6666654611e-1f;
    s = s * z * angle + angle;
    c = c * z - 1.388731625493765e-3f;
    c = c * z + 4.166664568298827e-2f;
    c = c * z * z - 0.5f * z + 1.0f;
    c = float_of(bits_of(c) ^ (word << 30 & 0x80000000u));
    *first = word & 1u ? s : c;
    *second = word & 1u ? c : s;
}

/* The pairs of deviates of n pairs of words. */
FR_INLINE void normal_pairs(float *first, float *second, const uint32_t *radii,
                            const uint32_t *angles, int n)
{
    FR_ELEMENTWISE
    for (int j = 0; j < n; j++) {
        const float radius = normal_radius(radii[j]);
        float c, s;
        normal_angle(&c, &s, angles[j]);
        first[j] = radius * c;
        second[j] = radius * s;
    }
}

/* The deviates of `count` elements from `first`, at most FR_MASK_BATCH. Writes up to the end of
 * the last group. All words come before all transforms, so that neither waits for the other. */
FR_INLINE void normal_deviates(float *deviates, int count, uint64_t first, const fr_mask *mask)
{
    enum { PAIRS = FR_MASK_GROUP / 2 };
    uint32_t radii[FR_MASK_BATCH / 2], angles[FR_MASK_BATCH / 2];
    const int groups = (count + FR_MASK_GROUP - 1) / FR_MASK_GROUP;
    const fr_lanes low = fr_splat(0xFFFFFFFFu);
    for (int k = 0; k < groups * PAIRS / 2; k += FR_LANES) {
        fr_lanes index = fr_count_from(first / 4 + (uint64_t)k);
        fr_lanes words[4] = {index, index >> 32, fr_splat(mask->call),
                             fr_splat(mask->call >> 32 | (uint64_t)1 << 30)};
        philox4x32(words, mask->key);
        philox_store_words(radii + 2 * k, (words[0] & low) | words[2] << 32);
        philox_store_words(angles + 2 * k, (words[1] & low) | words[3] << 32);
    }
    for (int g = 0; g < groups; g++) {
        float *group = deviates + g * FR_MASK_GROUP;
        normal_pairs(group, group + PAIRS, radii + g * PAIRS, angles + g * PAIRS, PAIRS);
    }
}

/* The transform by itself, for tests of its edges at each level. */
static void normal_of_words(float *first, float *second, const uint32_t *radii,
                            const uint32_t *angles, int n)
{
    normal_pairs(first, second, radii, angles, n);
}
