/* Norms, gates and products, for bits_driver.c. */
#include "bits_driver.h"

static const double epsilon = 1e-5;

/* Panels of about 4 n elements: narrow, so that rows are taken together, with gaps between their
 * rows, as wide as they may be; and one of runs. */
enum { PANELS = 5 };
static fr_panel panel_of(int which, ptrdiff_t n)
{
    static const ptrdiff_t cols[] = {3, 3, 40, FR_PANEL_COLS, 3}, gaps[] = {0, 2, 0, 5, 4};
    const ptrdiff_t run = which == PANELS - 1 ? n / 2 + 2 : 1;
    const ptrdiff_t stride = cols[which] * run + gaps[which];
    return (fr_panel){4 * n / stride + 1, cols[which], stride, run};
}

static ptrdiff_t count(fr_panel panel)
{
    return (panel.rows - 1) * panel.stride + panel.cols * panel.run;
}

static void take_panel(const void *array, fr_panel panel)
{
    for (ptrdiff_t r = 0; r < panel.rows; r++)
        take_elements(at(array, r * panel.stride), panel.cols * panel.run);
}

/* Statistics from the moments of two chunks, if there are rows for two: mean, variance and
 * 1 / sqrt(variance + epsilon) of every column. */
static double *statistics_of(const fr_kernels *k, const void *x, fr_panel panel)
{
    const fr_moments moments = panel.run > 1 ? k->run_moments : k->moments;
    const ptrdiff_t cols = panel.cols, rows = panel.rows, chunk = rows / 2 + 1;
    double *mean = unset_doubles(2 * cols), *m2 = unset_doubles(2 * cols);
    double *found = unset_doubles(3 * cols);
    for (ptrdiff_t begin = 0, to = 0; begin < rows; begin += chunk, to += cols) {
        panel.rows = rows - begin < chunk ? rows - begin : chunk;
        moments(mean + to, m2 + to, at(x, begin * panel.stride), panel, x);
        take_doubles(mean + to, cols), take_doubles(m2 + to, cols);
    }
    k->statistics(found, mean, m2, x, epsilon, rows * panel.run, chunk * panel.run, cols);
    take_doubles(found, 3 * cols);
    return found;
}

static fr_channels channels_of(const double *statistics, ptrdiff_t cols)
{
    return (fr_channels){statistics, statistics + 2 * cols, doubles(cols), doubles(cols)};
}

static void batch_norm(const fr_kernels *k, fr_panel panel)
{
    const int has_runs = panel.run > 1;
    const ptrdiff_t n = count(panel), cols = panel.cols;
    const fr_normalize forward = has_runs ? k->run_normalize : k->normalize;
    const fr_norm_sums sums = has_runs ? k->run_sums : k->norm_sums;
    const fr_norm_backward backward = has_runs ? k->run_backward : k->norm_backward;
    const void *x = numbers(n), *dy = numbers(n);
    const double *found = statistics_of(k, x, panel);
    const fr_channels channels = channels_of(found, cols);
    double *dscale = unset_doubles(cols), *dbeta = unset_doubles(cols);
    double *gradients = unset_doubles(4 * cols);
    sums(dscale, dbeta, dy, x, panel, found);
    fr_gradients(gradients, dscale, dbeta, channels.inv_std,
                 1.0 / (double)(panel.rows * panel.run), 1, cols);
    take_doubles(gradients, 4 * cols);
    for (int stream = 0; stream < 2; stream++) {
        void *y = unset(n), *dx = unset(n);
        forward(y, x, panel, channels, stream), take_panel(y, panel);
        backward(dx, dy, x, panel, channels, gradients + 2 * cols, gradients + 3 * cols, stream);
        take_panel(dx, panel);
    }
    forget();
}

static void batch_norms(const fr_kernels *k, ptrdiff_t n)
{
    for (int which = 0; which < PANELS; which++)
        batch_norm(k, panel_of(which, n));
}

