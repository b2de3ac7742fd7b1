/* Sum of squares, for the global norm of the gradients, and a count of what is not finite.
 *
 * Element i goes to lane i % 16, lanes are summed in pairs: one order for every vector width.
 * Sums are in double; scale keeps float64 gradients near 1e200 from overflowing. Reads each
 * element once and writes nothing.
 */
static void NAME(squares)(double *sum, double *nonfinite, const void *x_, ptrdiff_t n,
                          double scale)
{
    enum { LANES = 16 };
    const real *x = x_;
    double squares[LANES] = {0}, bad[LANES] = {0};
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double v = scale * (double)x[i + k];
            squares[k] += v * v;
            bad[k] += v - v == 0 ? 0.0 : 1.0;
        }
    for (int k = 0; i + k < n; k++) {
        const double v = scale * (double)x[i + k];
        squares[k] += v * v;
        bad[k] += v - v == 0 ? 0.0 : 1.0;
    }
    for (int half = LANES / 2; half; half /= 2)
        for (int k = 0; k < half; k++) {
            squares[k] += squares[k + half];
            bad[k] += bad[k + half];
        }
    *sum = squares[0];
    *nonfinite = bad[0];
}
