/* log(x) and, for x >= 0, log(1 + x), from + - * / and moves of bits: the same bits at every
 * level.
 *
 * x = 2^e (1 + f) with 1 + f from sqrt(1/2) to sqrt(2); log(1 + f) by the polynomial of Cephes
 * (Moshier, 1989) in float and by that of fdlibm (Sun, 1993) in f / (2 + f) in double; e ln 2 in
 * two parts. log(1 + x) is that of the rounded sum u and a correction, what rounding took over u.
 * log(0) is -infinity, the logarithm of a negative number NaN. Largest errors found: log 1.01 ulp
 * (float: all inputs), 0.81 ulp (double); log(1 + x) 0.86 ulp, 0.80 ulp. About 35 operations, 50
 * with the 1; divisions: 0 and 1 in float, 1 and 2 in double.
 */

/* (log(1 + f) - f + f^2 / 2) / f^3; normal.h, too, stands on it. */
FR_INLINE float log_tail(float f)
{
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    return p * f + 3.3333331174e-1f;
}

/* log(u) + c for a positive normal u and a small c. */
FR_INLINE float log_normal_f32(float u, float c)
{
    const uint32_t root_half = 0x3F3504F3u; /* sqrt(1/2) */
    const uint32_t bits = bits_of(u) - root_half;
    const float e = (float)((int32_t)bits >> 23);
    const float f = float_of((bits & 0x7FFFFFu) + root_half) - 1.0f, z = f * f;
    const float p = log_tail(f);
    const float rest = ((f * z) * p + (c - e * 2.12194440e-4f)) - 0.5f * z;
    return e * 0.693359375f + (f + rest);
}

FR_INLINE double log_normal_f64(double u, double c)
{
    const uint64_t root_half = 0x3FE6A09E667F3BCDu, one = 0x3FF0000000000000u;
    const uint64_t bits = bits64_of(u) - root_half;
    /* The exponent, plus 1023, as the last bits of 2^52. */
    const double e = double_of((bits + one) >> 52 | 0x4330000000000000u) - 4503599627371519.0;
    const double f = double_of((bits & 0xFFFFFFFFFFFFFu) + root_half) - 1.0;
    const double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
    double p = 1.479819860511658591e-01;
    p = p * z + 1.531383769920937332e-01;
    p = p * z + 1.818357216161805012e-01;
    p = p * z + 2.222219843214978396e-01;
    p = p * z + 2.857142874366239149e-01;
    p = p * z + 3.999999999940941908e-01;
    p = p * z + 6.666666666666735130e-01;
    const double rest = s * (half + p * z) + (e * 1.90821492927058770002e-10 + c);
    return e * 6.93147180369123816490e-01 - ((half - rest) - f);
}

#define FR_DEFINE_LOG(real, type, smallest, scale, power)                                        \
    FR_INLINE real log_##type(real x)                                                            \
    {                                                                                            \
        const int tiny = x < smallest; /* subnormal: scaled first */                             \
        const real log = log_normal_##type(tiny ? x * scale : x, 0) - (tiny ? power : 0);        \
        return x > 0 ? (x - x == 0 ? log : x) : x == 0 ? -(real)HUGE_VAL : (real)NAN;            \
    }                                                                                            \
    FR_INLINE real log1p_##type(real x)                                                          \
    {                                                                                            \
        const real u = (real)1 + x, lost = x < 1 ? x - (u - (real)1) : (real)1 - (u - x);        \
        return x - x == 0 ? log_normal_##type(u, lost / u) : x;                                  \
    }
FR_DEFINE_LOG(float, f32, FLT_MIN, 0x1p24f, 16.635532333438687f)
FR_DEFINE_LOG(double, f64, DBL_MIN, 0x1p54, 37.429947750237048)
#undef FR_DEFINE_LOG
