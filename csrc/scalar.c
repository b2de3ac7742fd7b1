/* Functions of one number, for what an optimizer's step or a schedule computes once: from + - * /
 * and moves of bits, so that neither depends on a C library.
 *
 * They are sums of two doubles (Dekker, 1971) with about 60 bits, rounded at the end: within 0.55
 * ulp, which is what good libraries give in almost every case.
 */
#include "fastreg.h"
#include "exp.h"
#include "wide.h"

typedef struct {
    double high, low; /* what rounding took */
} pair;

#define LN_2_HIGH 6.93147180369123816490e-01 /* 32 bits: times an exponent it is exact */
#define LN_2_LOW 1.90821492927058770002e-10
#define TINY_SCALE 0x1p54

/* a + b (Knuth). */
static pair sum(double a, double b)
{
    const double high = a + b, part = high - a;
    const pair s = {high, (a - (high - part)) + (b - part)};
    return s;
}

static pair plus(double a, pair b)
{
    const pair s = sum(a, b.high);
    return sum(s.high, s.low + b.low);
}

static pair times(pair a, pair b)
{
    const double high = a.high * b.high;
    return sum(high, product_rest(a.high, b.high) + (a.high * b.low + a.low * b.high));
}

static pair over(pair a, pair b)
{
    const double first = a.high / b.high;
    const double rest =
        ((a.high - first * b.high) - product_rest(first, b.high)) + (a.low - first * b.low);
    return sum(first, rest / b.high);
}

/* The logarithm of a positive x: 2 atanh s = 2 (s + s^3 / 3 + ...), s = (m - 1) / (m + 1), where
 * m is from sqrt(1/2) to sqrt(2) and x = 2^e m. */
static pair log_pair(pair x)
{
    const int tiny = x.high < DBL_MIN;
    const double unit = tiny ? TINY_SCALE : 1.0;
    const uint64_t root_half = 0x3FE6A09E667F3BCDu;
    const uint64_t bits = bits64_of(x.high * unit) - root_half;
    const int steps = (int)((int64_t)bits >> 52), e = steps - (tiny ? 54 : 0);
    const double down = double_of((uint64_t)(1023 - steps / 2) << 52) * unit;
    const double rest = double_of((uint64_t)(1023 - (steps - steps / 2)) << 52);
    const double high = x.high * down * rest, low = x.low * down * rest;
    const pair m = {high, low}, s = over(plus(-1.0, m), plus(1.0, m)), z = times(s, s);
    const pair third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
    double p = 1.0 / 25;
    for (int k = 23; k >= 5; k -= 2)
        p = p * z.high + 1.0 / k;
    const pair cubic = times(times(s, z), plus(p * z.high, third));
    const pair half = plus(s.high, sum(s.low + cubic.low, cubic.high));
    const pair log_m = {2.0 * half.high, 2.0 * half.low};
    const pair log_e = {(double)e * LN_2_HIGH, (double)e * LN_2_LOW};
    return plus(log_e.high, plus(log_e.low, log_m));
}

/* e^x - 1 where minus is 1, e^x where it is 0; x from -800 to 800. */
static double exp_pair(pair x, int minus)
{
    const double shifted = x.high * 1.4426950408889634074 + MAGIC_F64, n = shifted - MAGIC_F64;
    const pair rough = sum(x.high, -n * LN_2_HIGH);
    const pair r = plus(rough.high, sum(rough.low + x.low, -n * LN_2_LOW));
    const pair sixth = {0x1.5555555555555p-3, 0x1.5555555555555p-57};
    double q = 1.0 / 18;
    for (int k = 17; k >= 5; k--)
        q = (q * r.high + 1.0) * (1.0 / k);
    const pair third_order = plus(r.high * ((q * r.high + 1.0) * (1.0 / 24)), sixth);
    const pair second = plus(0.5, times(r, third_order));
    const pair rise = times(r, plus(1.0, times(r, second)));
    double last;
    if (minus && n == 0)
        return rise.high + rise.low;
    const pair whole = plus(1.0, rise);
    if (minus) {
        const double power = scaled_f64(1.0, shifted, &last) * last;
        const pair large = {whole.high * power, whole.low * power};
        const pair less = plus(-1.0, large);
        return less.high + less.low;
    }
    const double first = scaled_f64(whole.high + whole.low, shifted, &last);
    return first * last;
}

/* exp(y log x), or that less 1. */
static double raised(pair x, double y, int minus)
{
    const pair log = log_pair(x);
    const double rough = y * log.high;
    if (!(rough < 800.0) || !(rough > -800.0))
        return rough > 0 ? HUGE_VAL : rough < 0 ? (minus ? -1.0 : 0.0) : rough;
    const pair exact = sum(rough, product_rest(y, log.high) + y * log.low);
    return exp_pair(exact, minus);
}

double fr_power(double x, double y)
{
    if (y == 0.0 || x == 1.0)
        return 1.0;
    if (x == 0.0 || x - x != 0.0) /* 0, infinity, NaN */
        return y > 0.0 ? x : 1.0 / x;
    const pair exact = {x, 0.0};
    return raised(exact, y, 0);
}

double fr_missing_power(double x, double y)
{
    if (x >= 1.0)
        return 1.0;
    const pair base = sum(1.0, -x);
    return 0.0 - raised(base, y, 1);
}

/* sin r and cos r, r up to pi / 4 in size, by Taylor's series. */
static double sin_pair(pair r)
{
    const pair z = times(r, r), sixth = {-0x1.5555555555555p-3, -0x1.5555555555555p-57};
    double q = 1.0;
    for (int k = 18; k >= 6; k -= 2)
        q = 1.0 - q * z.high * (1.0 / (k * (k + 1)));
    const pair cubic = times(times(r, z), plus(q * z.high * (1.0 / 120), sixth));
    const pair whole = plus(r.high, sum(r.low + cubic.low, cubic.high));
    return whole.high + whole.low;
}

static double cos_pair(pair r)
{
    const pair z = times(r, r);
    double q = 1.0;
    for (int k = 17; k >= 5; k -= 2)
        q = 1.0 - q * z.high * (1.0 / (k * (k + 1)));
    const pair whole = plus(1.0, times(z, plus(-0.5, sum(q * z.high * (1.0 / 24), 0.0))));
    return whole.high + whole.low;
}

/* The cosine of x, which a number of quarter turns precedes; pi / 2 in three parts (fdlibm), of
 * which two have 33 bits. */
static double cos_after(double x, int quarters)
{
    const double shifted = x * 0.63661977236758134308 + MAGIC_F64, n = shifted - MAGIC_F64;
    const pair first = sum(x - n * 1.57079632673412561417e+00, -n * 6.07710050630396597660e-11);
    const pair r = plus(first.high, sum(first.low, -n * 2.02226624879595063154e-21));
    const int turned = ((int)n + quarters) & 3;
    const double size = turned & 1 ? sin_pair(r) : cos_pair(r);
    return turned == 1 || turned == 2 ? -size : size;
}

double fr_cos(double x)
{
    return cos_after(x, 0);
}

double fr_sin(double x)
{
    return cos_after(x, 3);
}
