/* What each optimizer rule computes once a step, in double, and the rules by name. */
#include "fastreg.h"

static void adam_prepare(fr_step *step, const fr_hyper *hyper, double t)
{
    const double root_bc2 = sqrt(1.0 - pow(hyper->beta2, t));
    step->step_size = hyper->learning_rate * root_bc2 / (1.0 - pow(hyper->beta1, t));
    step->epsilon = hyper->epsilon * root_bc2;
    step->beta1 = hyper->beta1;
    step->one_minus_beta1 = 1.0 - hyper->beta1;
    step->beta2 = hyper->beta2;
    step->one_minus_beta2 = 1.0 - hyper->beta2;
}

#define FR_ROW(rule, slots) {#rule, slots, rule##_prepare},
const fr_rule fr_rules[FR_RULE_COUNT] = {FR_RULES(FR_ROW)};

#define FR_FIELD_NAME(name) #name,
const char *const fr_hyper_names[] = {FR_HYPER(FR_FIELD_NAME)};
const int fr_hyper_count = sizeof fr_hyper_names / sizeof *fr_hyper_names;
