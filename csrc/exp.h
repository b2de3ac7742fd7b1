/* exp(x) from + - * / and moves of bits: the same bits at every level.
 *
 * x = n ln 2 + r with n the nearest integer and |r| <= ln 2 / 2; exp(r) by the polynomial (float)
 * or the rational function (double) of Cephes (Moshier, 1989); 2^n in two factors, so that small
 * results round to subnormals once. NaN stays NaN; -infinity gives 0, and what is too large
 * infinity. Largest errors found where the result is normal: 0.99 ulp (float: all inputs), 1.7
 * ulp (double). About 35 operations, in double one division.
 *
 * exp_parts_* returns the first factor and leaves the last, so that a product with e^x in it can
 * be multiplied by the last at its end: e^x may be subnormal where the product is not.
 */
FR_INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FR_INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FR_INLINE double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FR_INLINE uint64_t bits64_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Adding it rounds to an integer, whose bits are then the lowest of the sum's. */
#define MAGIC_F32 12582912.0f        /* 1.5 * 2^23 */
#define MAGIC_F64 6755399441055744.0 /* 1.5 * 2^52 */

/* e^r 2^n. */
FR_INLINE float exp_scaled_f32(float r, float n, float *last)
{
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    const float half = n * 0.5f + MAGIC_F32, other = (n - (half - MAGIC_F32)) + MAGIC_F32;
    *last = float_of((bits_of(other) + 127u) << 23);
    return p * float_of((bits_of(half) + 127u) << 23);
}

FR_INLINE float exp_parts_f32(float x, float *last)
{
    x = x < -176.0f ? -176.0f : x; /* 2^-254: both factors are 0 */
    x = x > 89.0f ? 89.0f : x;     /* exp(89) is infinite */
    const float n = (x * 1.44269504088896341f + MAGIC_F32) - MAGIC_F32;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    return exp_scaled_f32(r, n, last);
}

FR_INLINE float exp_f32(float x)
{
    float last;
    const float first = exp_parts_f32(x, &last);
    return first * last;
}

FR_INLINE double exp_parts_f64(double x, double *last)
{
    x = x < -1418.0 ? -1418.0 : x; /* 2^-2046 */
    x = x > 710.0 ? 710.0 : x;
    const double n = (x * 1.4426950408889634074 + MAGIC_F64) - MAGIC_F64;
    const double r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6, rr = r * r;
    const double p = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr +
                          9.99999999999999999910e-1);
    const double q = ((3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3) * rr +
                      2.27265548208155028766e-1) *
                         rr +
                     2.0;
    const double half = n * 0.5 + MAGIC_F64, other = (n - (half - MAGIC_F64)) + MAGIC_F64;
    *last = double_of((bits64_of(other) + 1023u) << 52);
    return (1.0 + 2.0 * (p / (q - p))) * double_of((bits64_of(half) + 1023u) << 52);
}

FR_INLINE double exp_f64(double x)
{
    double last;
    const double first = exp_parts_f64(x, &last);
    return first * last;
}
