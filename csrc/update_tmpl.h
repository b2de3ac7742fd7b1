/* Optimizer rules: one element step each, and one span loop around them.
 *
 * An element step takes the gradient and the element's state (in registers, updated in place)
 * and returns what is to be subtracted from the parameter. It also gives the denominator of the
 * rule's own metric, in which the proximal L1 penalty shrinks. The loop reads and writes every
 * array once: (3 + 2 * slots) * sizeof(real) bytes per element, 2 * sizeof(real) more for the
 * moving average.
 *
 * Squares of gradients leave the type's range long before gradients do: in float32 beyond 1.8e19,
 * and below 1e-19, which counts where epsilon is as small. A run that holds such an element is
 * computed with care: each element in a unit of its own, a power of two, which costs no digit and
 * changes no bit of the others. A mean of squares that the type cannot hold is kept as minus its
 * root.
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

/* What g and the root of v are multiplied by, and by what the result is turned back. */
typedef struct {
    real unit, back;
} units;

FR_INLINE units units_of(real g, real v, real floor, const int careful)
{
    if (!careful)
        return (units){1, 1};
    const real low = floor < SMALL ? SMALL : (real)0; /* what lies below it matters, or nothing */
    const int large = (g > LARGE) | (g < -LARGE) | (v > LARGE * LARGE) | (v < -LARGE);
    const int small = (g < low) & (g > -low) & (v < low * low) & (v > -low);
    return (units){large   ? LARGE_UNIT
                   : small ? SMALL_UNIT
                           : (real)1,
                   large   ? 1 / LARGE_UNIT
                   : small ? 1 / SMALL_UNIT
                           : (real)1};
}

/* v in square units. */
FR_INLINE real in_units(real v, units u, const int careful)
{
    if (!careful)
        return v;
    const real once = v * u.unit;
    return once * (v < 0 ? once : u.unit);
}

/* The v to store: minus its root where the type cannot hold it. */
FR_INLINE real held(real v, real root, units u, const int careful)
{
    if (!careful)
        return v;
    const real plain = v * u.back * u.back;
    const int fits = (plain <= LARGEST) & ((plain >= SMALLEST) | (u.back == 1));
    return fits ? plain : root <= LARGEST ? (real)0 - root : root;
}

/* v = keep v + feed g^2; returns sqrt(v + inside). */
FR_INLINE real root_mean_square(real *v, real g, real keep, real feed, real inside,
                                const scalars *s, const int careful)
{
    const units u = units_of(g, *v, s->floor, careful);
    const real size = g * u.unit, mean = keep * in_units(*v, u, careful) + feed * (size * size);
    const real root = SQRT(mean + inside * u.unit * u.unit) * u.back;
    *v = held(mean, root, u, careful);
    return root;
}

/* The same for the variance v - mean^2, which is 0 where rounding makes it negative. */
FR_INLINE real root_variance(real *v, real *mean, real g, const scalars *s, const int careful)
{
    const units u = units_of(g, *v, s->floor, careful);
    const real size = g * u.unit;
    const real square = s->beta2 * in_units(*v, u, careful) + s->one_minus_beta2 * (size * size);
    *mean = s->beta2 * *mean + s->one_minus_beta2 * g;
    *v = held(square, SQRT(square) * u.back, u, careful);
    const real centre = *mean * u.unit, variance = square - centre * centre;
    return SQRT((variance < 0 ? (real)0 : variance) + s->inside * u.unit * u.unit) * u.back;
}

/* The gradient after the services that come before the step. */
FR_INLINE real served(real g, real p, const scalars *s)
{
    g = g * s->unit * s->scale; /* in this order neither factor leaves the range */
    g = g > s->clip ? s->clip : g < -s->clip ? -s->clip : g;
    return g + ((s->l2 != 0 ? s->l2 * p : -(real)0) + (s->l1 != 0 ? s->l1 * sign(p) : -(real)0));
}

#define ELEMENT(rule)                                                                            \
    FR_INLINE real rule(real g, real slot[FR_MAX_SLOTS], const scalars *s, real *denominator,    \
                        const int careful)

