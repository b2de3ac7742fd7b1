/* Matrix products whose bits are written down: c[i, j] is the sum, in order, over blocks of
 * FR_PRODUCT_BLOCK steps of k, of chains of fused multiply-adds in the order of k from 0.
 *
 * Vectors run along j, never along k, so tiles, levels and threads cannot change a bit. The loops
 * are Goto's (2008). Innermost, a tile of up to TILE_ROWS x TILE_COLS sums stays in registers
 * while a block of k passes: per step it loads TILE_COLS elements of b once and broadcasts
 * TILE_ROWS elements of a, two or three loads for every four multiply-adds. Around it, tile after
 * tile goes down the rows with one panel of b (TILE_COLS columns of a block of k, 16 or 32 KB),
 * which stays in L1. Where b lies far apart, the first tile copies the panel to the stack as it
 * goes; with many rows all of b is copied to panels beforehand, and so is a to tiles where it
 * lies unfavourably: k outermost in both. A c of few columns would leave most of a register idle:
 * where the rows of a lie side by side, its transpose b' a' is computed instead.
 */
#ifdef FR_REGISTER_BYTES
#if FR_LANES == 4
enum { TILE_ROWS = 6, TILE_VECS = 2 }; /* 12 sums, 2 of b and 1 of a in 16 registers */
#else
enum { TILE_ROWS = 12, TILE_VECS = 2 }; /* 24 sums in 32 registers */
#endif
#else
enum { TILE_ROWS = 6, TILE_VECS = 2 };
#endif
enum {
    TILE_COLS = TILE_VECS * WIDTH,
    PANEL = FR_PRODUCT_BLOCK * TILE_COLS,
    LONG = 64,      /* steps in which the lines of c arrive: 15 % of a product of depth 128 */
    AHEAD = 8,      /* steps of b fetched ahead where they come from afar */
    FAR_AHEAD = 32, /* where panels follow one another in L2: 5 % of a product of 2048 */
    PARTS = 4,      /* tiles of a packed together: whole cache lines if rows are adjacent */
    SPAN = 8,       /* panels of b packed together: long runs of its rows */
    NEAR_BYTES = 32 * 1024,            /* of b that are read where they lie: they stay in L1 */
    ROWS_BYTES = 32 * 1024 * FR_BYTES, /* of a block of a, 128 rows: they stay in L2 beside their
                                        * c, and panels of b are copied once for a batch */
    FEW_COLS = 16,                     /* of c, which is turned if registers would be idle */
    MANY_BYTES = 512 * 1024, /* the same where b is packed beforehand, which more rows than that
                                are worth */
    TASK_WORK = 1024 * 1024, /* multiply-adds of float that are worth a task: 10 us */
    WORK_PER_BYTE = 4,       /* multiply-adds of float in the time in which a byte is moved */
};

/* Where a tile's operands lie. Of the last register of columns `part` are alive. */
typedef struct {
    real *c;
    const real *a, *b, *bias;
    real *panel; /* where the first tile keeps the columns of b that it has read */
    ptrdiff_t c_row, a_row, a_k, b_k, steps;
    int part, add, relu;
} tile_at;

FR_INLINE vec load_last(const real *from, int last, int part)
{
    return last ? load_part(from, part) : load(from);
}

