/* The contract between the kernels and their one caller, fastreg/_core/_kernels.pyx.
 *
 * Everything here is serial C over contiguous spans: no allocation, no errors, no Python, no
 * threads (those are in team.h). The caller validates and cuts the work into blocks. Where
 * a kernel takes `stream`, a nonzero value writes the output past the caches; it must then share
 * no memory with the inputs.
 *
 * A kernel returns the same bits for every instruction set. Three rules make that true: no
 * contraction (-ffp-contract=off), only correctly rounded operations (+ - * / sqrt), and every
 * sum taken in an order that is written down rather than left to the vector width.
 */
#ifndef FASTREG_H
#define FASTREG_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "product.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define FR_X86_LEVELS 1
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <arm_neon.h>
#endif

/* Before a loop of constant length whose arrays are to become registers. */
#if defined(__clang__)
#define FR_UNROLL _Pragma("clang loop unroll(full)")
#define FR_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define FR_UNROLL _Pragma("GCC unroll 16")
#define FR_ROLLED _Pragma("GCC unroll 1")
#else
#define FR_UNROLL
#define FR_ROLLED
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FR_PREFETCH(from) __builtin_prefetch(from)
#define FR_PREFETCH_L2(from) __builtin_prefetch(from, 0, 2)
#else
#define FR_PREFETCH(from) ((void)(from))
#define FR_PREFETCH_L2(from) ((void)(from))
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FR_INLINE static inline __attribute__((always_inline))
#define FR_CALLED static __attribute__((noinline))
#else
#define FR_INLINE static __forceinline
#define FR_CALLED static __declspec(noinline)
#endif

/* Before a loop whose iterations do not depend on each other: arrays are equal or disjoint, and
 * shifted only where what is read has not been written. FR_ROLLED: of a known and short length,
 * which is no reason to write it out. */
#if defined(__clang__)
#define FR_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")
#define FR_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define FR_ELEMENTWISE _Pragma("GCC ivdep")
#define FR_ROLLED _Pragma("GCC unroll 1")
#elif defined(_MSC_VER)
#define FR_ELEMENTWISE __pragma(loop(ivdep))
#define FR_ROLLED
#else
#define FR_ELEMENTWISE
#define FR_ROLLED
#endif

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "fastreg needs IEEE arithmetic: setup.py turns -ffast-math off, build with its flags"
#endif
_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must round to float");

/* Optimizers ----------------------------------------------------------------------------- */

/* The rules: name, state slots per element, the slot whose squares may leave the type's range
 * (-1: none; of v and peak the peak), and how each slot is rounded where state is kept in fewer
 * bits (narrow_tmpl.h): to the nearest, drawn, or kept in full. A row here is an element step in
 * update_tmpl.h and a prepare function in rules.c. */
#define FR_RULES(RULE)                                                                           \
    RULE(sgd, 0, -1, "")                                                                         \
    RULE(momentum, 1, -1, "n")                                                                   \
    RULE(nesterov, 1, -1, "n")                                                                   \
    RULE(adagrad, 1, 0, "d")                                                                     \
    RULE(rmsprop, 1, 0, "d")                                                                     \
    RULE(rmsprop_centered, 2, 0, "ff")                                                           \
    RULE(rmsprop_momentum, 2, 0, "dn")                                                           \
    RULE(rmsprop_centered_momentum, 3, 0, "ffn")                                                 \
    RULE(adam, 2, 1, "nd")                                                                       \
    RULE(amsgrad, 3, 2, "ndn")                                                                   \
    RULE(nadam, 2, 1, "nd")                                                                      \
    RULE(radam, 2, 1, "nd")                                                                      \
    RULE(adamax, 2, -1, "nd")                                                                    \
    RULE(adadelta, 2, 0, "dd")                                                                   \
    RULE(lion, 1, -1, "n")                                                                       \
    RULE(yogi, 2, 1, "nd")                                                                       \
    RULE(adan, 4, 2, "nndn")                                                                     \
    RULE(free_adamw, 2, 1, "fd")

