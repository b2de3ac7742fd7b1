/* Exponentials of powers, whose rounding would cost as many ulp in a tail as the exponent is
 * large.
 *
 * The exponent has more digits than the element type: in float it is a double, in double a sum
 * with what rounding took (Dekker, 1971). Results are two factors, as in exp.h.
 */

/* x = n ln 2 + r, r to a float's digits and many more; n comes as n + MAGIC. */
FR_INLINE double reduced_wide(double x, double *shifted)
{
    *shifted = x * 1.4426950408889634074 + MAGIC_F64;
    return x - (*shifted - MAGIC_F64) * 0.69314718055994530942;
}

/* e^x in two factors for x <= 0 with more digits than a float has. */
FR_INLINE float exp_wide_f32(double x, float *last)
{
    double n;
    const double r = reduced_wide(x < -176.0 ? -176.0 : x, &n);
    return scaled_f32(1.0f + rise_f32((float)r), (float)(n - MAGIC_F64) + MAGIC_F32, last);
}

/* e^x to 2^-28, and to 2^-50 for x near 0, where x is from -700 to 700. */
FR_INLINE double exp_short(double x)
{
    double n;
    const double r = reduced_wide(x, &n);
    double p = 0x1.6ab96ecd3684fp-10;
    p = p * r + 0x1.126d1da925540p-7;
    p = p * r + 0x1.55589a9860d7ap-5;
    p = p * r + 0x1.55540a5c34387p-3;
    p = p * r + 0x1.fffffaae83416p-2;
    p = p * r + 0x1.0000009c195aap+0;
    return (p * r + 1.0) * power_of_2_f64(n, 0);
}

FR_INLINE double exp_long(double x)
{
    double n;
    const double r = reduced_wide(x, &n);
    double p = 0x1.2727a0b116cfap-22;
    p = p * r + 0x1.72f993a8699bap-19;
    p = p * r + 0x1.a01b6d068fbd3p-16;
    p = p * r + 0x1.a0197a40e29acp-13;
    p = p * r + 0x1.6c16c0c09358bp-10;
    p = p * r + 0x1.1111112d4dc0ep-7;
    p = p * r + 0x1.5555555593488p-5;
    p = p * r + 0x1.555555554bbeap-3;
    p = p * r + 0x1.ffffffffffe17p-2;
    p = p * r + 0x1.000000000001dp+0;
    return (p * r + 1.0) * power_of_2_f64(n, 0);
}

/* e^x for the sum of x, at most 0, and a small rest. */
FR_INLINE double exp_wide_f64(double x, double rest, double *last)
{
    const double e = exp_below_f64(x, last);
    return e + e * rest;
}

/* a * b less its rounded value (Dekker, 1971); both below 1e290. */
FR_INLINE double product_rest(double a, double b)
{
    const double split = 134217729.0, wide_a = split * a, wide_b = split * b; /* 2^27 + 1 */
    const double a_high = wide_a - (wide_a - a), a_low = a - a_high;
    const double b_high = wide_b - (wide_b - b), b_low = b - b_high;
    return ((a_high * b_high - a * b) + (a_high * b_low + a_low * b_high)) + a_low * b_low;
}

/* exp(-x^2 / 2). */
FR_INLINE float exp_square_f32(float x, float *last)
{
    return exp_wide_f32((double)x * (double)x * -0.5, last);
}

FR_INLINE double exp_square_f64(double x, double *last)
{
    return exp_wide_f64(x * x * -0.5, product_rest(x, x) * -0.5, last);
}

/* exp(-(ROOT x + CUBIC x^3)), of GELU: 2 sqrt(2 / pi) and that times 0.044715, in two parts. */
#define GELU_ROOT 0x1.9884533d43651p+0
#define GELU_ROOT_REST -0x1.cbc0d30ebfd15p-54
#define GELU_CUBIC 0x1.2444f2a4d8b4bp-4
#define GELU_CUBIC_REST -0x1.3023b0e5fbc6ep-58

FR_INLINE double exp_cubic_f64(double x, double *last)
{
    const double square = x * x, cubic = GELU_CUBIC * square, sum = GELU_ROOT + cubic;
    const double cubic_rest = product_rest(GELU_CUBIC, square) +
                              (GELU_CUBIC * product_rest(x, x) + GELU_CUBIC_REST * square);
    const double part = sum - GELU_ROOT; /* Knuth's sum: either term may be the larger */
    const double sum_rest =
        ((GELU_ROOT - (sum - part)) + (cubic - part)) + (cubic_rest + GELU_ROOT_REST);
    const double exponent = sum * x, rest = product_rest(sum, x) + sum_rest * x;
    return exp_wide_f64(-exponent, -rest, last);
}
