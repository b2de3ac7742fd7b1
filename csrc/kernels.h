/* The type layer: every template once for float, once for double, then the level's table.
 *
 * Included by the isa_*.c files alone, each after it has set the target and named FR_LEVEL and
 * FR_LANES. Everything but the table is static, so levels cannot mix at link time.
 */
#include "philox.h"
#include "normal.h"
#include "stream.h"
#include "exp.h"

#define FR_PASTE_(a, b) a##b
#define FR_PASTE(a, b) FR_PASTE_(a, b)
#define NAME(stem) FR_PASTE(stem, SUFFIX)

#define real float
#define SUFFIX _f32
#define SQRT sqrtf
#include "templates.h"
#undef real
#undef SUFFIX
#undef SQRT

#define real double
#define SUFFIX _f64
#define SQRT sqrt
#include "templates.h"
#undef real
#undef SUFFIX
#undef SQRT

#define FR_UPDATE_F32(rule, slots) [FR_RULE_##rule] = update_##rule##_f32,
#define FR_UPDATE_F64(rule, slots) [FR_RULE_##rule] = update_##rule##_f64,
#define FR_SUM_F32(name, plain) [FR_SUM_##name] = sum_##name##_f32,
#define FR_SUM_F64(name, plain) [FR_SUM_##name] = sum_##name##_f64,
#define FR_MAP_F32(name) [FR_MAP_##name] = map_##name##_f32,
#define FR_MAP_F64(name) [FR_MAP_##name] = map_##name##_f64,
#define FR_STRING_(x) #x
#define FR_STRING(x) FR_STRING_(x)

#define FR_KERNELS(updates, sums, maps, suffix)                                                  \
    {                                                                                            \
        .update = {FR_RULES(updates)},                                                           \
        .dropout = dropout##suffix,                                                              \
        .moments = moments##suffix,                                                              \
        .statistics = statistics##suffix,                                                        \
        .normalize = normalize##suffix,                                                          \
        .norm_sums = norm_sums##suffix,                                                          \
        .norm_backward = norm_backward##suffix,                                                  \
        .bias_gate = bias_gate##suffix,                                                          \
        .norm_gate = norm_gate##suffix,                                                          \
        .gate_sums = gate_sums##suffix,                                                          \
        .norm_gate_sums = norm_gate_sums##suffix,                                                \
        .fold_sums = fold_sums##suffix,                                                          \
        .cross_entropy = cross_entropy##suffix,                                                  \
        .sum = {FR_SUMS(sums)},                                                                  \
        .map = {FR_MAPS(maps)},                                                                  \
        .column_squares = column_squares##suffix,                                                \
        .scale_columns = scale_columns##suffix,                                                  \
        .alpha_dropout = alpha_dropout##suffix,                                                  \
        .gaussian_dropout = gaussian_dropout##suffix,                                            \
        .scale_runs = scale_runs##suffix,                                                        \
        .run_moments = run_moments##suffix,                                                      \
        .run_normalize = run_normalize##suffix,                                                  \
        .run_sums = run_sums##suffix,                                                            \
        .run_backward = run_backward##suffix,                                                    \
        .layer_forward = layer_forward##suffix,                                                  \
        .group_forward = group_forward##suffix,                                                  \
        .layer_backward = layer_backward##suffix,                                                \
        .group_backward = group_backward##suffix,                                                \
    }

const fr_table FR_PASTE(fr_table_, FR_LEVEL) = {
    .name = FR_STRING(FR_LEVEL),
    .philox = philox_block,
    .kernels = {FR_KERNELS(FR_UPDATE_F32, FR_SUM_F32, FR_MAP_F32, _f32),
                FR_KERNELS(FR_UPDATE_F64, FR_SUM_F64, FR_MAP_F64, _f64)},
    .normals = normal_of_words,
};