/* The rules whose rate is each tensor's own (layerwise_tmpl.h): they come after the others, and
 * have a kernel that measures beside the one that writes. */
#define FR_LAYERWISE(RULE)                                                                       \
    RULE(lamb, 2, 1, "nd")                                                                       \
    RULE(lars, 1, -1, "n")                                                                       \
    RULE(lars_nesterov, 1, -1, "n")

/* Hyper-parameters as the user names them; a rule reads the ones it needs. lambda_prox is
 * lambda_l1 where the penalty is applied by its proximal operator; coupled is 1 where a library's
 * weight_decay is added to the gradient, as lambda_l2 is; single is 1 where a rule's memory is
 * kept in float. Adagrad's decay of the rate is torch's alone. */
#define FR_HYPER(FIELD)                                                                          \
    FIELD(learning_rate)                                                                         \
    FIELD(momentum)                                                                              \
    FIELD(beta)                                                                                  \
    FIELD(beta1)                                                                                 \
    FIELD(beta2)                                                                                 \
    FIELD(beta3)                                                                                 \
    FIELD(rho)                                                                                   \
    FIELD(epsilon)                                                                               \
    FIELD(momentum_decay)                                                                        \
    FIELD(trust_coefficient)                                                                     \
    FIELD(warmup_steps)                                                                          \
    FIELD(compat)                                                                                \
    FIELD(weight_decay)                                                                          \
    FIELD(coupled)                                                                               \
    FIELD(lambda_l1)                                                                             \
    FIELD(lambda_l2)                                                                             \
    FIELD(lambda_prox)                                                                           \
    FIELD(clip_value)                                                                            \
    FIELD(ema_decay)                                                                             \
    FIELD(dampening)                                                                             \
    FIELD(lr_decay)                                                                              \
    FIELD(single)

/* Whose formula: the chapter's, or a library's where it differs. */
enum { FR_CHAPTER, FR_TORCH, FR_KERAS, FR_OPTAX };

/* The scalars of one step, computed once in double. The first nine serve every rule: gradients
 * are multiplied by scale and unit (1, or a power of two that scale is out of range without) and
 * clipped to +-clip, penalties l2 * p + l1 * sign(p) added, parameters multiplied by keep, moved,
 * shrunk by prox / denominator, and averaged. The rest is the rules', in the names that
 * update_tmpl.h uses. */
#define FR_STEP(FIELD)                                                                           \
    FIELD(scale)                                                                                 \
    FIELD(unit)                                                                                  \
    FIELD(clip)                                                                                  \
    FIELD(l2)                                                                                    \
    FIELD(l1)                                                                                    \
    FIELD(keep)                                                                                  \
    FIELD(prox)                                                                                  \
    FIELD(average)                                                                               \
    FIELD(one_minus_average)                                                                     \
    FIELD(rate)                                                                                  \
    FIELD(gradient_rate)                                                                         \
    FIELD(momentum)                                                                              \
    FIELD(feed)                                                                                  \
    FIELD(beta1)                                                                                 \
    FIELD(one_minus_beta1)                                                                       \
    FIELD(beta2)                                                                                 \
    FIELD(one_minus_beta2)                                                                       \
    FIELD(beta3)                                                                                 \
    FIELD(one_minus_beta3)                                                                       \
    FIELD(inside)                                                                                \
    FIELD(epsilon)                                                                               \
    FIELD(floor)                                                                                 \
    FIELD(root)                                                                                  \
    FIELD(decay)                                                                                 \
    FIELD(trust)                                                                                 \
    FIELD(peak)

/* Factors alone are scale and keep: a clipped norm, gradients to climb, AdamW's decay. They spare
 * the division that the proximal operator needs. */
enum { FR_NO_SERVICES, FR_FACTORS_ALONE, FR_ALL_SERVICES };

#define FR_MAX_SLOTS 4

#define FR_DECLARE_ENUM(name, slots, watched, kinds) FR_RULE_##name,
enum { FR_RULES(FR_DECLARE_ENUM) FR_LAYERWISE(FR_DECLARE_ENUM) FR_RULE_COUNT };
enum { FR_LAYERWISE_COUNT = FR_RULE_COUNT - FR_RULE_lamb };

