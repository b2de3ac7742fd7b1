/* Steps whose state is kept in fewer bits than the parameters have, in one pass over memory.
 *
 * A bfloat16 is the upper half of a float. It is widened in registers, the rule's own step is
 * taken on floats, and what it leaves is rounded: of Adam 12 bytes per element cross the bus for
 * parameter and gradient, and 8 for two moments where floats take 16.
 *
 * First moments are rounded to the nearest, ties to even. Second moments change by a thousandth
 * of themselves per step, less than half of a bfloat16's last place: rounded to the nearest they
 * would never move. They are drawn: rounded up with the probability of what is cut off, by 16
 * bits that Philox gives for (key, step, element) in domain 3 (philox.h). That is exact in the
 * mean. First moments that forget less than a hundredth per step are drawn too. Element i of the
 * j-th drawn slot of a step draws as element j 2^60 + i. What is finite stays finite under either
 * rounding.
 *
 * Runs of FR_NARROW_RUN elements draw their bits just before they need them: the divider is busy
 * with one run while the bits of the next are made. A run asks for the memory of the next: what
 * the processor fetches by itself stops while bits are drawn. What is out of the ordinary
 * (penalties, averages, the last elements, squares out of range, slow first moments) is widened
 * into L1 and given to the rule over floats.
 */
#if FR_BYTES == 4

FR_INLINE float float_of_half(uint16_t half)
{
    return float_of((uint32_t)half << 16);
}

/* The upper half of x + more in units of its last place. */
FR_INLINE uint16_t upper_half(float x, uint32_t more)
{
    const uint32_t bits = bits_of(x), size = bits & 0x7FFFFFFFu, sum = size + more;
    const uint32_t most = size > 0x7F7F0000u ? size : 0x7F7F0000u, kept = sum < most ? sum : most;
    return (uint16_t)((kept | (bits & 0x80000000u)) >> 16);
}

FR_INLINE uint16_t nearest(float x)
{
    return upper_half(x, 0x7FFFu + (bits_of(x) >> 16 & 1));
}

/* Ask for memory that is needed soon. */
FR_INLINE void ask_for(const void *from, ptrdiff_t bytes)
{
    for (ptrdiff_t i = 0; i < bytes; i += 64)
        FR_PREFETCH((const char *)from + i);
}

/* How the slots are rounded in this step. */
FR_INLINE const char *kinds_of(char slow[FR_MAX_SLOTS + 1], const char *kinds,
                               const fr_step *step)
{
    if (!step->slow)
        return kinds;
    for (int k = 0; k <= FR_MAX_SLOTS; k++)
        slow[k] = 0;
    for (int k = 0; kinds[k]; k++)
        slow[k] = kinds[k] == 'n' ? 'd' : kinds[k];
    return slow;
}

/* How many of the slots before slot k are drawn. */
FR_INLINE int drawn_before(const char *kinds, int k)
{
    int count = 0;
    for (int j = 0; j < k; j++)
        count += kinds[j] == 'd';
    return count;
}

/* The bits of n elements from index `begin`, of a slot that is drawn; n <= FR_NARROW_RUN, rounded
 * up to whole pairs of groups. */
FR_CALLED void draw(uint16_t pieces[FR_NARROW_RUN], const fr_draws *draws, ptrdiff_t begin,
                    ptrdiff_t n, int before)
{
    const uint64_t first = draws->first + (uint64_t)begin + ((uint64_t)before << 60);
    uint64_t keys[FR_FEW_ROUNDS][2];
    philox_schedule(keys, draws->mask.key);
    for (ptrdiff_t i = 0; i < n; i += 2 * FR_MASK_GROUP)
        philox_two_groups(pieces + i, first + (uint64_t)i, keys, draws->mask.call);
}

/* Floats of n elements' state, n <= FR_NARROW_RUN. */
FR_CALLED fr_span widen(float wide[FR_MAX_SLOTS][FR_NARROW_RUN], const fr_span *span,
                        ptrdiff_t begin, ptrdiff_t n, const char *kinds)
{
    fr_span run = {(float *)span->param + begin,
                   (const float *)span->grad + begin,
                   {0},
                   span->average ? (float *)span->average + begin : NULL,
                   n};
    for (int k = 0; kinds[k]; k++) {
        const uint16_t *from = (const uint16_t *)span->slot[k] + begin;
        float *to = wide[k];
        run.slot[k] = kinds[k] == 'f' ? (float *)span->slot[k] + begin : to;
        if (kinds[k] != 'f')
            FR_ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; i++)
            to[i] = float_of_half(from[i]);
    }
    return run;
}

/* Their state from floats. */
FR_CALLED void give_back_narrow(const fr_span *span, float wide[FR_MAX_SLOTS][FR_NARROW_RUN],
                                ptrdiff_t begin, ptrdiff_t n, const char *kinds,
                                const fr_draws *draws)
{
    uint16_t pieces[FR_NARROW_RUN];
    for (int k = 0; kinds[k]; k++) {
        uint16_t *to = (uint16_t *)span->slot[k] + begin;
        const float *from = wide[k];
        if (kinds[k] == 'd') {
            draw(pieces, draws, begin, n, drawn_before(kinds, k));
            FR_ELEMENTWISE
            for (ptrdiff_t i = 0; i < n; i++)
                to[i] = upper_half(from[i], pieces[i]);
        } else if (kinds[k] == 'n') {
            FR_ELEMENTWISE
            for (ptrdiff_t i = 0; i < n; i++)
                to[i] = nearest(from[i]);
        }
    }
}

