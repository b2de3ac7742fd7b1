/* exp(x) for x <= 0, from + - * / and integer adds to the exponent: the same bits at every level.
 *
 * x = n ln 2 + r with n the nearest integer and |r| <= ln 2 / 2; exp(r) by the polynomial (float)
 * or the rational function (double) of Cephes (Moshier, 1989); 2^n in two factors, so that small
 * results round to subnormals once. Within 1.5 ulp where the result is normal. NaN stays NaN, and
 * -infinity gives 0.
 */
FR_INLINE float exp_f32(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -110.0f ? -110.0f : x;   /* exp(-104) is already 0 */
    const float shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t power = bits - 0x4B400000, half = power / 2;
    const uint32_t one = (uint32_t)(half + 127) << 23, two = (uint32_t)(power - half + 127) << 23;
    float first, second;
    memcpy(&first, &one, sizeof first);
    memcpy(&second, &two, sizeof second);
    return p * first * second;
}

FR_INLINE double exp_f64(double x)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    x = x < -760.0 ? -760.0 : x;             /* exp(-746) is already 0 */
    const double shifted = x * 1.4426950408889634074 + magic, n = shifted - magic;
    const double r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6, rr = r * r;
    const double p = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr +
                          9.99999999999999999910e-1);
    const double q = ((3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3) * rr +
                      2.27265548208155028766e-1) *
                         rr +
                     2.0;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int64_t power = bits - 0x4338000000000000, half = power / 2;
    const uint64_t one = (uint64_t)(half + 1023) << 52;
    const uint64_t two = (uint64_t)(power - half + 1023) << 52;
    double first, second;
    memcpy(&first, &one, sizeof first);
    memcpy(&second, &two, sizeof second);
    return (1.0 + 2.0 * (p / (q - p))) * first * second;
}