/* c (+)= a b over `steps` values of k. Inlined with everything after `at` constant. */
FR_INLINE void tile(const tile_at *at, const int rows, const int vecs, const int cut,
                    const int keep)
{
    real *panel = at->panel;
    vec sum[TILE_ROWS][TILE_VECS];
    const real *a = at->a, *b = at->b;
    const ptrdiff_t a_row = at->a_row, a_k = at->a_k, b_k = at->b_k, c_row = at->c_row;
    const int part = at->part;
    real *c = at->c;
    if (at->steps >= LONG) {
        FR_ROLLED
        for (int r = 0; r < rows; r++, c += c_row)
            for (int v = 0; v < vecs; v++)
                FR_PREFETCH_L2(c + v * WIDTH);
    }
    FR_UNROLL
    for (int r = 0; r < rows; r++) {
        FR_UNROLL
        for (int v = 0; v < vecs; v++)
            sum[r][v] = splat(0);
    }
    for (ptrdiff_t k = at->steps; k > 0; k--, a += a_k, b += b_k) {
        vec row[TILE_VECS];
        FR_UNROLL
        for (int v = 0; v < vecs; v++)
            row[v] = load_last(b + v * WIDTH, cut && v == vecs - 1, part);
        if (keep) {
            FR_UNROLL
            for (int v = 0; v < vecs; v++) {
                FR_PREFETCH(b + AHEAD * b_k + v * WIDTH);
                store(panel + v * WIDTH, row[v]);
            }
            panel += vecs * WIDTH;
        } else if (rows == TILE_ROWS && vecs == TILE_VECS && !cut) {
            FR_UNROLL
            for (int v = 0; v < vecs; v++)
                FR_PREFETCH(b + FAR_AHEAD * b_k + v * WIDTH);
        }
        FR_UNROLL
        for (int r = 0; r < rows; r++) {
            const vec factor = splat(a[r * a_row]);
            FR_UNROLL
            for (int v = 0; v < vecs; v++)
                sum[r][v] = FMA(factor, row[v], sum[r][v]);
        }
    }
    c = at->c;
    if (at->add)
        FR_UNROLL
    for (int r = 0; r < rows; r++)
        FR_UNROLL
    for (int v = 0; v < vecs; v++)
        sum[r][v] = load_last(c + r * c_row + v * WIDTH, cut && v == vecs - 1, part) + sum[r][v];
    if (at->bias)
        FR_UNROLL
    for (int v = 0; v < vecs; v++) {
        const vec bias = load_last(at->bias + v * WIDTH, cut && v == vecs - 1, part);
        FR_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][v] = sum[r][v] + bias;
    }
    if (at->relu)
        FR_UNROLL
    for (int r = 0; r < rows; r++)
        FR_UNROLL
    for (int v = 0; v < vecs; v++)
        sum[r][v] = positive(sum[r][v]);
    FR_UNROLL
    for (int r = 0; r < rows; r++)
        FR_UNROLL
    for (int v = 0; v < vecs; v++)
        if (cut && v == vecs - 1)
            store_part(c + r * c_row + v * WIDTH, part, sum[r][v]);
        else
            store(c + r * c_row + v * WIDTH, sum[r][v]);
}

#define FR_TILE(rows, vecs, cut)                                                                 \
    static void tile_##rows##_##vecs##_##cut(const tile_at *at)                                  \
    {                                                                                            \
        tile(at, rows, vecs, cut, 0);                                                            \
    }
#define FR_TILES(rows)                                                                           \
    FR_TILE(rows, 1, 0) FR_TILE(rows, 1, 1) FR_TILE(rows, 2, 0) FR_TILE(rows, 2, 1)
