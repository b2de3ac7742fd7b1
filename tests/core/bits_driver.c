/* The kernels by themselves, without Python: one line per level, element type and family with the
 * hash of all that they write. Every level must print the same; so must every compiler, C library
 * and machine, which .ci/compilers and .ci/arm64 compare. Lengths are around those of registers
 * and runs. */
#include "fastreg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300 };
static const ptrdiff_t lengths[] = {1, 3, 7, 8, 15, 16, 17, 63, 64, 65, 127, 129, MOST};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static uint64_t state;
static double number(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 20) * 0x1p-41 - 4.0;
}

static uint64_t hash;
static void take(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
}

typedef union {
    float f32[MOST * 4];
    double f64[MOST * 4];
} array;

static int type;
static size_t size;
static array x, y, z, slots[FR_MAX_SLOTS], average;

static void fill(array *a, ptrdiff_t n, int is_positive)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        double value = number();
        value = is_positive ? value * value : value;
        if (type == FR_FLOAT32)
            a->f32[i] = (float)value;
        else
            a->f64[i] = value;
    }
}

static void updates(const fr_kernels *k, ptrdiff_t n)
{
    const fr_hyper hyper = {.learning_rate = 0.1,
                            .momentum = 0.9,
                            .beta = 0.9,
                            .beta1 = 0.9,
                            .beta2 = 0.99,
                            .beta3 = 0.9,
                            .rho = 0.9,
                            .epsilon = 1e-8,
                            .momentum_decay = 0.004,
                            .trust_coefficient = 0.01};
    for (int rule = 0; rule < FR_RULE_COUNT; rule++)
        for (int all = 0; all < 2; all++) {
            fr_hyper asked = hyper;
            fr_step step;
            double memory = 1, squares[2] = {0}, units[2] = {1, 1};
            if (all)
                asked.lambda_l1 = 0.01, asked.lambda_prox = 0.01, asked.ema_decay = 0.9;
            fr_prepare(&step, rule, &asked, 3, 1, 1, 1, &memory);
            fr_span span = {.param = &x, .grad = &y, .average = all ? &average : NULL, .n = n};
            fill(&x, n, 0), fill(&y, n, 0), fill(&average, n, 0);
            for (int s = 0; s < FR_MAX_SLOTS; s++)
                fill(&slots[s], n, 1), span.slot[s] = s < fr_rules[rule].slots ? &slots[s] : NULL;
            if (rule >= FR_RULE_COUNT - FR_LAYERWISE_COUNT) {
                fr_step own = step;
                k->measure[rule - FR_RULE_lamb](&span, &step, units, 0, squares);
                fr_trust(&own, &step, rule, squares[0], squares[1]);
                step = own;
                take(squares, sizeof squares);
            }
            k->update[rule](&span, &step);
            take(&x, (size_t)n * size), take(&average, (size_t)n * size);
            for (int s = 0; s < FR_MAX_SLOTS; s++)
                take(&slots[s], (size_t)n * size);
        }
}

static void functions(const fr_kernels *k, ptrdiff_t n)
{
    for (int f = 0; f < FR_FUNCTION_COUNT; f++) {
        fill(&x, n, f == FR_FUNCTION_log || f == FR_FUNCTION_log1p);
        k->function[f](&y, &x, n, 0), take(&y, (size_t)n * size);
    }
    for (int f = 0; f < FR_SLOPE_COUNT; f++) {
        fill(&x, n, 0), fill(&z, n, 0);
        k->slope[f](&y, &z, &x, n, 0), take(&y, (size_t)n * size);
    }
    for (int f = 0; f < FR_MAP_COUNT; f++) {
        fill(&x, n, 0);
        k->map[f](&y, &x, n, 0.5, 1.5, 0), take(&y, (size_t)n * size);
    }
}

