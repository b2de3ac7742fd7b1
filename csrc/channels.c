/* What batch norm computes once per call for each channel, in double. */
#include "fastreg.h"

void fr_gradients(double *gradients, double *dscale, double *dbeta, const double *inv_std,
                  double share, ptrdiff_t chunks, ptrdiff_t cols)
{
    double *dgamma = gradients, *total = gradients + cols;
    double *mean_dy = gradients + 2 * cols, *slope = gradients + 3 * cols;
    fr_add_rows(dscale, chunks, cols);
    fr_add_rows(dbeta, chunks, cols);
    for (ptrdiff_t c = 0; c < cols; c++) {
        dgamma[c] = dscale[c] * inv_std[c];
        total[c] = dbeta[c];
        mean_dy[c] = dbeta[c] * share;
        slope[c] = dgamma[c] * inv_std[c] * share;
    }
}

void fr_blend(double *blend, const double *before, const double *now, double keep, ptrdiff_t cols)
{
    for (ptrdiff_t c = 0; c < cols; c++)
        blend[c] = keep == 0.0   ? now[c] /* a share of 0 leaves out even an infinity */
                   : keep == 1.0 ? before[c]
                                 : keep * before[c] + (1.0 - keep) * now[c];
}
