/* Steps whose state is kept in a byte per number (coded_tmpl.h), in one pass over memory.
 *
 * A block is decoded into L1, the rule takes its step over floats, and what it leaves is encoded;
 * blocks with infinities, NaN or numbers out of float's range one by one in double, with the same
 * results. Blocks of Adam's without any of these are decoded in registers, while the divider is
 * busy with what came before. Bytes per element of Adam: 12 for parameter and gradient, and 4 for
 * two moments where floats take 16.
 */
#if FR_BYTES == 4

extern const fr_kernels FR_NAMED(FR_LEVEL, FR_TYPE);

/* Whether a slot of a rule has no sign, and whether it may hold minus a root: v and the peak. */
FR_INLINE int is_unsigned(const fr_rule *rule, int k)
{
    return rule->kinds[k] == 'd' || k == rule->watched;
}

FR_INLINE int is_rooted(const fr_rule *rule, int k)
{
    return k == rule->watched || (k + 1 == rule->watched && rule->kinds[k] == 'd');
}

/* Floats of the state of a block, from index `begin`. */
FR_CALLED fr_span decoded(float wide[FR_MAX_SLOTS][FR_CODED_BLOCK], const fr_span *span,
                          ptrdiff_t begin, ptrdiff_t n, const fr_rule *rule, const fr_step *step,
                          const fr_draws *draws)
{
    fr_span run = {(float *)span->param + begin,
                   (const float *)span->grad + begin,
                   {0},
                   span->average ? (float *)span->average + begin : NULL,
                   n};
    for (int k = 0; k < rule->slots; k++) {
        run.slot[k] = rule->kinds[k] == 'f' ? (float *)span->slot[k] + begin : wide[k];
        if (rule->kinds[k] != 'f')
            decode(wide[k], (const uint8_t *)span->slot[k] + begin,
                   draws->scale[k][begin / FR_CODED_BLOCK], n, is_unsigned(rule, k),
                   is_rooted(rule, k) && step->floor < SMALL);
    }
    return run;
}

/* The bits of a block for a pair of slots: element i of the first has those at i, of the second
 * those at i + 64. */
FR_CALLED void draw_block(uint16_t pieces[FR_CODED_BLOCK + 64], const fr_draws *draws,
                          ptrdiff_t begin, int pair)
{
    draw(pieces, draws, begin, 128, pair);
    FR_ELEMENTWISE
    for (int i = 0; i < 128; i++)
        pieces[128 + i] = (uint16_t)(pieces[i] >> 8 | pieces[i] << 8);
    memcpy(pieces + 256, pieces, 64 * sizeof *pieces);
}

/* Their codes. */
FR_CALLED void encoded(const fr_span *span, float wide[FR_MAX_SLOTS][FR_CODED_BLOCK],
                       ptrdiff_t begin, ptrdiff_t n, const fr_rule *rule, const fr_draws *draws)
{
    _Alignas(64) uint16_t pieces[FR_CODED_BLOCK + 64];
    int drawn = -1;
    for (int k = 0; k < rule->slots; k++) {
        if (rule->kinds[k] == 'f')
            continue;
        if (drawn != k / 2)
            draw_block(pieces, draws, begin, drawn = k / 2);
        encode((uint8_t *)span->slot[k] + begin, draws->scale[k] + begin / FR_CODED_BLOCK,
               wide[k], pieces + k % 2 * 64, n, is_unsigned(rule, k));
    }
}

/* Whether a block of Adam's has nothing out of the ordinary: full, its numbers and their squares
 * well inside the range. */
FR_INLINE int is_plain_block(const fr_span *span, const fr_draws *draws, ptrdiff_t begin,
                             ptrdiff_t n)
{
    if (n < FR_CODED_BLOCK)
        return 0;
    for (int k = 0; k < 2; k++) {
        const int scale = draws->scale[k][begin / FR_CODED_BLOCK];
        if (scale < -92 || scale > 60 ||
            !are_finite((const uint8_t *)span->slot[k] + begin, FR_CODED_BLOCK, k))
            return 0;
    }
    return largest_bits((const float *)span->grad + begin, FR_CODED_BLOCK, 0) <= bits_of(LARGE);
}

/* Ask for a block that is needed soon. */
FR_INLINE void ask_for_block(const fr_span *span, ptrdiff_t begin, int slots)
{
    for (int i = 0; i < FR_CODED_BLOCK; i += 16) {
        FR_PREFETCH((const float *)span->param + begin + i);
        FR_PREFETCH((const float *)span->grad + begin + i);
    }
    for (int k = 0; k < slots; k++) /* a slot of floats comes by itself */
        ask_for((const uint8_t *)span->slot[k] + begin, FR_CODED_BLOCK);
}