#define FR_DECLARE_FIELD(name) double name;
typedef struct {
    FR_HYPER(FR_DECLARE_FIELD)
} fr_hyper;
typedef struct {
    FR_STEP(FR_DECLARE_FIELD)
    int services; /* what of scale .. prox does something */
    int slow;     /* first moments forget less than a hundredth per step */
} fr_step;

/* n elements of one tensor: parameter, gradient, state, moving average. What is not used is
 * NULL. The gradient may be the parameter itself; nothing else overlaps. */
typedef struct {
    void *param;
    const void *grad;
    void *slot[FR_MAX_SLOTS];
    void *average;
    ptrdiff_t n;
} fr_span;

typedef void (*fr_update)(const fr_span *span, const fr_step *step);

/* Of a layerwise rule: the sums of squares of the parameters and of what they would move by, each
 * multiplied by its unit. Advances the state, unless it has been done and is done `again`. */
typedef void (*fr_measure)(const fr_span *span, const fr_step *step, const double units[2],
                           int again, double squares[2]);

typedef struct {
    const char *name;
    int slots;
    const char *kinds; /* how each slot is rounded */
    int watched;       /* the slot whose squares may leave the range, or -1 */
    void (*prepare)(fr_step *step, const fr_hyper *hyper, double t, double *memory);
} fr_rule;

extern const fr_rule fr_rules[FR_RULE_COUNT];
extern const char *const fr_hyper_names[];
extern const int fr_hyper_count;

/* The scalars of a rule for tensors whose step number is t, from 1. scale multiplies the
 * gradients; penalised is 0 for tensors that decay and penalties leave alone. memory is one
 * number that the rule keeps from step to step, 1 before the first. */
void fr_prepare(fr_step *step, int rule, const fr_hyper *hyper, double t, double scale,
                double unit, int penalised, double *memory);

/* The scalars of one tensor under a layerwise rule, whose norm and that of its step are known. */
void fr_trust(fr_step *own, const fr_step *step, int rule, double weight, double move);

/* Functions of one number (scalar.c): x^y and, for x from 0 to 1, 1 - (1 - x)^y; cos x and sin x
 * for x from 0 to 2^20. */
double fr_power(double x, double y);
double fr_missing_power(double x, double y);
double fr_cos(double x);
double fr_sin(double x);

/* Dropout -------------------------------------------------------------------------------- */

/* One call's mask: element i is kept when its 32-bit draw from (key, call, i) is below
 * threshold, and then multiplied by scale. Alpha dropout adds the shifts; Gaussian dropout has no
 * threshold, and scale is its standard deviation. */
typedef struct {
    uint64_t key, call, threshold;
    double scale, kept_shift, dropped_shift;
} fr_mask;

/* State in fewer bits ----------------------------------------------------------------------- */

/* What the stochastic rounding of a step draws from: key and call (the step) of `mask`, and the
 * number of the span's first element, a multiple of FR_MASK_GROUP. */
typedef struct {
    fr_mask mask;
    uint64_t first;
    int16_t *scale[FR_MAX_SLOTS]; /* of state in bytes, by block: powers of two */
} fr_draws;

/* A step of float parameters whose state is kept in fewer bits. */
typedef void (*fr_narrow)(const fr_span *span, const fr_step *step, const fr_draws *draws);

/* The sums of squares of a layerwise rule whose state is kept in fewer bits. */
typedef void (*fr_measure_narrow)(const fr_span *span, const fr_step *step, const fr_draws *draws,
                                  double squares[2]);

/* A step of float parameters whose state is kept in a byte per number; and the conversion of a
 * slot from floats and into them, of one that has no sign or one that has. */
typedef void (*fr_coded_update)(const fr_span *span, const fr_step *step, const fr_draws *draws,
                                int rule);
typedef void (*fr_encode_slot)(uint8_t *to, int16_t *scales, const float *from, ptrdiff_t n,
                               int unsign);