static void sums_and_losses(const fr_kernels *k, ptrdiff_t n)
{
    for (int f = 0; f < FR_SUM_COUNT; f++) {
        fill(&x, n, 0);
        const double sum = k->sum[f](&x, n, 0.5);
        take(&sum, sizeof sum);
    }
    for (int f = 0; f < FR_LOSS_COUNT; f++) {
        double loss;
        fill(&x, n, 0), fill(&z, n, 1);
        k->loss[f](&y, &loss, &x, &z, NULL, 0.25, 0.5, 0.25, 1, n);
        take(&y, (size_t)n * size), take(&loss, sizeof loss);
    }
    fill(&x, n, 0), k->softmax(&y, &x, 1, n), take(&y, (size_t)n * size);
}

static void masks(const fr_kernels *k, ptrdiff_t n)
{
    const fr_mask mask = {.key = 5,
                          .call = 7,
                          .threshold = 3000000000u,
                          .scale = 1.4375,
                          .kept_shift = 0.25,
                          .dropped_shift = -0.5};
    const fr_dropout kinds[] = {k->dropout, k->alpha_dropout, k->gaussian_dropout};
    for (int i = 0; i < 3; i++)
        fill(&x, n, 0), kinds[i](&y, &x, n, 128, &mask, 0), take(&y, (size_t)n * size);
}

static void norms(const fr_kernels *k, ptrdiff_t n)
{
    double statistics[8], dgamma[MOST] = {0}, dbeta[MOST] = {0};
    fill(&slots[0], n, 0), fill(&slots[1], n, 0), fill(&x, 4 * n, 0), fill(&z, 4 * n, 0);
    const fr_rows rows = {4, 0, 1, n, 1, &slots[0], &slots[1], 1e-5, 1, 0};
    k->layer_forward(&y, statistics, &x, &rows);
    take(&y, 4 * (size_t)n * size), take(statistics, sizeof statistics);
    k->layer_backward(&y, dgamma, dbeta, &z, &x, statistics, &rows);
    take(&y, 4 * (size_t)n * size), take(dgamma, sizeof dgamma), take(dbeta, sizeof dbeta);
    const fr_panel panel = {4, n < FR_PANEL_COLS ? n : FR_PANEL_COLS, n, 1};
    k->moments(dgamma, dbeta, &x, panel, &x);
    take(dgamma, sizeof dgamma), take(dbeta, sizeof dbeta);
}

static void products(const fr_kernels *k, ptrdiff_t n)
{
    fill(&x, 4 * n, 0), fill(&y, 4 * n, 0), memset(&z, 0, sizeof z);
    fr_product p = {.c = &z,
                    .a = &x,
                    .b = &y,
                    .rows = 4,
                    .depth = n,
                    .cols = 4,
                    .c_row = 4,
                    .a_row = n,
                    .a_col = 1,
                    .b_row = 4,
                    .b_col = 1};
    k->plan_product(&p, 1);
    p.packed = malloc(p.packed_bytes + 64);
    for (ptrdiff_t i = 0; i < p.packs; i++)
        k->pack_product(&p, i);
    for (ptrdiff_t i = 0; i < p.tasks; i++)
        k->product(&p, i);
    free(p.packed);
    take(&z, 16 * size);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(const fr_kernels *k, ptrdiff_t n);
    } families[] = {{"updates", updates}, {"functions", functions}, {"sums", sums_and_losses},
                    {"masks", masks},     {"norms", norms},         {"products", products}};
    int differences = 0;
    for (type = FR_FLOAT32; type < FR_DTYPE_COUNT; type++)
        for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
            uint64_t first = 0;
            size = type == FR_FLOAT32 ? sizeof(float) : sizeof(double);
            for (int level = 0; level < fr_table_count; level++) {
                if (!fr_cpu_runs(level))
                    continue;
                state = 1, hash = 14695981039346656037u;
                for (int i = 0; i < LENGTHS; i++)
                    families[f].run(fr_tables[level].kernels[type], lengths[i]);
                first = level ? first : hash;
                if (hash != first)
                    differences++, fprintf(stderr, "%s differs at %s\n", families[f].name,
                                           fr_tables[level].name);
            }
            printf("f%d %s %016llx\n", (int)size * 8, families[f].name,
                   (unsigned long long)first);
        }
    return differences != 0;
}
