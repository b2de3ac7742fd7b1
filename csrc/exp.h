/* exp(x) from + - * / and moves of bits: the same bits at every level.
 *
 * x = n ln 2 + r with n the nearest integer and |r| <= ln 2 / 2; exp(r) by the best polynomial of
 * degree 6 (float) or the rational function of Cephes (Moshier, 1989; double); 2^n in two
 * factors, so that small results round to subnormals once. NaN stays NaN; -infinity gives 0, and
 * what is too large infinity. Largest errors found where the result is normal: 0.99 ulp (float:
 * all inputs), 1.7 ulp (double). About 30 operations, in double one division.
 *
 * exp_parts_* returns the first factor and leaves the last, so that a product with e^x in it can
 * be multiplied by the last at its end: e^x may be subnormal where the product is not.
 * exp_below_* does that for x that are not large, exp_times_* takes one power of two in place of
 * both factors: each leaves out what its callers do not need.
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

/* a where `first`, else b, in bits: of two `?:` in a row gcc 12 makes six operations on masks, by
 * threading the second through the first. */
FR_INLINE float choose_f32(int first, float a, float b)
{
    const uint32_t mask = 0u - (uint32_t)first;
    return float_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

FR_INLINE double choose_f64(int first, double a, double b)
{
    const uint64_t mask = 0u - (uint64_t)first;
    return double_of((bits64_of(a) & mask) | (bits64_of(b) & ~mask));
}

/* Adding it rounds to an integer, whose bits are then the lowest of the sum's. */
#define MAGIC_F32 12582912.0f        /* 1.5 * 2^23 */
#define MAGIC_F64 6755399441055744.0 /* 1.5 * 2^52 */
#define MAGIC_BITS_F32 0x4B400000u
#define MAGIC_BITS_F64 0x4338000000000000u

/* p 2^n as two factors, the last a power of 2; `shifted` is n + MAGIC, n from -254 to 128. */
FR_INLINE float scaled_f32(float p, float shifted, float *last)
{
    const uint32_t both = bits_of(shifted) - (MAGIC_BITS_F32 - 254u), half = both >> 1;
    *last = float_of((both - half) << 23);
    return p * float_of(half << 23);
}

FR_INLINE double scaled_f64(double p, double shifted, double *last)
{
    const uint64_t both = bits64_of(shifted) - (MAGIC_BITS_F64 - 2046u), half = both >> 1;
    *last = double_of((both - half) << 52);
    return p * double_of(half << 52);
}

/* 2^(n + power), where that is normal. */
FR_INLINE float power_of_2_f32(float shifted, int power)
{
    return float_of((bits_of(shifted) + (uint32_t)(127 + power)) << 23);
}

FR_INLINE double power_of_2_f64(double shifted, int power)
{
    return double_of((bits64_of(shifted) + (uint64_t)(1023 + power)) << 52);
}

/* x = n ln 2 + r; n comes as n + MAGIC. */
FR_INLINE float reduced_f32(float x, float *shifted)
{
    *shifted = x * 1.44269504088896341f + MAGIC_F32;
    const float n = *shifted - MAGIC_F32;
    return (x - n * 0.693359375f) + n * 2.12194440e-4f;
}

FR_INLINE double reduced_f64(double x, double *shifted)
{
    *shifted = x * 1.4426950408889634074 + MAGIC_F64;
    const double n = *shifted - MAGIC_F64;
    return (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
}

/* e^r - 1. */
FR_INLINE float rise_f32(float r)
{
    float p = 1.381459878757596e-3f;
    p = p * r + 8.368716575205326e-3f;
    p = p * r + 4.166838899254799e-2f;
    p = p * r + 1.666652113199234e-1f;
    p = p * r + 4.999999403953552e-1f;
    return p * (r * r) + r;
}

FR_INLINE double rise_f64(double r)
{
    const double rr = r * r;
    const double p = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr +
                          9.99999999999999999910e-1);
    const double q = ((3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3) * rr +
                      2.27265548208155028766e-1) *
                         rr +
                     2.0;
    return 2.0 * (p / (q - p));
}

#define FR_DEFINE_EXP(real, type, low, high)                                                     \
    /* x at most `high`. */                                                                      \
    FR_INLINE real exp_below_##type(real x, real *last)                                          \
    {                                                                                            \
        real n;                                                                                  \
        const real r = reduced_##type(choose_##type(x < low, low, x), &n);                       \
        return scaled_##type((real)1 + rise_##type(r), n, last);                                 \
    }                                                                                            \
    FR_INLINE real exp_parts_##type(real x, real *last)                                          \
    {                                                                                            \
        return exp_below_##type(choose_##type(x > high, high, x), last);                         \
    }                                                                                            \
    /* e^x 2^power, where that is normal. */                                                     \
    FR_INLINE real exp_times_##type(real x, int power)                                           \
    {                                                                                            \
        real n;                                                                                  \
        const real r = reduced_##type(x, &n);                                                    \
        return ((real)1 + rise_##type(r)) * power_of_2_##type(n, power);                         \
    }                                                                                            \
    FR_INLINE real exp_##type(real x)                                                            \
    {                                                                                            \
        real last;                                                                               \
        const real first = exp_parts_##type(x, &last);                                           \
        return first * last;                                                                     \
    }
/* At the lower end both factors are 0; the upper is beyond the largest number. */
FR_DEFINE_EXP(float, f32, -176.0f, 89.0f)
FR_DEFINE_EXP(double, f64, -1418.0, 710.0)
#undef FR_DEFINE_EXP