typedef void (*fr_decode_slot)(float *to, const uint8_t *from, const int16_t *scales, ptrdiff_t n,
                               int unsign);

/* Parameters of 16 bits: their rule, their type, in how many bits each number of their state is
 * kept (8 or 16, 0: as floats), and the floats that take the steps in their place, or NULL. Their
 * state is that of floats. */
typedef struct {
    int rule, type, narrow;
    float *master;
} fr_half;

/* Their step, the sums of squares of a layerwise rule, one of the sums over a span of their type,
 * and what floats round to. */
typedef void (*fr_half_update)(const fr_span *span, const fr_step *step, const fr_draws *draws,
                               const fr_half *half);
typedef void (*fr_half_measure)(const fr_span *span, const fr_step *step, const fr_draws *draws,
                                const fr_half *half, double squares[2]);
typedef double (*fr_half_sum)(const void *x, ptrdiff_t n, double number, int sum, int type);
typedef void (*fr_half_nearest)(void *to, const float *from, ptrdiff_t n, int type);

/* y = x under the mask, for the n elements from index `first`, a multiple of FR_MASK_GROUP. y may
 * be x. */
typedef void (*fr_dropout)(void *y, const void *x, ptrdiff_t n, uint64_t first,
                           const fr_mask *mask, int stream);

/* Runs of elements with one factor: `length` elements per run, `cols` runs per row, and each row
 * of factors used for `repeat` rows of runs. */
typedef struct {
    ptrdiff_t repeat, cols, length;
} fr_runs;

/* y = x * the factor of its run, for the n elements from index `first`. y may be x. */
typedef void (*fr_scale_runs)(void *y, const void *x, ptrdiff_t n, ptrdiff_t first,
                              const void *factors, fr_runs runs, int stream);

/* One Philox4x32-10 block, for known-answer tests of each level. */
typedef void (*fr_philox)(uint32_t words[4], const uint32_t counter[4], uint64_t key);

/* The pair of normal deviates of each pair of words, for tests of each level. */
typedef void (*fr_normals)(float *first, float *second, const uint32_t *radii,
                           const uint32_t *angles, int n);

/* Batch norm ----------------------------------------------------------------------------- */

/* A panel: rows x cols of a row-major matrix whose rows lie `stride` elements apart. An entry is
 * `run` elements: one for the kernels of matrices, L for those of (N, C, L), which are named
 * run_* and take the same arguments. */
typedef struct {
    ptrdiff_t rows, cols, stride, run;
} fr_panel;

/* What one channel does to its column, forward and backward. mean is kept in two parts so that
 * x - mean is right even where the spread is a few ulp of the mean. */
typedef struct {
    const double *mean, *inv_std, *gamma, *beta;
} fr_channels;

/* mean, m2: the columns' means less their value in the row `origin`, which keeps the digits that
 * a large common mean would take, and the sums of squared deviations from the mean. */
typedef void (*fr_moments)(double *mean, double *m2, const void *x, fr_panel panel,
                           const void *origin);
/* statistics (3 x cols): mean, biased variance and 1 / sqrt(variance + epsilon), from the moments
 * of row chunks, `chunk_rows` rows each but for the last of `rows` in all. Overwrites the moments
 * of the first chunk. */
typedef void (*fr_statistics)(double *statistics, double *mean, double *m2, const void *origin,
                              double epsilon, ptrdiff_t rows, ptrdiff_t chunk_rows,
                              ptrdiff_t cols);
/* y = (x - mean) * inv_std * gamma + beta. y may be x. */
typedef void (*fr_normalize)(void *y, const void *x, fr_panel panel, fr_channels channels,
                             int stream);
/* dbeta = sum dy, dscale = sum dy * (x - mean). */
typedef void (*fr_norm_sums)(double *dscale, double *dbeta, const void *dy, const void *x,
                             fr_panel panel, const double *mean);
/* dx = gamma * inv_std * (dy - mean_dy - (x - mean) * slope). dx may be dy. */
typedef void (*fr_norm_backward)(void *dx, const void *dy, const void *x, fr_panel panel,
                                 fr_channels channels, const double *mean_dy, const double *slope,
                                 int stream);

