/* Rules whose rate is each tensor's own: the norm of the parameter over that of its step. Two
 * passes, since the norms are known only when the whole tensor has been read: `measure` sums both
 * squares over a span (and advances what the step is made of), `update` writes. A tensor of one
 * block does both while it lies in cache.
 *
 * Sums are in the order of penalty_tmpl.h: 16 lanes of double, added up by halves.
 *
 * Bytes per element: LAMB 10 * sizeof(real) where one pass would move 7, LARS 7 where it would
 * move 5.
 */

FR_INLINE void add_squares(double *lanes, const real *x, ptrdiff_t n, double unit)
{
    ptrdiff_t i = 0;
    for (; i + FR_SUM_LANES <= n; i += FR_SUM_LANES)
        for (int k = 0; k < FR_SUM_LANES; k++)
            lanes[k] += term_scaled_squares(x[i + k], unit);
    for (int k = 0; i + k < n; k++)
        lanes[k] += term_scaled_squares(x[i + k], unit);
}

FR_INLINE double by_halves(double *lanes)
{
    for (int half = FR_SUM_LANES / 2; half; half /= 2)
        for (int k = 0; k < half; k++)
            lanes[k] += lanes[k + half];
    return lanes[0];
}

/* v as a root, whatever form it is kept in. */
FR_INLINE real root_of(real v)
{
    return v < 0 ? 0 - v : SQRT(v);
}

/* What n elements would move by, before rates, to `draft`. */
typedef void draft_run(real *draft, const fr_span *span, ptrdiff_t begin, ptrdiff_t n,
                       const scalars *s, const int again, const int careful);

/* You et al. (2020). slot: m, v; they are advanced unless this is done `again`. */
FR_INLINE void draft_lamb(real *draft, const fr_span *span, ptrdiff_t begin, ptrdiff_t n,
                          const scalars *s, const int again, const int careful)
{
    const real *param = (const real *)span->param + begin;
    const real *grad = (const real *)span->grad + begin;
    real *m = (real *)span->slot[0] + begin, *v = (real *)span->slot[1] + begin;
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++) {
        real mean = m[i], square = v[i];
        if (!again) {
            const real g = served(grad[i], param[i], s);
            mean = s->beta1 * mean + s->one_minus_beta1 * g;
            root_mean_square(&square, g, s->beta2, s->one_minus_beta2, 0, s, careful);
            m[i] = mean;
            v[i] = square;
        }
        draft[i] = s->feed * (mean / (root_of(square) + s->epsilon)) +
                   (s->decay != 0 ? s->decay * param[i] : -(real)0);
    }
}

/* You, Gitman & Ginsburg (2017): the penalised gradient. */
FR_INLINE void draft_lars(real *draft, const fr_span *span, ptrdiff_t begin, ptrdiff_t n,
                          const scalars *s, const int again, const int careful)
{
    const real *param = (const real *)span->param + begin;
    const real *grad = (const real *)span->grad + begin;
    (void)again, (void)careful;
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; i++)
        draft[i] = served(grad[i], param[i], s);
}

/* In runs that stay in L1. */
FR_INLINE void measure_span(const fr_span *span, const fr_step *step, const double units[2],
                            int again, double squares[2], draft_run *run, const int watched)
{
#define FR_ROUND(name) .name = (real)step->name,
    const scalars s = {FR_STEP(FR_ROUND)};
#undef FR_ROUND
    const int always = step->floor < SMALL || s.l1 > LARGE;
    double weights[FR_SUM_LANES] = {0}, moves[FR_SUM_LANES] = {0};
    real draft[FR_DRAFT];
    for (ptrdiff_t i = 0; i < span->n; i += FR_DRAFT) {
        const ptrdiff_t n = span->n - i < FR_DRAFT ? span->n - i : FR_DRAFT;
        if (again)
            run(draft, span, i, n, &s, 1, 0);
        else if (watched >= 0 && (always || extreme(span, i, n, &s, FR_ALL_SERVICES, watched)))
            run(draft, span, i, n, &s, 0, 1);
        else
            run(draft, span, i, n, &s, 0, 0);
        add_squares(weights, (const real *)span->param + i, n, units[0]);
        add_squares(moves, draft, n, units[1]);
    }
    squares[0] = by_halves(weights), squares[1] = by_halves(moves);
}

static void measure_lamb(const fr_span *span, const fr_step *step, const double units[2],
                         int again, double squares[2])
{
    measure_span(span, step, units, again, squares, draft_lamb, 1);
}

static void measure_lars(const fr_span *span, const fr_step *step, const double units[2],
                         int again, double squares[2])
{
    measure_span(span, step, units, again, squares, draft_lars, -1);
}

/* theta = keep theta - rate m / (root + epsilon), of an m and v that have been advanced. */
FR_INLINE void write_lamb(const fr_span *span, const fr_step *step, const int proximal,
                          const int averaged)
{
    real *param = (real *)span->param, *average = (real *)span->average;
    const real *m = (const real *)span->slot[0], *v = (const real *)span->slot[1];
    const real rate = (real)step->rate, keep = (real)step->keep, epsilon = (real)step->epsilon;
    const real prox = (real)step->prox;
    const real before = (real)step->average, now = (real)step->one_minus_average;
    FR_ELEMENTWISE
    for (ptrdiff_t i = 0; i < span->n; i++) {
        const real denominator = root_of(v[i]) + epsilon;
        real p = param[i] * keep - rate * (m[i] / denominator);
        if (proximal)
            p = prox != 0 ? shrink(p, prox / denominator) : p;
        param[i] = p;
        if (averaged)
            average[i] = (before != 0 ? before * average[i] : 0) + now * p;
    }
}

static void update_lamb(const fr_span *span, const fr_step *step)
{
    if (span->average)
        write_lamb(span, step, 1, 1);
    else if (step->prox != 0)
        write_lamb(span, step, 1, 0);
    else
        write_lamb(span, step, 0, 0);
}

/* LARS is momentum whose velocity takes in the gradient at the tensor's rate. */
#define update_lars update_momentum
#define update_lars_nesterov update_nesterov
#define measure_lars_nesterov measure_lars
