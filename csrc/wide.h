/* Exponentials of powers, whose rounding would cost as many ulp in a tail as the exponent is
 * large.
 *
 * The exponent has more digits than the element type: in float it is a double, in double a sum
 * with what rounding took (Dekker, 1971). Results are two factors, as in exp.h.
 */

/* e^x in two factors for x <= 0 with more digits than a float has. */
FR_INLINE float exp_wide_f32(double x, float *last)
{
    x = x < -176.0 ? -176.0 : x;
    const double n = (x * 1.4426950408889634074 + MAGIC_F64) - MAGIC_F64;
    return exp_scaled_f32((float)(x - n * 0.69314718055994530942), (float)n, last);
}

/* The same for the sum of x and a small rest. */
FR_INLINE double exp_wide_f64(double x, double rest, double *last)
{
    const double e = exp_parts_f64(x, last);
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

FR_INLINE float exp_cubic_f32(float x_, float *last)
{
    const double x = (double)x_;
    return exp_wide_f32(-(x * (GELU_ROOT + GELU_CUBIC * (x * x))), last);
}

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