/* gradients (4 x cols): dgamma, dbeta, mean_dy and slope, from the sums of row chunks, which are
 * added up into the first. share is 1 / rows, or 0 where the statistics are constants. */
void fr_gradients(double *gradients, double *dscale, double *dbeta, const double *inv_std,
                  double share, ptrdiff_t chunks, ptrdiff_t cols);
/* blend = keep * before + (1 - keep) * now. */
void fr_blend(double *blend, const double *before, const double *now, double keep,
              ptrdiff_t cols);

/* Whether the sums of a row or channel with these statistics stay far from the ends of the range,
 * in float or in double, and whether sums of gradients, the second by x less its mean times
 * inv_std, have done so. If not, extreme_tmpl.h is for them. */
FR_INLINE int fr_is_plain(double mean, double inv_std, int is_float)
{
    return (fabs(mean) < (is_float ? 1e30 : 1e300)) & (inv_std > (is_float ? 1e-15 : 1e-140)) &
           (inv_std < (is_float ? 1e13 : 1e140));
}

FR_INLINE int fr_plain_sums(double sum, double dot, int is_float)
{
    const double size = fabs(sum) + fabs(dot);
    return (size == 0.0) |
           ((size > (is_float ? 1e-25 : 1e-280)) & (size < (is_float ? 1e30 : 1e300)));
}

/* Dense networks -------------------------------------------------------------------------- */

/* What follows an affine map: ReLU if asked for, then dropout if there is a mask. */
typedef struct {
    int relu;
    const fr_mask *mask;
} fr_gate;

/* y = gate(y + bias), in place; bias may be NULL. `first` is the index of the panel's first
 * element in the masked array. */
typedef void (*fr_bias_gate)(void *y, const void *bias, fr_panel panel, uint64_t first,
                             const fr_gate *gate);
/* y = gate((x - mean) * inv_std * gamma + beta). y may be x. */
typedef void (*fr_norm_gate)(void *y, const void *x, fr_panel panel, fr_channels channels,
                             uint64_t first, const fr_gate *gate);
/* dx = dy * (y > 0 ? scale : 0), dbias = sum dx. dx may be dy. With y NULL the gate was open:
 * dbias = sum dy, and dx is not written. */
typedef void (*fr_gate_sums)(void *dx, double *dbias, const void *dy, const void *y,
                             fr_panel panel, double scale);
/* The same for whole columns, all rows at once: dbias, in the element type, unless it is NULL.
 * Sums are those of chunks of chunk_rows. */
typedef void (*fr_gate_slopes)(void *dx, void *dbias, const void *dy, const void *y,
                               fr_panel panel, ptrdiff_t chunk_rows, double scale);
/* d = dy * (y > 0 ? scale : 0) to dx, dbeta = sum d, dscale = sum d * (x - mean). */
typedef void (*fr_norm_gate_sums)(void *dx, double *dscale, double *dbeta, const void *dy,
                                  const void *x, const void *y, fr_panel panel,
                                  const double *mean, double scale);
/* Both of batch norm for whole columns, all rows at once: statistics (three rows of `width`) and
 * y = gate(batch norm(x)); back, dx, dgamma and dbeta (the first of rows of `width`) and dbias =
 * sum dx, unless it is NULL. Sums are those of chunks of chunk_rows. y is not x, dx may be dy. */
typedef void (*fr_norm_gate_columns)(void *y, double *statistics, ptrdiff_t width, const void *x,
                                     fr_panel panel, ptrdiff_t chunk_rows, fr_channels channels,
                                     double epsilon, uint64_t first, const fr_gate *gate);
typedef void (*fr_norm_gate_slopes)(void *dx, double *gradients, ptrdiff_t width, void *dbias,
                                    const void *dy, const void *x, const void *y, fr_panel panel,
                                    ptrdiff_t chunk_rows, fr_channels channels, double scale);
/* total = the sum of the rows of sums (chunks x cols), rounded to the element type. Overwrites
 * the first row. */
