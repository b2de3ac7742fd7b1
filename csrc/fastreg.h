/* The contract between the kernels and their one caller, fastreg/_kernels.pyx.
 *
 * Everything here is serial C over contiguous spans: no allocation, no errors, no Python, no
 * OpenMP. The caller validates, cuts the work into blocks and spreads them over threads. Where
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

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define FR_X86_LEVELS 1
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <arm_neon.h>
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FR_INLINE static inline __attribute__((always_inline))
#else
#define FR_INLINE static __forceinline
#endif

/* Before a loop whose arrays are equal or disjoint, never shifted against each other. */
#if defined(__clang__)
#define FR_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define FR_ELEMENTWISE _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define FR_ELEMENTWISE __pragma(loop(ivdep))
#else
#define FR_ELEMENTWISE
#endif

_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must round to float");

/* Optimizers ----------------------------------------------------------------------------- */

/* The rules: name, state slots an element. A row here is an element step in update_tmpl.h and
 * a prepare function in rules.c. */
#define FR_RULES(RULE) RULE(adam, 2)

/* Hyper-parameters as the user names them; a rule reads the ones it needs. */
#define FR_HYPER(FIELD)                                                                          \
    FIELD(learning_rate)                                                                         \
    FIELD(beta1)                                                                                 \
    FIELD(beta2)                                                                                 \
    FIELD(epsilon)

#define FR_MAX_SLOTS 3

#define FR_DECLARE_ENUM(name, slots) FR_RULE_##name,
enum { FR_RULES(FR_DECLARE_ENUM) FR_RULE_COUNT };

#define FR_DECLARE_FIELD(name) double name;
typedef struct {
    FR_HYPER(FR_DECLARE_FIELD)
} fr_hyper;

/* The scalars of one step, computed once in double by the rule's prepare function. */
typedef struct {
    double step_size, epsilon;
    double beta1, one_minus_beta1;
    double beta2, one_minus_beta2;
} fr_step;

/* n elements of one tensor: the parameter, its gradient, its state. Unused slots are NULL. */
typedef struct {
    void *param;
    const void *grad;
    void *slot[FR_MAX_SLOTS];
    ptrdiff_t n;
} fr_span;

typedef void (*fr_update)(const fr_span *span, const fr_step *step);
typedef void (*fr_prepare)(fr_step *step, const fr_hyper *hyper, double t);

typedef struct {
    const char *name;
    int slots;
    fr_prepare prepare;
} fr_rule;

extern const fr_rule fr_rules[FR_RULE_COUNT];
extern const char *const fr_hyper_names[];
extern const int fr_hyper_count;

/* Dropout -------------------------------------------------------------------------------- */

/* One call's mask: element i is kept when its 32-bit draw from (key, call, i) is below
 * threshold, and then multiplied by scale. */
typedef struct {
    uint64_t key, call, threshold;
    double scale;
} fr_mask;

/* y = x * mask for the n elements from index `first`, a multiple of FR_MASK_GROUP. y may be x. */
typedef void (*fr_dropout)(void *y, const void *x, ptrdiff_t n, uint64_t first,
                           const fr_mask *mask, int stream);

/* One Philox4x32-10 block, for known-answer tests of each level. */
typedef void (*fr_philox)(uint32_t words[4], const uint32_t counter[4], uint64_t key);

/* Batch norm ----------------------------------------------------------------------------- */

/* A panel: rows x cols of a row-major matrix whose rows lie `stride` elements apart. */
typedef struct {
    ptrdiff_t rows, cols, stride;
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
/* d = dy * (y > 0 ? scale : 0) to dx, dbeta = sum d, dscale = sum d * (x - mean). */
typedef void (*fr_norm_gate_sums)(void *dx, double *dscale, double *dbeta, const void *dy,
                                  const void *x, const void *y, fr_panel panel,
                                  const double *mean, double scale);
/* total = the sum of the rows of sums (chunks x cols), rounded to the element type. */
typedef void (*fr_fold_sums)(void *total, const double *sums, ptrdiff_t chunks, ptrdiff_t cols);
/* Weighted sum of the rows' losses, and dz, its gradient; dz may be z. `shares` has a weight a
 * row, or is NULL and every row weighs `share`. Labels are from 0 to cols - 1. */
typedef void (*fr_cross_entropy)(void *dz, double *loss, const void *z, const int64_t *labels,
                                 const double *shares, double share, double smoothing,
                                 ptrdiff_t rows, ptrdiff_t cols);

/* The tables ----------------------------------------------------------------------------- */

typedef struct {
    fr_update update[FR_RULE_COUNT];
    fr_dropout dropout;
    fr_moments moments;
    fr_statistics statistics;
    fr_normalize normalize;
    fr_norm_sums norm_sums;
    fr_norm_backward norm_backward;
    fr_bias_gate bias_gate;
    fr_norm_gate norm_gate;
    fr_gate_sums gate_sums;
    fr_norm_gate_sums norm_gate_sums;
    fr_fold_sums fold_sums;
    fr_cross_entropy cross_entropy;
} fr_kernels;

enum { FR_FLOAT32, FR_FLOAT64, FR_DTYPE_COUNT };
enum {
    FR_MASK_GROUP = 64,  /* elements drawn together */
    FR_PANEL_COLS = 256, /* widest panel */
    FR_PANEL_RUN = 1024, /* elements finished in L1 before they are streamed */
    FR_PANEL_ROWS = 32,  /* rows summed in `real` before they are merged in double */
};

typedef struct {
    const char *name;
    fr_philox philox;
    fr_kernels kernels[FR_DTYPE_COUNT];
} fr_table;

/* The levels this build has, lowest first, and whether this CPU can run one. */
extern const fr_table *const fr_tables[];
extern const int fr_table_count;
int fr_cpu_runs(const fr_table *table);

#endif