static void row_norm(const fr_kernels *k, const fr_rows *rows)
{
    const fr_row_forward forward = rows->run > 1 ? k->group_forward : k->layer_forward;
    const fr_row_backward backward = rows->run > 1 ? k->group_backward : k->layer_backward;
    const ptrdiff_t n = rows->rows * rows->channels * rows->run;
    const ptrdiff_t channels = rows->groups * rows->channels;
    const void *x = numbers(n), *dy = numbers(n);
    void *y = unset(n), *dx = unset(n);
    double *found = unset_doubles(2 * rows->rows);
    double *dgamma = unset_doubles(channels), *dbeta = unset_doubles(channels);
    forward(y, found, x, rows);
    take_elements(y, n), take_doubles(found, 2 * rows->rows);
    backward(dx, dgamma, dbeta, dy, x, found, rows);
    take_elements(dx, n), take_doubles(dgamma, channels), take_doubles(dbeta, channels);
}

/* Layer norm of rows of n, in one group and in two, and group norm of runs of n / 2. */
static void row_norms(const fr_kernels *k, ptrdiff_t n)
{
    static const ptrdiff_t groups[] = {1, 2, 2};
    for (int which = 0; which < 3; which++)
        for (int centred = 0; centred < 2; centred++)
            for (int stream = 0; stream < 2; stream++) {
                const ptrdiff_t channels = which < 2 ? n : 3, run = which < 2 ? 1 : n / 2 + 2;
                const ptrdiff_t all = groups[which] * channels, few = n < 100 ? 37 : 3;
                const fr_rows rows = {
                    few,          1,       groups[which], channels, run, numbers(all),
                    numbers(all), epsilon, centred,       stream};
                row_norm(k, &rows);
                forget();
            }
}

static void gate_forward(const fr_kernels *k, fr_panel panel, const fr_gate *gate)
{
    const ptrdiff_t n = count(panel), cols = panel.cols;
    const void *x = numbers(n);
    void *gated = numbers(n), *plain = numbers(n), *y = unset(n), *whole = unset(n);
    const fr_channels channels = channels_of(statistics_of(k, x, panel), cols);
    double *found = unset_doubles(3 * cols);
    k->bias_gate(gated, numbers(cols), panel, 1000, gate), take_panel(gated, panel);
    k->bias_gate(plain, NULL, panel, 0, gate), take_panel(plain, panel);
    k->norm_gate(y, x, panel, channels, 1000, gate), take_panel(y, panel);
    k->norm_gate_columns(whole, found, cols, x, panel, panel.rows / 2 + 1, channels, epsilon, 7,
                         gate);
    take_panel(whole, panel), take_doubles(found, 3 * cols);
    forget();
}

static void gate_backward(const fr_kernels *k, fr_panel panel)
{
    const ptrdiff_t n = count(panel), cols = panel.cols, chunk = panel.rows / 2 + 1;
    const void *dy = numbers(n), *y = numbers(n);
    void *dx = unset(n), *slopes = unset(n), *dbias = unset(cols), *total = unset(cols);
    double *sums = unset_doubles(2 * cols);
    k->gate_sums(dx, sums, dy, y, panel, 1.25), take_panel(dx, panel);
    k->gate_sums(NULL, sums + cols, dy, NULL, panel, 1), take_doubles(sums, 2 * cols);
    k->fold_sums(total, sums, 2, cols), take_elements(total, cols);
    k->gate_slopes(slopes, dbias, dy, y, panel, chunk, 1.25);
    take_panel(slopes, panel), take_elements(dbias, cols);
    forget();
}

