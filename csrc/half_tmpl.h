/* Steps of parameters that have 16 bits: bfloat16, the upper half of a float, and float16.
 *
 * Runs of FR_HALF_RUN parameters and gradients are widened into L1, the rule takes its step over
 * floats, and what it leaves is rounded. To the nearest a step of less than half of the last
 * place would never move a parameter. So it is drawn, as narrow_tmpl.h draws state: rounded up
 * with the probability of what is cut off, by the 16 bits of draw FR_PARAM_DRAW of each element.
 * Or a float copy, the master, takes the steps, and the parameter is what it rounds to. Whoever
 * writes to the parameter wins: where it is not what its master rounds to, the master follows it.
 *
 * What is finite stays finite. Bytes per element beside the state: 6, with a master 14.
 */
#if FR_BYTES == 4

FR_INLINE float float_of_float16(uint16_t half)
{
    const uint32_t size = (uint32_t)(half & 0x7FFFu) << 13, sign = (uint32_t)(half >> 15) << 31;
    const float small = float_of(size + (113u << 23)) - 0x1p-14f;
    const uint32_t large = size + ((size >= 0x7C00u << 13 ? 224u : 112u) << 23);
    return float_of((half & 0x7C00u ? large : bits_of(small)) | sign);
}

/* x in float16: up by the chance that 16 bits draw, or the nearest, ties to even. Below 2^-14 its
 * numbers are multiples of 2^-24, and x is counted in them. */
FR_INLINE uint16_t float16_of(float x, uint32_t piece, const int drawn)
{
    const uint32_t bits = bits_of(x), size = bits & 0x7FFFFFFFu;
    const float tiny = float_of(size < 113u << 23 ? size : 0);
    const uint32_t few = drawn ? ((uint32_t)(int32_t)(tiny * 0x1p40f) + piece) >> 16
                               : bits_of(tiny + 0.5f) - bits_of(0.5f);
    const uint32_t more = drawn ? piece >> 3 : 0xFFFu + (size >> 13 & 1);
    const uint32_t many = (size - (112u << 23) + more) >> 13;
    const uint32_t kept = size < 113u << 23 ? few : many < 0x7BFFu ? many : 0x7BFFu;
    const uint32_t beyond = size > 0x7F800000u ? 0x7E00u : 0x7C00u;
    return (uint16_t)((size < 0x7F800000u ? kept : beyond) | (bits >> 31) << 15);
}

FR_INLINE float wide_of(uint16_t half, const int type)
{
    return type == FR_FLOAT16 ? float_of_float16(half) : float_of_half(half);
}

FR_INLINE uint16_t half_of(float x, uint32_t piece, const int type, const int drawn)
{
    return type == FR_FLOAT16 ? float16_of(x, piece, drawn)
           : drawn            ? upper_half(x, piece)
                              : nearest(x);
}

FR_INLINE void widen_run(float *to, const uint16_t *from, ptrdiff_t n, const int type)
{
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = wide_of(from[i], type);
}

FR_CALLED void widen_halves(float *to, const void *from, ptrdiff_t n, int type)
{
    if (type == FR_FLOAT16)
        widen_run(to, (const uint16_t *)from, n, FR_FLOAT16);
    else
        widen_run(to, (const uint16_t *)from, n, FR_BFLOAT16);
}

FR_INLINE void round_run(uint16_t *to, const float *from, const uint16_t *pieces, ptrdiff_t n,
                         const int type, const int drawn)
{
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = half_of(from[i], drawn ? pieces[i] : 0, type, drawn);
}

/* By draws, or to the nearest if there are none. */
FR_CALLED void round_halves(uint16_t *to, const float *from, const uint16_t *pieces, ptrdiff_t n,
                            int type)
{
    if (type == FR_FLOAT16 && pieces)
        round_run(to, from, pieces, n, FR_FLOAT16, 1);
    else if (type == FR_FLOAT16)
        round_run(to, from, pieces, n, FR_FLOAT16, 0);
    else if (pieces)
        round_run(to, from, pieces, n, FR_BFLOAT16, 1);
    else
        round_run(to, from, pieces, n, FR_BFLOAT16, 0);
}

/* The masters of parameters that somebody has written to. */
FR_INLINE void follow_run(float *master, const uint16_t *param, ptrdiff_t n, const int type)
{
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++)
        master[i] =
            half_of(master[i], 0, type, 0) == param[i] ? master[i] : wide_of(param[i], type);
}

FR_CALLED void follow(float *master, const void *param, ptrdiff_t n, int type)
{
    if (type == FR_FLOAT16)
        follow_run(master, (const uint16_t *)param, n, FR_FLOAT16);
    else
        follow_run(master, (const uint16_t *)param, n, FR_BFLOAT16);
}

/* The size of a number of a slot. */
FR_INLINE ptrdiff_t slot_bytes(const fr_half *half, int k)
{
    return half->narrow && fr_rules[half->rule].kinds[k] != 'f' ? half->narrow / 8 : 4;
}

/* Some elements of a span over floats: parameters, unless a master takes their place, and
 * gradients in `wide`, whose halves these are. */