typedef void (*fr_fold_sums)(void *total, double *sums, ptrdiff_t chunks, ptrdiff_t cols);

/* Activations ----------------------------------------------------------------------------- */

/* Functions of one element: the elementary ones of exp.h, log.h, tanh.h and erf.h, and the
 * activations made of them; and the activations' slopes. normal_gelu is x Phi(x), gelu its form
 * with tanh. A row here is a line in activation_tmpl.h. */
#define FR_FUNCTIONS(F) F(exp) F(log) F(log1p) F(tanh) F(erf) F(sigmoid) F(gelu) F(normal_gelu)
#define FR_SLOPES(S) S(tanh) S(sigmoid) S(gelu) S(normal_gelu)

#define FR_DECLARE_FUNCTION(name) FR_FUNCTION_##name,
#define FR_DECLARE_SLOPE(name) FR_SLOPE_##name,
enum { FR_FUNCTIONS(FR_DECLARE_FUNCTION) FR_FUNCTION_COUNT };
enum { FR_SLOPES(FR_DECLARE_SLOPE) FR_SLOPE_COUNT };

/* y = f(x). y may be x. */
typedef void (*fr_function)(void *y, const void *x, ptrdiff_t n, int stream);
/* dx = dy * f'(x). dx may be dy. */
typedef void (*fr_slope)(void *dx, const void *dy, const void *x, ptrdiff_t n, int stream);

/* Losses ---------------------------------------------------------------------------------- */

/* Weighted sum of the rows' losses, and dz, its gradient; dz may be z. `shares` has one weight
 * per row, or is NULL and every row weighs `share`. Labels are from 0 to cols - 1; a row whose
 * label is negative is left out, whatever it holds. */
typedef void (*fr_cross_entropy)(void *dz, double *loss, const void *z, const int64_t *labels,
                                 const double *shares, double share, double smoothing,
                                 ptrdiff_t rows, ptrdiff_t cols);
/* Losses of one output and its target each. A row here is a line in loss_tmpl.h, which says what
 * a and b are: how targets are smoothed, where a Huber loss turns, which quantile. */
#define FR_POINT_LOSSES(L)                                                                       \
    L(binary) L(squared) L(absolute) L(huber) L(quantile) L(poisson) L(focal)
#define FR_DECLARE_LOSS(name) FR_LOSS_##name,
enum { FR_POINT_LOSSES(FR_DECLARE_LOSS) FR_LOSS_COUNT };

/* The sum of the losses, rows weighted by their shares if there are any, and dz = their
 * derivative * factor * the share. dz may be z. soft_cross_entropy is of rows, not of elements:
 * its targets are a t + b, the shares of the classes. */
typedef void (*fr_point_loss)(void *dz, double *loss, const void *z, const void *t,
                              const double *shares, double factor, double a, double b,
                              ptrdiff_t rows, ptrdiff_t cols);
/* The softmax of each row. y may be z. */
typedef void (*fr_softmax)(void *y, const void *z, ptrdiff_t rows, ptrdiff_t cols);

/* Penalties ------------------------------------------------------------------------------ */

/* What can be summed over a span, and whether plainly: |x|, x^2, (number * x)^2, and how many
 * elements are within `number` of 0, equal to 0, NaN or infinite. A row here is a term in
 * penalty_tmpl.h. */
#define FR_SUMS(SUM)                                                                             \
    SUM(abs, 0)                                                                                  \
    SUM(squares, 0)                                                                              \
    SUM(scaled_squares, 1)                                                                       \
    SUM(near_zero, 1)                                                                            \
    SUM(zeros, 1)                                                                                \
    SUM(nonfinite, 1)

/* What can be computed from each element: 0, a sign(x), b x, their sum, and the proximal
 * operators of a |x| and of a |x| + (b - 1) x^2 / 2. */
#define FR_MAPS(MAP) MAP(zero) MAP(l1) MAP(l2) MAP(elastic) MAP(soft) MAP(prox)