/* n elements from index `begin` by the rule over floats. */
FR_CALLED void widened_run(const fr_span *span, const fr_step *step, const fr_draws *draws,
                           ptrdiff_t begin, ptrdiff_t n, const char *kinds, fr_update update)
{
    _Alignas(64) float wide[FR_MAX_SLOTS][FR_NARROW_RUN];
    const fr_span run = widen(wide, span, begin, n, kinds);
    update(&run, step);
    give_back_narrow(span, wide, begin, n, kinds, draws);
}

/* Highest bit set where |x| > 2^60, or NaN. */
FR_INLINE uint16_t half_beyond(uint16_t half)
{
    return (uint16_t)((half & 0x7FFFu) + (0x7FFFu - 0x5D80u));
}
_Static_assert((uint64_t)LARGE == (uint64_t)1 << 60, "0x5D80 is 2^60"); /* clang wants integers */

/* Whether some of FR_RUN elements from index `begin` needs care: numbers so large that squares or
 * roundings might leave the range, or minus a root in the place of a square. */
FR_INLINE int extreme_run(const fr_span *span, ptrdiff_t begin, const int slots,
                          const int watched, const char *kinds)
{
    const float *grad = (const float *)span->grad + begin;
    uint32_t found = 0;
    uint16_t halves = 0;
    FR_ROLLED
    for (int i = 0; i < FR_RUN; i++)
        found |= beyond(grad[i], LARGE);
    for (int k = 0; k < slots; k++) {
        const float *full = (const float *)span->slot[k] + begin;
        const uint16_t *half = (const uint16_t *)span->slot[k] + begin;
        if (kinds[k] == 'f' && k == watched)
            for (int i = 0; i < FR_RUN; i++)
                found |= beyond_or_root(full[i]);
        else if (kinds[k] != 'f')
            for (int i = 0; i < FR_RUN; i++)
                halves |= half_beyond(half[i]) | (kinds[k] == 'd' ? half[i] : 0);
    }
    return (found > WHOLE / 2) | (halves > 0x7FFF);
}

FR_INLINE float slot_at(const void *slot, ptrdiff_t i, const char kind)
{
    return kind == 'f' ? ((const float *)slot)[i] : float_of_half(((const uint16_t *)slot)[i]);
}

/* A number well inside the range. */
FR_INLINE uint16_t plainly_rounded(float x, uint16_t piece, const char kind)
{
    const uint32_t bits = bits_of(x);
    return (uint16_t)((bits + (kind == 'd' ? piece : 0x7FFFu + (bits >> 16 & 1))) >> 16);
}