ELEMENT(sgd)
{
    (void)careful;
    (void)slot;
    *denominator = 1;
    return s->rate * g;
}

/* Polyak (1964). slot: v. feed and rate place the learning rate before or after the sum. */
ELEMENT(momentum)
{
    (void)careful;
    slot[0] = s->momentum * slot[0] + s->feed * g;
    *denominator = 1;
    return s->rate * slot[0];
}

/* Nesterov (1983), in the form of Sutskever et al. (2013) that needs no look-ahead gradient. */
ELEMENT(nesterov)
{
    (void)careful;
    slot[0] = s->momentum * slot[0] + s->feed * g;
    *denominator = 1;
    return s->rate * slot[0] + s->gradient_rate * g;
}

/* Duchi, Hazan & Singer (2011). slot: v, the sum of squares. */
ELEMENT(adagrad)
{
    *denominator = root_mean_square(&slot[0], g, 1, 1, s->inside, s, careful) + s->epsilon;
    return s->rate * (g / *denominator);
}

/* Tieleman & Hinton (2012). slot: v. */
ELEMENT(rmsprop)
{
    const real root =
        root_mean_square(&slot[0], g, s->beta2, s->one_minus_beta2, s->inside, s, careful);
    *denominator = root + s->epsilon;
    return s->rate * (g / *denominator);
}

/* Graves (2013). slot: v, mean. */
ELEMENT(rmsprop_centered)
{
    *denominator = root_variance(&slot[0], &slot[1], g, s, careful) + s->epsilon;
    return s->rate * (g / *denominator);
}

/* slot: v, velocity. */
ELEMENT(rmsprop_momentum)
{
    const real root =
        root_mean_square(&slot[0], g, s->beta2, s->one_minus_beta2, s->inside, s, careful);
    *denominator = root + s->epsilon;
    slot[1] = s->momentum * slot[1] + s->feed * (g / *denominator);
    return s->rate * slot[1];
}

/* slot: v, mean, velocity. */
ELEMENT(rmsprop_centered_momentum)
{
    *denominator = root_variance(&slot[0], &slot[1], g, s, careful) + s->epsilon;
    slot[2] = s->momentum * slot[2] + s->feed * (g / *denominator);
    return s->rate * slot[2];
}

/* Kingma & Ba (2015). slot: m, v. With the bias corrections bc1, bc2 folded into
 * rate = lr sqrt(bc2) / bc1 and epsilon = eps sqrt(bc2), one root and one division. */
ELEMENT(adam)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    const real root = root_mean_square(&slot[1], g, s->beta2, s->one_minus_beta2, 0, s, careful);
    *denominator = root + s->epsilon;
    return s->rate * (slot[0] / *denominator);
}

/* Reddi, Kale & Kumar (2018). slot: m, v, peak. */
ELEMENT(amsgrad)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    const units u = units_of(g, slot[2], s->floor, careful); /* the peak is above v */
    const real size = g * u.unit;
    const real v = s->beta2 * in_units(slot[1], u, careful) + s->one_minus_beta2 * (size * size);
    const real before = in_units(slot[2], u, careful), raised = s->peak * v;
    const real peak = before >= raised ? before : raised, root = SQRT(peak) * u.back;
    slot[1] = held(v, SQRT(v) * u.back, u, careful);
    slot[2] = held(peak, root, u, careful);
    *denominator = root + s->epsilon;
    return s->rate * (slot[0] / *denominator);
}

/* Dozat (2016). slot: m, v. far: units in which g and its mean together have room. */
ELEMENT(nadam)
{
    const real far = units_of(g, 0, 1, careful).unit;
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    const real root = root_mean_square(&slot[1], g, s->beta2, s->one_minus_beta2, 0, s, careful);
    *denominator = root + s->epsilon;
    const real blend = s->gradient_rate * (g * far) + s->momentum * (slot[0] * far);
    return s->rate * (blend / (*denominator * far));
}

/* Liu et al. (2020). slot: m, v. root is 0 in the steps whose variance is not yet tractable. */
ELEMENT(radam)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    const real root = root_mean_square(&slot[1], g, s->beta2, s->one_minus_beta2, 0, s, careful);
    *denominator = s->root * root + s->epsilon;
    return s->rate * (slot[0] / *denominator);
}