#define FR_DECLARE_SUM(name, plain) FR_SUM_##name,
#define FR_DECLARE_MAP(name) FR_MAP_##name,
enum { FR_SUMS(FR_DECLARE_SUM) FR_SUM_COUNT };
enum { FR_MAPS(FR_DECLARE_MAP) FR_MAP_COUNT };

/* The sum over n elements; if not plain, within a few ulp of double for double. To sum more than
 * a block, give fr_merge the sums of fixed blocks in their order. */
typedef double (*fr_sum)(const void *x, ptrdiff_t n, double number);
/* y from x, element by element. y may be x. */
typedef void (*fr_map)(void *y, const void *x, ptrdiff_t n, double a, double b, int stream);
/* squares: the sum of x * x down each column. */
typedef void (*fr_column_squares)(double *squares, const void *x, fr_panel panel);
/* y = x * factor of the column. y may be x. */
typedef void (*fr_scale_columns)(void *y, const void *x, fr_panel panel, const double *factors);

/* Adds the other rows of a rows x cols matrix to its first, in order; fr_merge keeps what
 * rounding takes. */
void fr_add_rows(double *sums, ptrdiff_t rows, ptrdiff_t cols);
void fr_merge(double *sums, ptrdiff_t rows, ptrdiff_t cols);

/* A sum with what rounding took from it. An infinite sum has lost infinity minus infinity. */
FR_INLINE double fr_total(double sum, double rest)
{
    return sum - sum == 0.0 ? sum + rest : sum;
}
/* Row norms ------------------------------------------------------------------------------- */

/* Rows normalised by themselves, and how. A sample is `groups` rows; row r, counted from `first`,
 * has the channels of group r % groups, each with `run` elements. gamma and beta (groups x
 * channels) are in the element type. centred = 0 takes 0 for the mean. */
typedef struct {
    ptrdiff_t rows, first, groups, channels, run;
    const void *gamma, *beta;
    double epsilon;
    int centred, stream;
} fr_rows;

/* y = (x - mean) * inv_std * gamma + beta; statistics: mean and inv_std of every row. y may be
 * x. */
typedef void (*fr_row_forward)(void *y, double *statistics, const void *x, const fr_rows *rows);
/* dx, and what these rows add to dgamma and dbeta. dx may be dy. */
typedef void (*fr_row_backward)(void *dx, double *dgamma, double *dbeta, const void *dy,
                                const void *x, const double *statistics, const fr_rows *rows);

/* The tables ----------------------------------------------------------------------------- */

/* Every kernel but the rules, sums and maps, with its type: the table of an object is made from
 * this list. layer_* is for runs of one element, group_* for longer ones. */
#define FR_KERNELS(K)                                                                            \
    K(fr_dropout, dropout)                                                                       \
    K(fr_moments, moments)                                                                       \
    K(fr_statistics, statistics)                                                                 \
    K(fr_normalize, normalize)                                                                   \
    K(fr_norm_sums, norm_sums)                                                                   \
    K(fr_norm_backward, norm_backward)                                                           \
    K(fr_bias_gate, bias_gate)                                                                   \
    K(fr_norm_gate, norm_gate)                                                                   \
    K(fr_gate_sums, gate_sums)                                                                   \
    K(fr_gate_slopes, gate_slopes)                                                               \
    K(fr_norm_gate_sums, norm_gate_sums)                                                         \
    K(fr_norm_gate_columns, norm_gate_columns)                                                   \
    K(fr_norm_gate_slopes, norm_gate_slopes)                                                     \
    K(fr_fold_sums, fold_sums)                                                                   \
    K(fr_cross_entropy, cross_entropy)                                                           \
    K(fr_point_loss, soft_cross_entropy)                                                         \
    K(fr_softmax, softmax)                                                                       \
    K(fr_column_squares, column_squares)                                                         \
    K(fr_scale_columns, scale_columns)                                                           \
    K(fr_dropout, alpha_dropout)                                                                 \
    K(fr_dropout, gaussian_dropout)                                                              \
    K(fr_scale_runs, scale_runs)                                                                 \
    K(fr_moments, run_moments)                                                                   \
    K(fr_normalize, run_normalize)                                                               \
    K(fr_norm_sums, run_sums)                                                                    \
    K(fr_norm_backward, run_backward)                                                            \
    K(fr_row_forward, layer_forward)                                                             \
    K(fr_row_forward, group_forward)                                                             \
    K(fr_row_backward, layer_backward)                                                           \
    K(fr_row_backward, group_backward)                                                           \
    K(fr_plan_product, plan_product)                                                             \
    K(fr_product_task, pack_product)                                                             \
    K(fr_product_task, product)                                                                  \
    K(fr_product_task, product_columns)                                                          \
    K(fr_philox, philox_block)                                                                   \
    K(fr_normals, normal_of_words)

