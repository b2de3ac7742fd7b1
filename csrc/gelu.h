/* GELU in its form with tanh: x times the logistic function of u = ROOT x + CUBIC x^3, which is
 * twice the argument of the tanh. Its slope is gate (1 + x (1 - gate) u'), gate = 1 / (1 + e^-u).
 *
 * In float everything is in double, whose range holds e^-u and its square, and rounded once: both
 * are within 0.55 ulp, the slope at its zero as well. Beyond +-14 a gate is 0 or 1, whatever it
 * is multiplied by. In double (beyond +-1024) the exponent has more digits, and one of its two
 * factors is applied last: a few ulp, but for the slope near its zero.
 */
FR_INLINE double clipped_to_14(float x)
{
    x = choose_f32(x < -14.0f, -14.0f, x);
    return (double)choose_f32(x > 14.0f, 14.0f, x);
}

FR_INLINE float gelu_f32(float x)
{
    const double a = clipped_to_14(x), e = exp_short(a * (-GELU_ROOT - GELU_CUBIC * (a * a)));
    return (float)((double)(x < -14.0f ? -14.0f : x) / (1.0 + e));
}

FR_INLINE float gelu_slope_f32(float dy, float x)
{
    const double a = clipped_to_14(x), square = a * a;
    const double e = exp_long(a * (-GELU_ROOT - GELU_CUBIC * square)), sum = 1.0 + e;
    const double rise = a * (GELU_ROOT + (3 * GELU_CUBIC) * square);
    return (float)((sum + rise * e) / (sum * sum) * (double)dy);
}

FR_INLINE double saturated_f64(double x)
{
    x = choose_f64(x < -1024.0, -1024.0, x);
    return choose_f64(x > 1024.0, 1024.0, x);
}

FR_INLINE double gelu_f64(double x)
{
    double last;
    const double first = exp_cubic_f64(fabs(saturated_f64(x)), &last), sum = 1.0 + first * last;
    const double low = x < -1024.0 ? -1024.0 : x; /* -infinity gives 0 */
    return x >= 0.0 ? x / sum : low * first / sum * last;
}

FR_INLINE double gelu_slope_f64(double dy, double x_)
{
    double last;
    const double x = saturated_f64(x_), first = exp_cubic_f64(fabs(x), &last), e = first * last;
    const double sum = 1.0 + e, rise = x * (GELU_ROOT + (3 * GELU_CUBIC) * (x * x));
    const double inner = (x >= 0.0 ? e : 1.0) * rise, gate = x >= 0.0 ? 1.0 : first;
    return gate * (sum + inner) / (sum * sum) * dy * (x >= 0.0 ? 1.0 : last);
}
