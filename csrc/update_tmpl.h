/* Optimizer rules: one element step each, and one span loop around them.
 *
 * An element step takes the gradient and the element's state (in registers, updated in place)
 * and returns what is to be subtracted from the parameter. It also gives the denominator of the
 * rule's own metric, in which the proximal L1 penalty shrinks. The loop reads and writes every
 * array once: (3 + 2 * slots) * sizeof(real) bytes an element, 2 * sizeof(real) more for the
 * moving average.
 */

/* fr_step in the precision of the arrays. */
#define FR_REAL_FIELD(name) real name;
typedef struct {
    FR_STEP(FR_REAL_FIELD)
} scalars;
#undef FR_REAL_FIELD

/* As NumPy's sign: 0 for both zeros, NaN for NaN. */
FR_INLINE real sign(real x)
{
    return x > 0 ? (real)1 : x < 0 ? (real)-1 : x == 0 ? (real)0 : x;
}

/* Proximal operator of t |p| (soft threshold): exact zeros where |p| <= t. */
FR_INLINE real shrink(real p, real t)
{
    return p > t ? p - t : p < -t ? p + t : p == p ? (real)0 : p;
}

#define ELEMENT(rule)                                                                            \
    FR_INLINE real rule(real g, real slot[FR_MAX_SLOTS], const scalars *s, real *denominator)

ELEMENT(sgd)
{
    (void)slot;
    *denominator = 1;
    return s->rate * g;
}

/* Polyak (1964). slot: v. feed and rate place the learning rate before or after the sum. */
ELEMENT(momentum)
{
    slot[0] = s->momentum * slot[0] + s->feed * g;
    *denominator = 1;
    return s->rate * slot[0];
}

/* Nesterov (1983), in the form of Sutskever et al. (2013) that needs no look-ahead gradient. */
ELEMENT(nesterov)
{
    slot[0] = s->momentum * slot[0] + s->feed * g;
    *denominator = 1;
    return s->rate * slot[0] + s->gradient_rate * g;
}

/* Duchi, Hazan & Singer (2011). slot: v, the sum of squares. */
ELEMENT(adagrad)
{
    slot[0] = slot[0] + g * g;
    *denominator = SQRT(slot[0] + s->inside) + s->epsilon;
    return s->rate * g / *denominator;
}

/* Tieleman & Hinton (2012). slot: v. */
ELEMENT(rmsprop)
{
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * (g * g);
    *denominator = SQRT(slot[0] + s->inside) + s->epsilon;
    return s->rate * g / *denominator;
}

/* Graves (2013). slot: v, mean. The variance v - mean^2 is 0 where rounding makes it negative. */
ELEMENT(rmsprop_centered)
{
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * (g * g);
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * g;
    const real variance = slot[0] - slot[1] * slot[1];
    *denominator = SQRT((variance < 0 ? (real)0 : variance) + s->inside) + s->epsilon;
    return s->rate * g / *denominator;
}

/* slot: v, velocity. */
ELEMENT(rmsprop_momentum)
{
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * (g * g);
    *denominator = SQRT(slot[0] + s->inside) + s->epsilon;
    slot[1] = s->momentum * slot[1] + s->feed * g / *denominator;
    return s->rate * slot[1];
}

/* slot: v, mean, velocity. */
ELEMENT(rmsprop_centered_momentum)
{
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * (g * g);
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * g;
    const real variance = slot[0] - slot[1] * slot[1];
    *denominator = SQRT((variance < 0 ? (real)0 : variance) + s->inside) + s->epsilon;
    slot[2] = s->momentum * slot[2] + s->feed * g / *denominator;
    return s->rate * slot[2];
}

/* Kingma & Ba (2015). slot: m, v. With the bias corrections bc1, bc2 folded into
 * rate = lr sqrt(bc2) / bc1 and epsilon = eps sqrt(bc2), one root and one division. */
ELEMENT(adam)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (g * g);
    *denominator = SQRT(slot[1]) + s->epsilon;
    return s->rate * slot[0] / *denominator;
}