#define FR_TILE_NAMES(rows)                                                                      \
    {{tile_##rows##_1_0, tile_##rows##_1_1}, {tile_##rows##_2_0, tile_##rows##_2_1}},
#define FR_SIX(T) T(1) T(2) T(3) T(4) T(5) T(6)
#define FR_TWELVE(T) FR_SIX(T) T(7) T(8) T(9) T(10) T(11) T(12)
#if defined(FR_REGISTER_BYTES) && FR_LANES != 4
#define FR_TILE_ROWS FR_TWELVE
#else
#define FR_TILE_ROWS FR_SIX
#endif
typedef void (*tile_of)(const tile_at *at);
FR_TILE_ROWS(FR_TILES)
static void first_tile(const tile_at *at)
{
    tile(at, TILE_ROWS, TILE_VECS, 0, 1);
}
static const tile_of tiles[TILE_ROWS][TILE_VECS][2] = {FR_TILE_ROWS(FR_TILE_NAMES)};

/* to[k, l] = from[l, k] for n steps of k, WIDTH lines or what is left of them; zeros behind. */
FR_INLINE void turn_lines(real *to, ptrdiff_t width, const real *from, ptrdiff_t line, int lines,
                          int room, ptrdiff_t n)
{
    for (ptrdiff_t k = 0; k < n; k += WIDTH) {
        const int here = n - k < WIDTH ? (int)(n - k) : WIDTH;
        vec row[WIDTH];
        if (lines == WIDTH && here == WIDTH) {
            FR_UNROLL
            for (int l = 0; l < WIDTH; l++)
                row[l] = load(from + l * line + k);
        } else {
            FR_UNROLL
            for (int l = 0; l < WIDTH; l++)
                row[l] = l < lines ? load_part(from + l * line + k, here) : splat(0);
        }
        transpose(row);
        FR_UNROLL
        for (int s = 0; s < WIDTH; s++) {
            if (s >= here)
                break;
            if (room == WIDTH)
                store(to + (k + s) * width, row[s]);
            else
                store_part(to + (k + s) * width, room, row[s]);
        }
    }
}

/* `lines` rows of a or columns of b, k outermost, filled up with zeros to `width` lines. */
FR_INLINE void pack(real *to, ptrdiff_t width, const real *from, ptrdiff_t line, ptrdiff_t step,
                    ptrdiff_t lines, ptrdiff_t n)
{
    if (step == 1 && WIDTH > 1) {
        for (ptrdiff_t l = 0; l < width; l += WIDTH) {
            const ptrdiff_t left = lines - l, room = width - l;
            turn_lines(to + l, width, from + l * line, line,
                       left >= WIDTH ? WIDTH
                       : left < 0    ? 0
                                     : (int)left,
                       room >= WIDTH ? WIDTH : (int)room, n);
        }
    } else if (line == 1 && width % WIDTH == 0 && (WIDTH > 1 || lines == width)) {
        for (ptrdiff_t k = 0; k < n; k++)
            for (ptrdiff_t l = 0; l < width; l += WIDTH) {
                const ptrdiff_t left = lines - l;
                const real *at = from + k * step + l;
                store(to + k * width + l, left >= WIDTH ? load(at)
                                          : left > 0    ? load_part(at, (int)left)
                                                        : splat(0));
            }
    } else if (line == 1 && lines == width) {
        for (ptrdiff_t k = 0; k < n; k++)
            memcpy(to + k * width, from + k * step, (size_t)width * sizeof(real));
    } else {
        for (ptrdiff_t k = 0; k < n; k++)
            for (ptrdiff_t l = 0; l < width; l++)
                to[k * width + l] = l < lines ? from[l * line + k * step] : (real)0;
    }
}

FR_INLINE ptrdiff_t ceiling(ptrdiff_t n, ptrdiff_t unit)
{
    return n / unit + (n % unit != 0);
}

FR_INLINE ptrdiff_t at_most(ptrdiff_t limit, ptrdiff_t n)
{
    return n < limit ? n : limit;
}

/* Whether tiles of a are worth a copy. Rows along memory are read as they lie, unless there are
 * many passes over many of them; columns along memory cost a page per step. */
static int packs_a(const fr_product *p)
{
    if (p->a_col == 1)
        return p->rows >= 512 && p->cols >= 512 && p->depth > FR_PRODUCT_BLOCK;
    const ptrdiff_t bytes = p->a_col * (ptrdiff_t)sizeof(real);
    return p->cols >= 16 * TILE_COLS || (p->cols >= 4 * TILE_COLS && bytes % 4096 == 0);
}

/* Whether c is computed by columns, for want of columns; bias and ReLU run along rows. */
static int turns(const fr_product *p)
{
    return WIDTH > 1 && p->a_row == 1 && p->cols <= FEW_COLS && p->cols % WIDTH != 0 &&
           p->rows >= WIDTH && !p->bias && !p->relu;
}

static void exchange_sides(fr_product *p)
{
    const fr_product old = *p;
    p->a = old.b, p->a_row = old.b_col, p->a_col = old.b_row, p->rows = old.cols;
    p->b = old.a, p->b_row = old.a_col, p->b_col = old.a_row, p->cols = old.rows;
}

static void plan_product(fr_product *p, int threads)
{
    p->turned = turns(p);
    if (p->turned)
        exchange_sides(p);
    const ptrdiff_t steps = at_most(FR_PRODUCT_BLOCK, p->depth);
    const ptrdiff_t blocks = ceiling(p->depth, FR_PRODUCT_BLOCK);
    const ptrdiff_t tiles_down = ceiling(p->rows, TILE_ROWS),
                    across = ceiling(p->cols, TILE_COLS);
    const ptrdiff_t block_bytes = p->rows * steps * (ptrdiff_t)sizeof(real);
    const double work = (double)(sizeof(real) / 4) * (double)p->rows * (double)p->depth *
                        (double)(across * TILE_COLS);
    const double bytes = work / WORK_PER_BYTE, tasks = work / TASK_WORK;
    const double wanted = tasks < 8.0 * threads ? tasks : 8.0 * threads;
    p->cost = bytes < 1e15 ? (ptrdiff_t)bytes : (ptrdiff_t)1e15;

    const ptrdiff_t row = p->b_row < 0 ? -p->b_row : p->b_row;
    const int is_far = row * steps * (ptrdiff_t)sizeof(real) > NEAR_BYTES;
    const int is_copied = p->b_col != 1 || (is_far && p->rows > 2 * TILE_ROWS);
    /* Loads across two cache lines cost a tenth: tiles after the first read them straightened. */
    const int is_split = FR_LANES == 8 && ((uintptr_t)p->b | (uintptr_t)row * sizeof(real)) % 64;
    p->pack_b = is_copied || (is_split && p->rows > 4 * TILE_ROWS && p->cols >= TILE_COLS);
    p->shared_b = is_copied && block_bytes > MANY_BYTES;
    p->a_packs = !p->turned && packs_a(p) ? ceiling(tiles_down, PARTS) * blocks : 0;
    p->packs = p->a_packs + (p->shared_b ? ceiling(across, SPAN) * blocks : 0);
    p->packed_bytes = 0;
    if (p->a_packs)
        p->packed_bytes += (size_t)(tiles_down * TILE_ROWS * p->depth) * sizeof(real);
    if (p->shared_b)
        p->packed_bytes += (size_t)(across * TILE_COLS * p->depth) * sizeof(real);

    /* Blocks of rows whose a and c stay in L2; columns shared out, rows too where those are few.
     */
    ptrdiff_t down = ceiling(block_bytes, p->shared_b ? MANY_BYTES : ROWS_BYTES);
    ptrdiff_t groups = ceiling(across, SPAN);
    down = down < 1 ? 1 : down;
    if (wanted > (double)(groups * down))
        groups = at_most(across, (ptrdiff_t)(wanted / (double)down));
    groups = groups < 1 ? 1 : groups;
    if (groups == across && wanted > (double)(groups * down))
        down = (ptrdiff_t)(wanted / (double)groups + 0.5);
    p->row_block = ceiling(tiles_down, down) * TILE_ROWS;
    p->col_block = ceiling(across, groups) * TILE_COLS;
    p->tasks = ceiling(p->rows, p->row_block) * ceiling(p->cols, p->col_block);
}

/* The tile of packed a with this row, and the panel of packed b with this column, in the block of
 * k from `begin`. Blocks lie one after the other, in each its tiles or panels. */
FR_INLINE real *packed_a(const fr_product *p, ptrdiff_t row, ptrdiff_t begin, ptrdiff_t steps)
{
    return (real *)p->packed + begin * ceiling(p->rows, TILE_ROWS) * TILE_ROWS + row * steps;
}

FR_INLINE real *packed_b(const fr_product *p, ptrdiff_t col, ptrdiff_t begin, ptrdiff_t steps)
{
    const ptrdiff_t a = p->a_packs ? ceiling(p->rows, TILE_ROWS) * TILE_ROWS * p->depth : 0;
    return (real *)p->packed + a + begin * ceiling(p->cols, TILE_COLS) * TILE_COLS + col * steps;
}

/* A block of k of `together` tiles of rows or panels of columns, or of what is `left` of them:
 * `width` lines each, what is missing filled up to a multiple of `grain`. */
FR_INLINE void pack_lines(real *to, const int width, const int grain, const int together,
                          const real *from, ptrdiff_t line, ptrdiff_t step, ptrdiff_t left,
                          ptrdiff_t n)
{
    if (line == 1 && left >= together * width) {
        for (ptrdiff_t k = 0; k < n; k++)
            for (int t = 0; t < together; t++)
                memcpy(to + (t * n + k) * width, from + k * step + t * width,
                       (size_t)width * sizeof(real));
        return;
    }
    for (ptrdiff_t t = 0; t < together * width && t < left; t += width) {
        const ptrdiff_t lines = at_most(width, left - t);
        pack(to + t * n, ceiling(lines, grain) * grain, from + t * line, line, step, lines, n);
    }
}

static void pack_product(const void *product_, ptrdiff_t part)
{
    const fr_product *p = product_;
    const int of_a = part < p->a_packs;
    const ptrdiff_t blocks = ceiling(p->depth, FR_PRODUCT_BLOCK);
    part = of_a ? part : part - p->a_packs;
    const ptrdiff_t begin = part % blocks * FR_PRODUCT_BLOCK;
    const ptrdiff_t steps = at_most(FR_PRODUCT_BLOCK, p->depth - begin);
    const ptrdiff_t first = part / blocks * (of_a ? PARTS * TILE_ROWS : SPAN * TILE_COLS);
    if (of_a)
        pack_lines(packed_a(p, first, begin, steps), TILE_ROWS, TILE_ROWS, PARTS,
                   (const real *)p->a + first * p->a_row + begin * p->a_col, p->a_row, p->a_col,
                   p->rows - first, steps);
    else
        pack_lines(packed_b(p, first, begin, steps), TILE_COLS, WIDTH, SPAN,
                   (const real *)p->b + first * p->b_col + begin * p->b_row, p->b_col, p->b_row,
                   p->cols - first, steps);
}

FR_INLINE const real *tile_of_a(const fr_product *p, ptrdiff_t i, ptrdiff_t begin,
                                ptrdiff_t steps)
{
    return p->a_packs ? packed_a(p, i, begin, steps)
                      : (const real *)p->a + i * p->a_row + begin * p->a_col;
}

/* The tile of c at row i and column j, before `bottom` and `right`; b is in place. */
FR_INLINE void run_tile(const fr_product *p, tile_at *at, ptrdiff_t i, ptrdiff_t j,
                        ptrdiff_t bottom, ptrdiff_t right, int is_last)
{
    const int rows = (int)at_most(TILE_ROWS, bottom - i);
    const int width = (int)at_most(TILE_COLS, right - j), vecs = (width + WIDTH - 1) / WIDTH;
    at->c = (real *)p->c + i * p->c_row + j;
    at->part = width - (vecs - 1) * WIDTH;
    at->bias = is_last && p->bias ? (const real *)p->bias + j : NULL;
    tiles[rows - 1][vecs - 1][at->part != WIDTH](at);
}

/* Panel by panel: down the rows with one that stays in L1. */
FR_INLINE void down_panels(const fr_product *p, tile_at *at, ptrdiff_t top, ptrdiff_t bottom,
                           ptrdiff_t left, ptrdiff_t right, ptrdiff_t begin, int is_last)
{
    for (ptrdiff_t j = left; j < right; j += TILE_COLS) {
        const ptrdiff_t width = at_most(TILE_COLS, right - j);
        ptrdiff_t i = top;
        at->b = (const real *)p->b + begin * p->b_row + j * p->b_col, at->b_k = p->b_row;
        if (p->pack_b && p->b_col == 1 && width == TILE_COLS && bottom - top >= TILE_ROWS) {
            at->a = tile_of_a(p, i, begin, at->steps);
            at->c = (real *)p->c + i * p->c_row + j;
            at->bias = is_last && p->bias ? (const real *)p->bias + j : NULL;
            first_tile(at);
            at->b = at->panel, at->b_k = TILE_COLS, i += TILE_ROWS;
        } else if (p->pack_b) {
            const ptrdiff_t padded = ceiling(width, WIDTH) * WIDTH;
            pack(at->panel, padded, at->b, p->b_col, p->b_row, width, at->steps);
            at->b = at->panel, at->b_k = padded;
        }
        for (; i < bottom; i += TILE_ROWS) {
            at->a = tile_of_a(p, i, begin, at->steps);
            run_tile(p, at, i, j, bottom, right, is_last);
        }
    }
}

/* Tile by tile: along packed panels, which stay in L2, or along a b so small that all of it stays
 * in L1, with rows of a that stay in L1. The rows of c are then read along memory: down it, every
 * tile would touch TILE_ROWS other pages. */
FR_INLINE void along_panels(const fr_product *p, tile_at *at, ptrdiff_t top, ptrdiff_t bottom,
                            ptrdiff_t left, ptrdiff_t right, ptrdiff_t begin, int is_last)
{
    for (ptrdiff_t i = top; i < bottom; i += TILE_ROWS) {
        at->a = tile_of_a(p, i, begin, at->steps);
        for (ptrdiff_t j = left; j < right; j += TILE_COLS) {
            if (p->shared_b) {
                at->b = packed_b(p, j, begin, at->steps);
                at->b_k = ceiling(at_most(TILE_COLS, p->cols - j), WIDTH) * WIDTH;
            } else {
                at->b = (const real *)p->b + begin * p->b_row + j, at->b_k = p->b_row;
            }
            run_tile(p, at, i, j, bottom, right, is_last);
        }
    }
}

/* Columns left .. right of c' = a b, turned as they are written: each lies along a row of c. */
static void turned_panels(const fr_product *p, tile_at *at, ptrdiff_t left, ptrdiff_t right)
{
    _Alignas(64) real sums[FEW_COLS * TILE_COLS];
    at->c_row = TILE_COLS, at->b_k = p->b_row, at->bias = NULL;
    for (ptrdiff_t j = left; j < right; j += TILE_COLS) {
        const ptrdiff_t width = at_most(TILE_COLS, right - j), vecs = ceiling(width, WIDTH);
        ptrdiff_t begin = 0;
        at->part = (int)(width - (vecs - 1) * WIDTH);
        do {
            at->steps = at_most(FR_PRODUCT_BLOCK, p->depth - begin), at->add = begin > 0;
            at->b = (const real *)p->b + begin * p->b_row + j;
            for (ptrdiff_t i = 0; i < p->rows; i += TILE_ROWS) {
                at->a = (const real *)p->a + i * p->a_row + begin * p->a_col;
                at->c = sums + i * TILE_COLS;
                tiles[at_most(TILE_ROWS, p->rows - i) - 1][vecs - 1][at->part != WIDTH](at);
            }
            begin += at->steps;
        } while (begin < p->depth);
        for (ptrdiff_t i = 0; i < p->rows; i += WIDTH) {
            const int lines = (int)at_most(WIDTH, p->rows - i);
            turn_lines((real *)p->c + j * p->c_row + i, p->c_row, sums + i * TILE_COLS, TILE_COLS,
                       lines, lines, width);
        }
    }
}

/* The rectangle of c from row `top` and column `left`. */
static void rectangle(const fr_product *p, ptrdiff_t top, ptrdiff_t left)
{
    const ptrdiff_t bottom = top + at_most(p->row_block, p->rows - top);
    const ptrdiff_t right = left + at_most(p->col_block, p->cols - left);
    _Alignas(64) real panel[PANEL];
    tile_at at = {
        .panel = panel,
        .c_row = p->c_row,
        .a_row = p->a_packs ? 1 : p->a_row,
        .a_k = p->a_packs ? TILE_ROWS : p->a_col,
    };
    ptrdiff_t begin = 0;
    if (p->turned) {
        turned_panels(p, &at, left, right);
        return;
    }
    do { /* once where there is no k at all: the sum is 0 */
        const int is_last = p->depth - begin <= FR_PRODUCT_BLOCK;
        at.steps = at_most(FR_PRODUCT_BLOCK, p->depth - begin);
        at.add = begin > 0, at.relu = is_last && p->relu;
        if (p->shared_b || (!p->pack_b && p->cols * at.steps <= NEAR_BYTES / (int)sizeof(real)))
            along_panels(p, &at, top, bottom, left, right, begin, is_last);
        else
            down_panels(p, &at, top, bottom, left, right, begin, is_last);
        begin += at.steps;
    } while (begin < p->depth);
}

static void product(const void *product_, ptrdiff_t task)
{
    const fr_product *p = product_;
    const ptrdiff_t across = ceiling(p->cols, p->col_block);
    const ptrdiff_t down = ceiling(p->rows, p->row_block);
    /* A thread's tasks are neighbours: they share rows of a where c is tall, panels of b where it
     * is wide, so that each thread reads its own half of the larger side. */
    const int by_rows = p->cols < 2 * p->rows;
    rectangle(p, (by_rows ? task / across : task % down) * p->row_block,
              (by_rows ? task % across : task / down) * p->col_block);
}

static void product_columns(const void *product_, ptrdiff_t k)
{
    const fr_product *p = product_;
    for (ptrdiff_t top = 0; top < p->rows; top += p->row_block)
        rectangle(p, top, k * p->col_block);
}
