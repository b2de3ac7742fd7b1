/* Merge the moments of row chunks, in chunk order, in double (Chan, Golub & LeVeque, 1979). */
#include "fastreg.h"

void fr_merge_moments(double *mean, double *m2, const ptrdiff_t *rows, ptrdiff_t chunks,
                      ptrdiff_t cols)
{
    double before = (double)rows[0];
    for (ptrdiff_t k = 1; k < chunks; k++) {
        const double here = (double)rows[k], weight = here / (before + here);
        const double cross = before * weight;
        const double *mean_k = mean + k * cols, *m2_k = m2 + k * cols;
        for (ptrdiff_t c = 0; c < cols; c++) {
            const double delta = mean_k[c] - mean[c];
            mean[c] += delta * weight;
            m2[c] += m2_k[c] + delta * delta * cross;
        }
        before += here;
    }
}