/* Kingma & Ba (2015), section 7. slot: m, u. */
ELEMENT(adamax)
{
    (void)careful;
    const real size = (g < 0 ? -g : g) + s->inside;
    const real faded = s->beta2 * slot[1];
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = faded >= size ? faded : size;
    *denominator = slot[1] + s->epsilon;
    return s->rate * (slot[0] / *denominator);
}

/* Zeiler (2012). slot: v, d, the mean squares of gradients and of steps. */
ELEMENT(adadelta)
{
    const real before = SQRT(slot[1] + s->inside);
    const real now =
        root_mean_square(&slot[0], g, s->beta2, s->one_minus_beta2, s->inside, s, careful);
    const real move = before * (g / now);
    slot[1] = s->beta2 * slot[1] + s->one_minus_beta2 * (move * move);
    *denominator = now / before;
    return s->rate * move;
}

/* Chen et al. (2023). slot: m. */
ELEMENT(lion)
{
    (void)careful;
    const real blend = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[0] = s->beta2 * slot[0] + s->one_minus_beta2 * g;
    *denominator = 1;
    return s->rate * sign(blend);
}

/* Zaheer et al. (2018). slot: m, v. v is drawn to g^2 by a share of g^2, not of the distance. */
ELEMENT(yogi)
{
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    const units u = units_of(g, slot[1], s->floor, careful);
    const real size = g * u.unit, square = size * size, before = in_units(slot[1], u, careful);
    const real v = before - s->one_minus_beta2 * (sign(before - square) * square);
    const real root = SQRT(v) * u.back;
    slot[1] = held(v, root, u, careful);
    *denominator = root + s->epsilon;
    return s->rate * (slot[0] / *denominator);
}

/* Xie et al. (2022). slot: m, v, n and the gradient before, the means of the gradient, of its
 * difference, and of the square of what is expected of the next one. far: units in which a
 * difference of large gradients has room. */
ELEMENT(adan)
{
    const real last = s->root != 0 ? slot[3] : g;
    const units u = units_of(g, 0, 1, careful), v = units_of(last, 0, 1, careful);
    const real far = u.unit < v.unit ? u.unit : v.unit, near = 1 / far;
    const real change = g * far - last * far, next = g * far + s->feed * change;
    slot[0] = s->beta1 * slot[0] + s->one_minus_beta1 * g;
    slot[1] = (s->beta2 * (slot[1] * far) + s->one_minus_beta2 * change) * near;
    const units w = far != 1 ? (units){far, near} : units_of(next, slot[2], s->floor, careful);
    const real size = far != 1 ? next : next * w.unit;
    const real n = s->beta3 * in_units(slot[2], w, careful) + s->one_minus_beta3 * (size * size);
    const real root = SQRT(n + s->inside * w.unit * w.unit) * w.back;
    slot[2] = held(n, root, w, careful);
    slot[3] = g;
    *denominator = root + s->epsilon;
    const real blend = s->gradient_rate * (slot[0] * far) + s->momentum * (slot[1] * far);
    return s->rate * (blend / (*denominator * far));
}

/* Defazio et al. (2024). slot: z, v. What is returned is taken from z, at whose average and
 * itself the loop places the parameter. */
ELEMENT(free_adamw)
{
    const real root = root_mean_square(&slot[1], g, s->beta2, s->one_minus_beta2, 0, s, careful);
    *denominator = root + s->epsilon;
    return s->rate * (g / *denominator);
}

/* Highest bit set where |x| > limit, or NaN: numbers without sign are in the order of their bits.
 */
FR_INLINE whole beyond(real x, real limit)
{
    return (WHOLE_OF(x) & WHOLE / 2) + (WHOLE / 2 - WHOLE_OF(limit));
}

/* The same of a mean of squares, or where minus its root is in its place. */
FR_INLINE whole beyond_or_root(real v)
{
    return beyond(v, LARGE) | WHOLE_OF(v);
}

/* The largest weight whose share of the penalised gradient needs no care. */
FR_INLINE real heaviest(const scalars *s)
{
    return s->l2 != 0 ? LARGE / s->l2 : LARGEST;
}