FR_CALLED fr_span span_over_floats(float wide[2][FR_HALF_RUN], const fr_span *span,
                                   ptrdiff_t begin, ptrdiff_t n, const fr_half *half)
{
    const uint16_t *param = (const uint16_t *)span->param + begin;
    fr_span run = {.param = half->master ? half->master + begin : wide[0],
                   .grad = wide[1],
                   .average = span->average ? (float *)span->average + begin : NULL,
                   .n = n};
    for (int k = 0; k < fr_rules[half->rule].slots; k++)
        run.slot[k] = (char *)span->slot[k] + begin * slot_bytes(half, k);
    if (half->master)
        follow(half->master + begin, param, n, half->type);
    else
        widen_halves(wide[0], param, n, half->type);
    widen_halves(wide[1], (const uint16_t *)span->grad + begin, n, half->type);
    return run;
}

/* What the next run draws from, and where its scales are. */
FR_INLINE void go_on(fr_draws *draws, ptrdiff_t run)
{
    draws->first += (uint64_t)run;
    for (int k = 0; k < FR_MAX_SLOTS; k++)
        draws->scale[k] = draws->scale[k] ? draws->scale[k] + run / FR_CODED_BLOCK : NULL;
}

/* Ask for what the next run needs. */
FR_INLINE void ask_for_halves(const fr_span *span, ptrdiff_t begin, const fr_half *half)
{
    ask_for((const uint16_t *)span->param + begin, 2 * FR_NARROW_RUN);
    ask_for((const uint16_t *)span->grad + begin, 2 * FR_NARROW_RUN);
    if (half->master)
        ask_for(half->master + begin, 4 * FR_NARROW_RUN);
    for (int k = 0; k < fr_rules[half->rule].slots; k++) {
        const ptrdiff_t size = slot_bytes(half, k);
        ask_for((const char *)span->slot[k] + begin * size, FR_NARROW_RUN * size);
    }
}

static void half_update(const fr_span *span, const fr_step *step, const fr_draws *draws,
                        const fr_half *half)
{
    const fr_kernels *kernels = &FR_NAMED(FR_LEVEL, FR_TYPE);
    _Alignas(64) float wide[2][FR_HALF_RUN];
    _Alignas(64) uint16_t pieces[FR_NARROW_RUN];
    fr_draws own = *draws;
    for (ptrdiff_t i = 0; i < span->n; i += FR_NARROW_RUN, go_on(&own, FR_NARROW_RUN)) {
        const ptrdiff_t n = span->n - i < FR_NARROW_RUN ? span->n - i : FR_NARROW_RUN;
        if (span->n - i >= 2 * FR_NARROW_RUN)
            ask_for_halves(span, i + FR_NARROW_RUN, half);
        const fr_span run = span_over_floats(wide, span, i, n, half);
        if (half->narrow == 8)
            kernels->coded_update[0](&run, step, &own, half->rule);
        else if (half->narrow)
            kernels->narrow[half->rule](&run, step, &own);
        else
            kernels->update[half->rule](&run, step);
        if (!half->master)
            draw(pieces, &own, 0, n, FR_PARAM_DRAW);
        round_halves((uint16_t *)span->param + i, (const float *)run.param,
                     half->master ? NULL : pieces, n, half->type);
    }
}

/* The squares of a layerwise rule, added up run by run. */
static void half_measure(const fr_span *span, const fr_step *step, const fr_draws *draws,
                         const fr_half *half, double squares[2])
{
    const fr_kernels *kernels = &FR_NAMED(FR_LEVEL, FR_TYPE);
    _Alignas(64) float wide[2][FR_HALF_RUN];
    const double units[2] = {1.0, 1.0};
    fr_draws own = *draws;
    squares[0] = squares[1] = 0.0;
    for (ptrdiff_t i = 0; i < span->n; i += FR_HALF_RUN, go_on(&own, FR_HALF_RUN)) {
        const ptrdiff_t n = span->n - i < FR_HALF_RUN ? span->n - i : FR_HALF_RUN;
        const fr_span run = span_over_floats(wide, span, i, n, half);
        double part[2];
        if (half->narrow == 8 && half->rule == FR_RULE_lamb)
            kernels->measure_coded[0](&run, step, &own, part);
        else if (half->narrow && half->rule == FR_RULE_lamb)
            kernels->measure_narrow[0](&run, step, &own, part);
        else
            kernels->measure[half->rule - FR_RULE_lamb](&run, step, units, 0, part);
        squares[0] += part[0], squares[1] += part[1];
    }
}

/* One of the sums, added up run by run. */
static double sum_halves(const void *x, ptrdiff_t n, double number, int sum, int type)
{
    _Alignas(64) float wide[FR_HALF_RUN];
    double total = 0.0;
    for (ptrdiff_t i = 0; i < n; i += FR_HALF_RUN) {
        const ptrdiff_t size = n - i < FR_HALF_RUN ? n - i : FR_HALF_RUN;
        widen_halves(wide, (const uint16_t *)x + i, size, type);
        total += FR_NAMED(FR_LEVEL, FR_TYPE).sum[sum](wide, size, number);
    }
    return total;
}

static void half_nearest(void *to, const float *from, ptrdiff_t n, int type)
{
    round_halves((uint16_t *)to, from, NULL, n, type);
}
_Static_assert(FR_HALF_RUN % FR_NARROW_RUN == 0 && FR_HALF_RUN % FR_CODED_BLOCK == 0 &&
                   FR_HALF_RUN % (2 * FR_MASK_GROUP) == 0,
               "bits are drawn for pairs of groups, and state for runs of its own");
#endif