#define FR_DECLARE_KERNEL(type, name) type name;
typedef struct {
    fr_update update[FR_RULE_COUNT];
    fr_measure measure[FR_LAYERWISE_COUNT];
    fr_narrow narrow[FR_RULE_COUNT];     /* of float alone, as the next nine */
    fr_measure_narrow measure_narrow[1]; /* LAMB's */
    fr_coded_update coded_update[1];
    fr_measure_narrow measure_coded[1]; /* LAMB's */
    fr_encode_slot encode_slot[1];
    fr_decode_slot decode_slot[1];
    fr_half_update half_update[1];
    fr_half_measure half_measure[1];
    fr_half_sum half_sum[1];
    fr_half_nearest half_nearest[1];
    fr_sum sum[FR_SUM_COUNT];
    fr_map map[FR_MAP_COUNT];
    fr_function function[FR_FUNCTION_COUNT];
    fr_slope slope[FR_SLOPE_COUNT];
    fr_point_loss loss[FR_LOSS_COUNT];
    FR_KERNELS(FR_DECLARE_KERNEL)
} fr_kernels;

/* The element types that have kernels; and those of parameters alone. */
enum { FR_FLOAT32, FR_FLOAT64, FR_DTYPE_COUNT };
enum { FR_BFLOAT16 = FR_DTYPE_COUNT, FR_FLOAT16 };
enum {
    FR_MASK_GROUP = 64,     /* elements drawn together */
    FR_PANEL_COLS = 256,    /* widest panel */
    FR_PANEL_RUN = 1024,    /* elements finished in L1 before they are streamed */
    FR_PANEL_ROWS = 32,     /* rows summed in `real` before they are merged in double */
    FR_SUM_LANES = 16,      /* running sums of a span */
    FR_RUN = 64,            /* elements of an update that are looked at before it */
    FR_NARROW_RUN = 256,    /* elements whose state is widened together */
    FR_CODED_BLOCK = 256,   /* elements whose state in bytes shares a scale */
    FR_HALF_RUN = 1024,     /* parameters of 16 bits that are widened together */
    FR_PARAM_DRAW = 15,     /* the number of their draw; those of slots are from 0 */
    FR_DRAFT = 1024,        /* elements of a step that sit in L1 while it is measured */
    FR_MASK_BATCH = 1024,   /* elements whose noise sits in L1 together */
    FR_ROW_LANES = 32,      /* accumulators along a row */
    FR_ROW_BLOCK = 2048,    /* elements of a row summed in `real` before they are merged */
    FR_PRODUCT_BLOCK = 256, /* steps of a product's chain of multiply-adds */
    FR_ROW_TILE = 32,       /* most rows whose dgamma and dbeta are summed in `real` */
};
_Static_assert((int)FR_MASK_BATCH <= (int)FR_PANEL_RUN, "a batch of noise must fit a sink");

/* A level: its name, and its kernels over each element type. */
typedef struct {
    const char *name;
    const fr_kernels *kernels[FR_DTYPE_COUNT];
} fr_table;

/* The levels this build has, lowest first, whether this CPU can run the one at an index, and
 * whether that one has an instruction for the multiply-adds of products. */
extern const fr_table fr_tables[];
extern const int fr_table_count;
int fr_cpu_runs(int level);
int fr_level_fuses(int level);

#endif