typedef real element(real g, real slot[FR_MAX_SLOTS], const scalars *s, real *denominator,
                     const int careful);

/* n elements from index `begin`, in whole registers. Inlined with everything between the scalars
 * and `ahead` constant: no call and no test is left inside. Of a rule that is `watched` it says
 * whether the elements `ahead` of these need care: there is room for that beside the root and the
 * division. Of a rule that is `free` of schedules z, in slot 0, takes the step and is averaged,
 * and the parameter is between the two. */
FR_INLINE int update_run(const fr_span *span, ptrdiff_t begin, ptrdiff_t n, const scalars *s,
                         element *element, const int slots, const int services,
                         const int averaged, const int watched, const int free, ptrdiff_t ahead,
                         const int careful)
{
    real *param = (real *)span->param + begin;
    const real *grad = (const real *)span->grad + begin;
    real *slot0 = slots > 0 ? (real *)span->slot[0] + begin : NULL;
    real *slot1 = slots > 1 ? (real *)span->slot[1] + begin : NULL;
    real *slot2 = slots > 2 ? (real *)span->slot[2] + begin : NULL;
    real *slot3 = slots > 3 ? (real *)span->slot[3] + begin : NULL;
    real *average = averaged ? (real *)span->average + begin : NULL;
    const real *v = watched < 0 ? NULL : (real *)span->slot[watched] + begin;
    const real limit = services == FR_ALL_SERVICES ? heaviest(s) : (real)0;
    whole found = 0;
    n = whole_registers(n);
    FR_ELEMENTWISE
    FR_ROLLED
    for (ptrdiff_t i = 0; i < n; i++) {
        if (watched >= 0) {
            found |= beyond(grad[ahead + i], LARGE) | beyond_or_root(v[ahead + i]);
            if (services == FR_ALL_SERVICES)
                found |= beyond(param[ahead + i], limit);
        }
        real p = param[i], g = grad[i], denominator;
        real slot[FR_MAX_SLOTS] = {
            slots > 0 ? slot0[i] : (real)0,
            slots > 1 ? slot1[i] : (real)0,
            slots > 2 ? slot2[i] : (real)0,
            slots > 3 ? slot3[i] : (real)0,
        };
        if (services == FR_FACTORS_ALONE)
            g = g * s->scale;
        if (services == FR_ALL_SERVICES)
            g = served(g, p, s);
        const real move = element(g, slot, s, &denominator, careful);
        if (free)
            p = slot[0] - (s->decay != 0 ? move + s->decay * p : move);
        else
            p = services ? p * s->keep - move : p - move;
        if (services == FR_ALL_SERVICES)
            p = s->prox != 0 ? shrink(p, s->prox / denominator) : p;
        if (averaged) {
            const real mean =
                (s->average != 0 ? s->average * average[i] : 0) + s->one_minus_average * p;
            average[i] = mean;
            if (free) {
                slot[0] = p;
                p = s->beta1 * mean + s->one_minus_beta1 * p;
            }
        }
        param[i] = p;
        if (slots > 0)
            slot0[i] = slot[0];
        if (slots > 1)
            slot1[i] = slot[1];
        if (slots > 2)
            slot2[i] = slot[2];
        if (slots > 3)
            slot3[i] = slot[3];
    }
    return found > WHOLE / 2;
}

/* Whether some of n elements from index `begin` needs care. */
FR_CALLED int extreme(const fr_span *span, ptrdiff_t begin, ptrdiff_t n, const scalars *s,
                      int services, int watched)
{
    const real *param = (real *)span->param + begin, *grad = (const real *)span->grad + begin;
    const real *v = (real *)span->slot[watched] + begin;
    const real limit = services == FR_ALL_SERVICES ? heaviest(s) : INFINITY;
    whole found = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        found |= beyond(grad[i], LARGE) | beyond_or_root(v[i]) | beyond(param[i], limit);
    return found > WHOLE / 2;
}

typedef void careful_run(const fr_span *span, ptrdiff_t begin, ptrdiff_t n, const scalars *s,
                         int services);