/* Such a block: decoded in registers, while the divider is busy with what came before. */
FR_CALLED void coded_adam(const fr_span *span, const scalars *s, const fr_draws *draws,
                          ptrdiff_t begin)
{
    _Alignas(64) float wide[2][FR_CODED_BLOCK];
    _Alignas(64) uint16_t pieces[FR_CODED_BLOCK + 64];
    float *param = (float *)span->param + begin, *m = wide[0], *v = wide[1];
    const float *grad = (const float *)span->grad + begin;
    uint8_t *m_codes = (uint8_t *)span->slot[0] + begin,
            *v_codes = (uint8_t *)span->slot[1] + begin;
    int16_t *m_scale = draws->scale[0] + begin / FR_CODED_BLOCK;
    int16_t *v_scale = draws->scale[1] + begin / FR_CODED_BLOCK;
    const float m_factor = factor_of(*m_scale), v_factor = factor_of(*v_scale);
    uint32_t m_most = 0, v_most = 0;
    draw_block(pieces, draws, begin, 0);
    if (span->n - begin >= 2 * FR_CODED_BLOCK)
        ask_for_block(span, begin + FR_CODED_BLOCK, 2);
    FR_ELEMENTWISE
    FR_ROLLED
    for (int i = 0; i < FR_CODED_BLOCK; i++) {
        float denominator, slot[FR_MAX_SLOTS] = {plainly_decoded(m_codes[i], m_factor, 0),
                                                 plainly_decoded(v_codes[i], v_factor, 1)};
        const float move = adam(grad[i] * s->scale, slot, s, &denominator, 0);
        param[i] = param[i] * s->keep - move;
        m[i] = slot[0], v[i] = slot[1];
        const uint32_t size = bits_of(slot[0]) & 0x7FFFFFFFu, bits = bits_of(slot[1]);
        m_most = size > m_most ? size : m_most;
        v_most = bits > v_most ? bits : v_most;
    }
    encode_block(m_codes, m_scale, m, m_most, pieces, FR_CODED_BLOCK, 0);
    encode_block(v_codes, v_scale, v, v_most, pieces + 64, FR_CODED_BLOCK, 1);
}

/* LAMB's state has been advanced when it was measured. */
static void coded_update(const fr_span *span, const fr_step *step, const fr_draws *draws,
                         int number)
{
    const fr_rule *rule = &fr_rules[number];
    const fr_update update = FR_NAMED(FR_LEVEL, FR_TYPE).update[number];
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    const int plain = number == FR_RULE_adam && !span->average && step->floor >= SMALL &&
                      step->services != FR_ALL_SERVICES && FABS(s.scale) < LARGE;
    _Alignas(64) float wide[FR_MAX_SLOTS][FR_CODED_BLOCK];
    for (ptrdiff_t i = 0, n; i < span->n; i += n) {
        n = block_of(span->n - i);
        if (plain && is_plain_block(span, draws, i, n)) {
            coded_adam(span, &s, draws, i);
            continue;
        }
        if (span->n - i >= 2 * FR_CODED_BLOCK)
            ask_for_block(span, i + FR_CODED_BLOCK, rule->slots);
        const fr_span run = decoded(wide, span, i, n, rule, step, draws);
        update(&run, step);
        if (number != FR_RULE_lamb)
            encoded(span, wide, i, n, rule, draws);
    }
}

/* LAMB's: as measure_narrow_lamb, the moves are those of the state as it is kept. */
static void measure_coded_lamb(const fr_span *span, const fr_step *step, const fr_draws *draws,
                               double squares[2])
{
    const fr_rule *rule = &fr_rules[FR_RULE_lamb];
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    const int always = step->floor < SMALL || s.l1 > LARGE;
    double weights[FR_SUM_LANES] = {0}, moves[FR_SUM_LANES] = {0};
    _Alignas(64) float wide[FR_MAX_SLOTS][FR_CODED_BLOCK], draft[FR_CODED_BLOCK];
    for (ptrdiff_t i = 0, n; i < span->n; i += n) {
        n = block_of(span->n - i);
        fr_span run = decoded(wide, span, i, n, rule, step, draws);
        if (always || extreme(&run, 0, n, &s, FR_ALL_SERVICES, 1))
            draft_lamb(draft, &run, 0, n, &s, 0, 1);
        else
            draft_lamb(draft, &run, 0, n, &s, 0, 0);
        encoded(span, wide, i, n, rule, draws);
        run = decoded(wide, span, i, n, rule, step, draws);
        draft_lamb(draft, &run, 0, n, &s, 1, 0);
        add_squares(weights, (const real *)run.param, n, 1);
        add_squares(moves, draft, n, 1);
    }
    squares[0] = by_halves(weights), squares[1] = by_halves(moves);
}
_Static_assert(FR_CODED_BLOCK == 256 && 2 * FR_MASK_GROUP == 128,
               "bits are drawn for halves of blocks");
#endif
