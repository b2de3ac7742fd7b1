/* Optimizer rules: one element step each, and one span loop around them.
 *
 * An element step takes the gradient and the element's state (in registers, updated in place)
 * and returns what is to be subtracted from the parameter. The loop reads and writes every
 * array once: (3 + 2 * slots) * sizeof(real) bytes an element.
 */

/* fr_step in the precision of the arrays. */
typedef struct {
    real step_size, epsilon;
    real beta1, one_minus_beta1;
    real beta2, one_minus_beta2;
} NAME(scalars);

typedef real NAME(element)(real g, real slot[FR_MAX_SLOTS], const NAME(scalars) * s);

/* Adam (Kingma & Ba, ICLR 2015). slot: m, v. With the bias corrections bc1, bc2 folded into
 * step_size = lr sqrt(bc2) / bc1 and epsilon = eps sqrt(bc2), one root and one division. */
FR_INLINE real NAME(adam)(real g, real slot[FR_MAX_SLOTS], const NAME(scalars) * s)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (g * g);
    return s->step_size * slot[0] / (SQRT(slot[1]) + s->epsilon);
}

/* Inlined once a rule, with `element` and `slots` constant: no call and no test is left inside.
 */
FR_INLINE void NAME(update_span)(const fr_span *span, const fr_step *step,
                                 NAME(element) * element, const int slots)
{
    real *param = span->param;
    const real *grad = span->grad;
    real *slot0 = span->slot[0];
    real *slot1 = span->slot[1];
    real *slot2 = span->slot[2];
    const NAME(scalars) s = {
        .step_size = (real)step->step_size,
        .epsilon = (real)step->epsilon,
        .beta1 = (real)step->beta1,
        .one_minus_beta1 = (real)step->one_minus_beta1,
        .beta2 = (real)step->beta2,
        .one_minus_beta2 = (real)step->one_minus_beta2,
    };
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < span->n; i++) {
        real slot[FR_MAX_SLOTS] = {
            slots > 0 ? slot0[i] : (real)0,
            slots > 1 ? slot1[i] : (real)0,
            slots > 2 ? slot2[i] : (real)0,
        };
        param[i] -= element(grad[i], slot, &s);
        if (slots > 0)
            slot0[i] = slot[0];
        if (slots > 1)
            slot1[i] = slot[1];
        if (slots > 2)
            slot2[i] = slot[2];
    }
}

#define FR_DEFINE_UPDATE(rule, slots)                                                            \
    static void NAME(update_##rule)(const fr_span *span, const fr_step *step)                    \
    {                                                                                            \
        NAME(update_span)(span, step, NAME(rule), slots);                                        \
    }
FR_RULES(FR_DEFINE_UPDATE)
#undef FR_DEFINE_UPDATE