/* The span in short runs, each of which looks at the next one; the last takes what is left, and
 * looks at itself. */
FR_INLINE void update_span(const fr_span *span, const fr_step *step, element *element,
                           careful_run *careful, const int slots, const int services,
                           const int averaged, const int watched, const int free)
{
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    const ptrdiff_t n = whole_registers(span->n);
    if (!n)
        return;
    if (watched < 0) {
        update_run(span, 0, n, &s, element, slots, services, averaged, -1, free, 0, 0);
        return;
    }
    if (step->floor < SMALL || s.l1 > LARGE) {
        careful(span, 0, n, &s, services);
        return;
    }
    int found = extreme(span, 0, n < FR_RUN ? n : FR_RUN, &s, services, watched);
    for (ptrdiff_t i = 0, here; i < n; i += here) {
        const ptrdiff_t left = n - i, ahead = left < 2 * FR_RUN ? 0 : FR_RUN;
        here = ahead ? FR_RUN : left;
        if (here > FR_RUN && !found)
            found = extreme(span, i + FR_RUN, here - FR_RUN, &s, services, watched);
        if (!found) {
            found = update_run(span, i, here, &s, element, slots, services, averaged, watched,
                               free, ahead, 0);
        } else {
            careful(span, i, here, &s, services);
            found = ahead && extreme(span, i + ahead, FR_RUN, &s, services, watched);
        }
    }
}

/* What lies behind the last whole register. */
FR_CALLED void update_rest(const fr_span *span, const fr_step *step, fr_update update)
{
    _Alignas(64) real param[GRAIN], grad[GRAIN], average[GRAIN], slot[FR_MAX_SLOTS][GRAIN];
    const ptrdiff_t begin = whole_registers(span->n);
    const int n = (int)(span->n - begin);
    fr_span rest = {
        .param = register_of(param, span->param, begin, n),
        .grad = register_of(grad, span->grad, begin, n),
        .average = register_of(average, span->average, begin, n),
        .n = GRAIN,
    };
    for (int k = 0; k < FR_MAX_SLOTS; k++)
        rest.slot[k] = register_of(slot[k], span->slot[k], begin, n);
    update(&rest, step);
    give_back(span->param, begin, param, n);
    give_back(span->average, begin, average, n);
    for (int k = 0; k < FR_MAX_SLOTS; k++)
        give_back(span->slot[k], begin, slot[k], n);
}

#define FR_IS_FREE(rule) (FR_RULE_##rule == FR_RULE_free_adamw)
#define FR_DEFINE_UPDATE(rule, slots, watched, kinds)                                            \
    static void careful_##rule(const fr_span *span, ptrdiff_t begin, ptrdiff_t n,                \
                               const scalars *s, int services)                                   \
    {                                                                                            \
        if (span->average)                                                                       \
            update_run(span, begin, n, s, rule, slots, services, 1, -1, FR_IS_FREE(rule), 0, 1); \
        else                                                                                     \
            update_run(span, begin, n, s, rule, slots, services, 0, -1, 0, 0, 1);                \
    }                                                                                            \
    static void update_##rule(const fr_span *span, const fr_step *step)                          \
    {                                                                                            \
        if (span->average)                                                                       \
            update_span(span, step, rule, careful_##rule, slots, FR_ALL_SERVICES, 1, watched,    \
                        FR_IS_FREE(rule));                                                       \
        else if (step->services == FR_ALL_SERVICES)                                              \
            update_span(span, step, rule, careful_##rule, slots, FR_ALL_SERVICES, 0, watched,    \
                        0);                                                                      \
        else if (step->services == FR_FACTORS_ALONE)                                             \
            update_span(span, step, rule, careful_##rule, slots, FR_FACTORS_ALONE, 0, watched,   \
                        0);                                                                      \
        else                                                                                     \
            update_span(span, step, rule, careful_##rule, slots, 0, 0, watched, 0);              \
        if (span->n % GRAIN)                                                                     \
            update_rest(span, step, update_##rule);                                              \
    }
FR_RULES(FR_DEFINE_UPDATE)
#undef FR_DEFINE_UPDATE
#undef ELEMENT
