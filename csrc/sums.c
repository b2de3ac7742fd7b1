/* Adding up what blocks summed. */
#include "fastreg.h"

void fr_add_rows(double *sums, ptrdiff_t rows, ptrdiff_t cols)
{
    for (ptrdiff_t r = 1; r < rows; r++)
        for (ptrdiff_t c = 0; c < cols; c++)
            sums[c] += sums[r * cols + c];
}

void fr_merge(double *sums, ptrdiff_t rows, ptrdiff_t cols)
{
    for (ptrdiff_t c = 0; c < cols; c++) {
        double sum = 0.0, rest = 0.0;
        for (ptrdiff_t r = 0; r < rows; r++) {
            const double term = sums[r * cols + c], total = sum + term, part = total - sum;
            rest += (sum - (total - part)) + (term - part);
            sum = total;
        }
        sums[c] = fr_total(sum, rest);
    }
}
