/* The steps of optimizers, for bits_driver.c: with their state in the element type, in 16 bits
 * and in 8, and of parameters that have 16 bits. */
#include "bits_driver.h"

static const fr_hyper hyper = {.learning_rate = 0.1,
                               .momentum = 0.9,
                               .beta = 0.9,
                               .beta1 = 0.9,
                               .beta2 = 0.99,
                               .beta3 = 0.9,
                               .rho = 0.9,
                               .epsilon = 1e-8,
                               .momentum_decay = 0.004,
                               .trust_coefficient = 0.01};

/* A step that is to be taken; `narrow`: the bits of a number of its state, 0 for the type's. */
typedef struct {
    int rule, narrow;
    fr_span span;
    fr_step step;
    fr_draws draws;
    size_t slot_bytes[FR_MAX_SLOTS];
} task;

static int is_layerwise(int rule)
{
    return rule >= FR_RULE_lamb;
}

static uint16_t *halves(const fr_kernels *k, ptrdiff_t n, int squared, int half_type)
{
    uint16_t *found = room((size_t)n * sizeof *found);
    k->half_nearest[0](found, floats(n, squared), n, half_type);
    return found;
}

/* Codes, which are decoded on the way to see that they are what they should be. */
static uint8_t *codes(const fr_kernels *k, ptrdiff_t n, int unsign, int16_t **scales)
{
    uint8_t *found = room((size_t)n);
    float *back = room((size_t)n * sizeof *back);
    const size_t blocks = (size_t)(n + FR_CODED_BLOCK - 1) / FR_CODED_BLOCK;
    *scales = room(blocks * sizeof **scales);
    k->encode_slot[0](found, *scales, floats(n, unsign), n, unsign);
    k->decode_slot[0](back, found, *scales, n, unsign);
    take(back, (size_t)n * sizeof *back);
    return found;
}

static void add_slot(task *t, const fr_kernels *k, int slot)
{
    const fr_rule *rule = &fr_rules[t->rule];
    const int unsign = rule->kinds[slot] == 'd' || slot == rule->watched;
    const int narrow = rule->kinds[slot] == 'f' ? 0 : t->narrow;
    const ptrdiff_t n = t->span.n;
    void *found = narrow == 8    ? (void *)codes(k, n, unsign, &t->draws.scale[slot])
                  : narrow == 16 ? (void *)halves(k, n, 1, FR_BFLOAT16)
                                 : elements(n, 1);
    t->slot_bytes[slot] = (size_t)n * (narrow ? (size_t)narrow / 8 : size);
    t->span.slot[slot] = found;
}

/* `all`: with penalties and a moving average. */
static task task_of(const fr_kernels *k, int rule, int narrow, int all, ptrdiff_t n)
{
    fr_hyper asked = hyper;
    double memory = 1;
    task t = {.rule = rule, .narrow = narrow, .draws = {.mask = drawn_mask, .first = 128}};
    if (all)
        asked.lambda_l1 = 0.01, asked.lambda_prox = 0.01, asked.ema_decay = 0.9;
    fr_prepare(&t.step, rule, &asked, 3, 1, 1, 1, &memory);
    t.span.n = n, t.span.param = numbers(n), t.span.grad = numbers(n);
    t.span.average = all ? numbers(n) : NULL;
    for (int slot = 0; slot < fr_rules[rule].slots; slot++)
        add_slot(&t, k, slot);
    return t;
}

static void trust(task *t, const double squares[2])
{
    const fr_step step = t->step;
    fr_trust(&t->step, &step, t->rule, squares[0], squares[1]);
    take_doubles(squares, 2);
}

static void take_task(const task *t, size_t param_bytes)
{
    take(t->span.param, (size_t)t->span.n * param_bytes);
    if (t->span.average)
        take_elements(t->span.average, t->span.n);
    for (int slot = 0; slot < fr_rules[t->rule].slots; slot++) {
        take(t->span.slot[slot], t->slot_bytes[slot]);
        if (t->draws.scale[slot])
            take(t->draws.scale[slot],
                 (size_t)(t->span.n + FR_CODED_BLOCK - 1) / FR_CODED_BLOCK * sizeof(int16_t));
    }
}

static void updates(const fr_kernels *k, ptrdiff_t n)
{
    for (int rule = 0; rule < FR_RULE_COUNT; rule++)
        for (int all = 0; all < 2; all++) {
            task t = task_of(k, rule, 0, all, n);
            if (is_layerwise(rule)) {
                const fr_measure measure = k->measure[rule - FR_RULE_lamb];
                double squares[2], again[2];
                measure(&t.span, &t.step, (const double[2]){1, 1}, 0, squares);
                measure(&t.span, &t.step, (const double[2]){0.5, 0.25}, 1, again);
                take_doubles(again, 2);
                trust(&t, squares);
            }
            k->update[rule](&t.span, &t.step);
            take_task(&t, size);
            forget();
        }
}

/* LAMB measures by the state as it is kept, the others without their state. */
static void measure_kept(const fr_kernels *k, task *t)
{
    const double units[2] = {1, 1};
    double squares[2];
    if (t->rule != FR_RULE_lamb)
        k->measure[t->rule - FR_RULE_lamb](&t->span, &t->step, units, 0, squares);
    else if (t->narrow == 8)
        k->measure_coded[0](&t->span, &t->step, &t->draws, squares);
    else
        k->measure_narrow[0](&t->span, &t->step, &t->draws, squares);
    trust(t, squares);
}

/* State in 8 bits and in 16. */
static void narrow_updates(const fr_kernels *k, ptrdiff_t n)
{
    for (int rule = 0; rule < FR_RULE_COUNT; rule++)
        for (int which = 0; which < 4; which++) {
            task t = task_of(k, rule, which % 2 ? 8 : 16, which / 2, n);
            if (is_layerwise(rule))
                measure_kept(k, &t);
            if (t.narrow == 8)
                k->coded_update[0](&t.span, &t.step, &t.draws, rule);
            else
                k->narrow[rule](&t.span, &t.step, &t.draws);
            take_task(&t, size);
            forget();
        }
}

/* A step of parameters that have 16 bits, with a master or without. */
static void half_step(const fr_kernels *k, ptrdiff_t n, fr_half half)
{
    task t = task_of(k, half.rule, half.narrow, half.master != NULL, n);
    t.span.param = halves(k, n, 0, half.type), t.span.grad = halves(k, n, 0, half.type);
    if (is_layerwise(half.rule)) {
        double squares[2];
        k->half_measure[0](&t.span, &t.step, &t.draws, &half, squares);
        trust(&t, squares);
    }
    k->half_update[0](&t.span, &t.step, &t.draws, &half);
    take_task(&t, sizeof(uint16_t));
    if (half.master)
        take(half.master, (size_t)n * sizeof(float));
    forget();
}

static void half_updates(const fr_kernels *k, ptrdiff_t n)
{
    for (int half_type = FR_BFLOAT16; half_type <= FR_FLOAT16; half_type++) {
        for (int rule = 0; rule < FR_RULE_COUNT; rule++)
            for (int narrow = 0; narrow <= 16; narrow += 8)
                for (int master = 0; master < 2; master++)
                    half_step(k, n,
                              (fr_half){rule, half_type, narrow, master ? floats(n, 0) : NULL});
        const uint16_t *x = halves(k, n, 0, half_type);
        for (int sum = 0; sum < FR_SUM_COUNT; sum++) {
            const double found = k->half_sum[0](x, n, 0.5, sum, half_type);
            take_doubles(&found, 1);
        }
        forget();
    }
}