/* Reddi, Kale & Kumar (2018). slot: m, v, peak. */
ELEMENT(amsgrad)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (g * g);
    const real raised = s->peak * slot[1];
    slot[2] = slot[2] >= raised ? slot[2] : raised;
    *denominator = SQRT(slot[2]) + s->epsilon;
    return s->rate * slot[0] / *denominator;
}

/* Dozat (2016). slot: m, v. */
ELEMENT(nadam)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (g * g);
    *denominator = SQRT(slot[1]) + s->epsilon;
    return (s->gradient_rate * g + s->rate * slot[0]) / *denominator;
}

/* Liu et al. (2020). slot: m, v. root is 0 in the steps whose variance is not yet tractable. */
ELEMENT(radam)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (g * g);
    *denominator = s->root * SQRT(slot[1]) + s->epsilon;
    return s->rate * slot[0] / *denominator;
}

/* Kingma & Ba (2015), section 7. slot: m, u. */
ELEMENT(adamax)
{
    const real size = (g < 0 ? -g : g) + s->inside;
    const real faded = s->beta2 * slot[1];
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = faded >= size ? faded : size;
    *denominator = slot[1] + s->epsilon;
    return s->rate * slot[0] / *denominator;
}

/* Zeiler (2012). slot: v, d, the mean squares of gradients and of steps. */
ELEMENT(adadelta)
{
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * (g * g);
    const real before = SQRT(slot[1] + s->inside), now = SQRT(slot[0] + s->inside);
    const real move = before / now * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (move * move);
    *denominator = now / before;
    return s->rate * move;
}

/* Chen et al. (2023). slot: m. */
ELEMENT(lion)
{
    const real blend = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * g;
    *denominator = 1;
    return s->rate * sign(blend);
}

typedef real element(real g, real slot[FR_MAX_SLOTS], const scalars *s, real *denominator);

/* Inlined with everything after `step` constant: no call and no test is left inside. */
FR_INLINE void update_span(const fr_span *span, const fr_step *step, element *element,
                           const int slots, const int services, const int averaged)
{
    real *param = span->param;
    const real *grad = span->grad;
    real *slot0 = span->slot[0], *slot1 = span->slot[1], *slot2 = span->slot[2];
    real *average = span->average;
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < span->n; i++) {
        real p = param[i], g = grad[i], denominator;
        real slot[FR_MAX_SLOTS] = {
            slots > 0 ? slot0[i] : (real)0,
            slots > 1 ? slot1[i] : (real)0,
            slots > 2 ? slot2[i] : (real)0,
        };
        if (services == FR_ALL_SERVICES) {
            g = g * s.scale;
            g = g > s.clip ? s.clip : g < -s.clip ? -s.clip : g;
            g = g + (s.l2 * p + s.l1 * sign(p));
        }
        const real move = element(g, slot, &s, &denominator);
        p = services ? p * s.keep - move : p - move;
        if (services == FR_ALL_SERVICES)
            p = shrink(p, s.prox / denominator);
        param[i] = p;
        if (slots > 0)
            slot0[i] = slot[0];
        if (slots > 1)
            slot1[i] = slot[1];
        if (slots > 2)
            slot2[i] = slot[2];
        if (averaged)
            average[i] = s.average * average[i] + s.one_minus_average * p;
    }
}

#define FR_DEFINE_UPDATE(rule, slots)                                                            \
    static void update_##rule(const fr_span *span, const fr_step *step)                          \
    {                                                                                            \
        if (span->average)                                                                       \
            update_span(span, step, rule, slots, FR_ALL_SERVICES, 1);                            \
        else if (step->services == FR_ALL_SERVICES)                                              \
            update_span(span, step, rule, slots, FR_ALL_SERVICES, 0);                            \
        else if (step->services == FR_DECAY_ALONE)                                               \
            update_span(span, step, rule, slots, FR_DECAY_ALONE, 0);                             \
        else                                                                                     \
            update_span(span, step, rule, slots, 0, 0);                                          \
    }
FR_RULES(FR_DEFINE_UPDATE)
#undef FR_DEFINE_UPDATE
#undef ELEMENT