/* FR_RUN elements from index `begin`, in registers. */
FR_INLINE void narrow_run(const fr_span *span, ptrdiff_t begin, const scalars *s,
                          element *element, const int slots, const char *kinds,
                          uint16_t pieces[2][FR_NARROW_RUN], ptrdiff_t at)
{
    float *param = (float *)span->param + begin;
    const float *grad = (const float *)span->grad + begin;
#define FR_SLOT(k)                                                                               \
    void *slot##k = slots <= k        ? NULL                                                     \
                    : kinds[k] == 'f' ? (void *)((float *)span->slot[k] + begin)                 \
                                      : (void *)((uint16_t *)span->slot[k] + begin);             \
    const uint16_t *piece##k = slots <= k ? NULL : pieces[drawn_before(kinds, k) & 1] + at
    FR_SLOT(0);
    FR_SLOT(1);
    FR_SLOT(2);
    FR_SLOT(3);
#undef FR_SLOT
    FR_ELEMENTWISE
    FR_ROLLED
    for (int i = 0; i < FR_RUN; i++) {
        float denominator;
        float slot[FR_MAX_SLOTS] = {
            slots > 0 ? slot_at(slot0, i, kinds[0]) : 0,
            slots > 1 ? slot_at(slot1, i, kinds[1]) : 0,
            slots > 2 ? slot_at(slot2, i, kinds[2]) : 0,
            slots > 3 ? slot_at(slot3, i, kinds[3]) : 0,
        };
        const float move = element(grad[i] * s->scale, slot, s, &denominator, 0);
        param[i] = param[i] * s->keep - move;
#define FR_PUT(k)                                                                                \
    if (slots > k && kinds[k] == 'f')                                                            \
        ((float *)slot##k)[i] = slot[k];                                                         \
    else if (slots > k)                                                                          \
    ((uint16_t *)slot##k)[i] = plainly_rounded(slot[k], piece##k[i], kinds[k])
        FR_PUT(0);
        FR_PUT(1);
        FR_PUT(2);
        FR_PUT(3);
#undef FR_PUT
    }
}

/* Ask for FR_RUN elements that are needed soon. */
FR_INLINE void ask_for_run(const fr_span *span, ptrdiff_t begin, const int slots,
                           const char *kinds)
{
    ask_for((const float *)span->param + begin, 4 * FR_RUN);
    ask_for((const float *)span->grad + begin, 4 * FR_RUN);
    for (int k = 0; k < slots; k++)
        if (kinds[k] == 'f')
            ask_for((const float *)span->slot[k] + begin, 4 * FR_RUN);
        else
            ask_for((const uint16_t *)span->slot[k] + begin, 2 * FR_RUN);
}

FR_INLINE void narrow_span(const fr_span *span, const fr_step *step, const fr_draws *draws,
                           element *element, fr_update update, const int slots, const int watched,
                           const char *kinds)
{
    const ptrdiff_t n = span->n;
    fr_step own =
        *step; /* a product with 1 changes nothing but signalling NaNs, into quiet ones */
    own.services = own.services ? own.services : FR_FACTORS_ALONE;
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    char slow[FR_MAX_SLOTS + 1];
    const char *now = kinds_of(slow, kinds, step);
    const int plain = !step->slow && !span->average && own.services == FR_FACTORS_ALONE &&
                      !(watched >= 0 && step->floor < SMALL) && FABS(s.scale) < LARGE &&
                      s.feed < LARGE && s.inside < LARGE;
    _Alignas(64) uint16_t pieces[2][FR_NARROW_RUN];
    for (ptrdiff_t i = 0; i < n; i += FR_NARROW_RUN) {
        const ptrdiff_t left = n - i < FR_NARROW_RUN ? n - i : FR_NARROW_RUN;
        if (!plain || left < FR_NARROW_RUN) {
            widened_run(span, &own, draws, i, left, now, update);
            continue;
        }
        for (int k = 0; k < slots; k++)
            if (kinds[k] == 'd')
                draw(pieces[drawn_before(kinds, k)], draws, i, FR_NARROW_RUN,
                     drawn_before(kinds, k));
        const ptrdiff_t next =
            n - i < 2 * FR_NARROW_RUN + FR_RUN ? i : i + FR_NARROW_RUN + FR_RUN;
        for (ptrdiff_t j = 0; j < FR_NARROW_RUN; j += FR_RUN) {
            ask_for_run(span, next + j, slots, kinds);
            if (extreme_run(span, i + j, slots, watched, kinds))
                widened_run(span, &own, draws, i + j, FR_RUN, kinds, update);
            else
                narrow_run(span, i + j, &s, element, slots, kinds, pieces, j);
        }
    }
}
_Static_assert(FR_NARROW_RUN % (2 * FR_MASK_GROUP) == 0, "bits are drawn for pairs of groups");

#define FR_DEFINE_NARROW(rule, slots, watched, kinds)                                            \
    static void narrow_##rule(const fr_span *span, const fr_step *step, const fr_draws *draws)   \
    {                                                                                            \
        narrow_span(span, step, draws, rule, update_##rule, slots, watched, kinds);              \
    }
FR_RULES(FR_DEFINE_NARROW)
#undef FR_DEFINE_NARROW

/* LAMB's step is taken from the state as it is kept, so that both passes see the same; the second
 * rounds what is already rounded, which changes nothing. */
static void narrow_lamb(const fr_span *span, const fr_step *step, const fr_draws *draws)
{
    const char *kinds = step->slow ? "dd" : "nd";
    for (ptrdiff_t i = 0; i < span->n; i += FR_NARROW_RUN)
        widened_run(span, step, draws, i,
                    span->n - i < FR_NARROW_RUN ? span->n - i : FR_NARROW_RUN, kinds,
                    update_lamb);
}

static void measure_narrow_lamb(const fr_span *span, const fr_step *step, const fr_draws *draws,
                                double squares[2])
{
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    const int always = step->floor < SMALL || s.l1 > LARGE;
    const char *kinds = step->slow ? "dd" : "nd";
    double weights[FR_SUM_LANES] = {0}, moves[FR_SUM_LANES] = {0};
    _Alignas(64) float wide[FR_MAX_SLOTS][FR_NARROW_RUN], draft[FR_NARROW_RUN];
    for (ptrdiff_t i = 0; i < span->n; i += FR_NARROW_RUN) {
        const ptrdiff_t n = span->n - i < FR_NARROW_RUN ? span->n - i : FR_NARROW_RUN;
        fr_span run = widen(wide, span, i, n, kinds);
        if (always || extreme(&run, 0, n, &s, FR_ALL_SERVICES, 1))
            draft_lamb(draft, &run, 0, n, &s, 0, 1);
        else
            draft_lamb(draft, &run, 0, n, &s, 0, 0);
        give_back_narrow(span, wide, i, n, kinds, draws);
        run = widen(wide, span, i, n, kinds);
        draft_lamb(draft, &run, 0, n, &s, 1, 0);
        add_squares(weights, (const real *)run.param, n, 1);
        add_squares(moves, draft, n, 1);
    }
    squares[0] = by_halves(weights), squares[1] = by_halves(moves);
}

#define narrow_lars narrow_momentum
#define narrow_lars_nesterov narrow_nesterov
#endif
