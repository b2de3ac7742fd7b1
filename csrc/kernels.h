/* The kernels of one level over one element type: every template, then the table of them.
 *
 * Each object (base_f32.c, avx2_f64.c, ...) includes this after an isa_*.h has set the target and
 * a type_*.h the element type. Everything but the table is static, so objects cannot mix at link
 * time.
 */
#define FR_NAMED_(level, type) fr_##level##_##type
#define FR_NAMED(level, type) FR_NAMED_(level, type)

#include "philox.h"
#include "exp.h"
#include "log.h"
#include "tanh.h"
#include "erf.h"
#include "wide.h"
#include "gelu.h"
#include "normal.h"
#include "stream.h"
#include "fma.h"

#include "contiguous_tmpl.h"
#include "dropout_tmpl.h"
#include "norm_tmpl.h"
#include "penalty_tmpl.h"
#include "extreme_tmpl.h" /* of contiguous rows, for rownorm_tmpl.h */
#include "rownorm_tmpl.h"
#include "update_tmpl.h"
#include "layerwise_tmpl.h" /* over the steps of an element above */
#include "narrow_tmpl.h"    /* the same with their state in fewer bits */
#include "coded_tmpl.h"
#include "coded_steps_tmpl.h" /* and in a byte per number */
#include "half_tmpl.h"        /* all three, of parameters that have fewer */
#include "dense_tmpl.h"       /* composes the ones above */
#include "product_tmpl.h"
#include "activation_tmpl.h"
#include "softmax_tmpl.h" /* turns rows as the product does */
#include "loss_tmpl.h"

#define FR_UPDATE_ENTRY(rule, slots, watched, kinds) [FR_RULE_##rule] = update_##rule,
#define FR_MEASURE_ENTRY(rule, slots, watched, kinds)                                            \
    [FR_RULE_##rule - FR_RULE_lamb] = measure_##rule,
#define FR_NARROW_ENTRY(rule, slots, watched, kinds) [FR_RULE_##rule] = narrow_##rule,
#define FR_SUM_ENTRY(name, plain) [FR_SUM_##name] = sum_##name,
#define FR_MAP_ENTRY(name) [FR_MAP_##name] = map_##name,
#define FR_FUNCTION_ENTRY(name) [FR_FUNCTION_##name] = function_##name,
#define FR_SLOPE_ENTRY(name) [FR_SLOPE_##name] = slope_##name,
#define FR_LOSS_ENTRY(name) [FR_LOSS_##name] = loss_##name,
#define FR_ENTRY(type, name) .name = name,

const fr_kernels FR_NAMED(FR_LEVEL, FR_TYPE) = {
    .update = {FR_RULES(FR_UPDATE_ENTRY) FR_LAYERWISE(FR_UPDATE_ENTRY)},
    .measure = {FR_LAYERWISE(FR_MEASURE_ENTRY)},
#if FR_BYTES == 4
    .narrow = {FR_RULES(FR_NARROW_ENTRY) FR_LAYERWISE(FR_NARROW_ENTRY)},
    .measure_narrow = {measure_narrow_lamb},
    .coded_update = {coded_update},
    .measure_coded = {measure_coded_lamb},
    .encode_slot = {encode_slot},
    .decode_slot = {decode_slot},
    .half_update = {half_update},
    .half_measure = {half_measure},
    .half_sum = {sum_halves},
    .half_nearest = {half_nearest},
#endif
    .sum = {FR_SUMS(FR_SUM_ENTRY)},
    .map = {FR_MAPS(FR_MAP_ENTRY)},
    .function = {FR_FUNCTIONS(FR_FUNCTION_ENTRY)},
    .slope = {FR_SLOPES(FR_SLOPE_ENTRY)},
    .loss = {FR_POINT_LOSSES(FR_LOSS_ENTRY)},
    FR_KERNELS(FR_ENTRY) /* the rest, by name */
};

#ifdef FR_TARGET_PUSHED
#pragma clang attribute pop
#endif
