/* A matrix product: what the caller says, what a plan makes of it, and the kernels' types. */
#ifndef FR_PRODUCT_H
#define FR_PRODUCT_H

#include <stddef.h>

/* c = a b, then c + bias if there is one, then ReLU if asked for: rows x depth times depth x
 * cols. Strides count elements and may be 0 or negative; the columns of c lie side by side. c
 * shares no memory with the rest. */
typedef struct {
    void *c;
    const void *a, *b, *bias;
    ptrdiff_t rows, cols, depth;
    ptrdiff_t c_row, a_row, a_col, b_row, b_col;
    int relu;

    /* Filled in by the plan. c is cut into `tasks` rectangles, which may be computed in any
     * order; `cost` is what they take, in bytes moved in that time. If packed_bytes is not 0,
     * `packed` must be that long, and `packs` parts of a and b be packed first. A product that is
     * turned has exchanged a and b: it computes the columns of c. */
    int turned, pack_b, shared_b;
    ptrdiff_t row_block, col_block, tasks, a_packs, packs, cost;
    size_t packed_bytes;
    void *packed;
} fr_product;

typedef void (*fr_plan_product)(fr_product *product, int threads);
/* Rectangle k of an fr_product, part k of what is packed, or block k of its columns, all rows:
 * tasks of a team. */
typedef void (*fr_product_task)(const void *product, ptrdiff_t k);

#endif