static void norm_gate_backward(const fr_kernels *k, fr_panel panel)
{
    const ptrdiff_t n = count(panel), cols = panel.cols, chunk = panel.rows / 2 + 1;
    const void *x = numbers(n), *dy = numbers(n), *y = numbers(n);
    const fr_channels channels = channels_of(statistics_of(k, x, panel), cols);
    void *dx = unset(n), *slopes = unset(n), *dbias = unset(cols);
    double *sums = unset_doubles(2 * cols), *gradients = unset_doubles(2 * cols);
    k->norm_gate_sums(dx, sums, sums + cols, dy, x, y, panel, channels.mean, 1.25);
    take_panel(dx, panel), take_doubles(sums, 2 * cols);
    k->norm_gate_slopes(slopes, gradients, cols, dbias, dy, x, y, panel, chunk, channels, 1.25);
    take_panel(slopes, panel), take_elements(dbias, cols), take_doubles(gradients, 2 * cols);
    forget();
}

static void gates(const fr_kernels *k, ptrdiff_t n)
{
    for (int which = 0; which < PANELS - 1; which++) { /* there are none of runs */
        const fr_panel panel = panel_of(which, n);
        for (int kind = 0; kind < 4; kind++)
            gate_forward(k, panel, &(fr_gate){kind % 2, kind / 2 ? &drawn_mask : NULL});
        gate_backward(k, panel);
        norm_gate_backward(k, panel);
    }
}

/* Sums and factors of columns, and of runs that begin in the middle of one. */
static void columns(const fr_kernels *k, ptrdiff_t n)
{
    for (int which = 0; which < PANELS - 1; which++) {
        const fr_panel panel = panel_of(which, n);
        const void *x = numbers(count(panel));
        void *y = unset(count(panel));
        double *squares = unset_doubles(panel.cols);
        k->column_squares(squares, x, panel), take_doubles(squares, panel.cols);
        k->scale_columns(y, x, panel, doubles(panel.cols)), take_panel(y, panel);
        forget();
    }
    for (int which = 0; which < 4; which++) {
        const fr_runs runs = {2, 5, which / 2 ? 33 : 1};
        const ptrdiff_t first = 3, rows = (n + first) / (runs.cols * runs.length) + 1;
        const void *x = numbers(n), *factors = numbers((rows / runs.repeat + 1) * runs.cols);
        void *y = unset(n);
        k->scale_runs(y, x, n, first, factors, runs, which % 2), take_elements(y, n);
        forget();
    }
}

/* All of c by rectangles, then by blocks of its columns, where the plan has not turned it. */
static void multiply(const fr_kernels *k, fr_product p, int by_columns)
{
    const ptrdiff_t n = p.rows * p.cols;
    void *c = unset(n);
    p.c = c;
    k->plan_product(&p, 1);
    if (by_columns && p.turned)
        return;
    p.packed = room(p.packed_bytes + 64);
    for (ptrdiff_t i = 0; i < p.packs; i++)
        k->pack_product(&p, i);
    for (ptrdiff_t i = 0; !by_columns && i < p.tasks; i++)
        k->product(&p, i);
    for (ptrdiff_t i = 0; by_columns && i * p.col_block < p.cols; i++)
        k->product_columns(&p, i);
    take_elements(c, n);
}

/* Deep, tall, wide and of all three; b by its rows or by its columns. */
static void products(const fr_kernels *k, ptrdiff_t n)
{
    const ptrdiff_t some = n < 300 ? n : 300;
    const ptrdiff_t shapes[][3] = {{4, n, 4}, {n, 5, 3}, {3, 7, n}, {33, some, 50}};
    for (int which = 0; which < 16; which++) {
        const ptrdiff_t *shape = shapes[which / 4], depth = shape[1], cols = shape[2];
        const int turned = which % 2, all = which / 2 % 2;
        fr_product p = {.rows = shape[0], .depth = depth, .cols = cols, .relu = all};
        p.a = numbers(shape[0] * depth), p.b = numbers(depth * cols);
        p.bias = all ? numbers(cols) : NULL;
        p.c_row = cols, p.a_row = depth, p.a_col = 1;
        p.b_row = turned ? 1 : cols, p.b_col = turned ? depth : 1;
        multiply(k, p, 0);
        multiply(k, p, 1);
        forget();
    }
}
