/* What each optimizer rule computes once per step, in double, and the rules by name.
 *
 * Where the libraries disagree the chapter's form comes first; fastreg/optim/__init__.py has the
 * table.
 */
#include "fastreg.h"

#define PREPARE(rule)                                                                            \
    static void rule##_prepare(fr_step *s, const fr_hyper *h, double t, double *memory)

/* step->prox arrives as lambda; a rule multiplies it by the learning rate of its metric. */

static void decay_rates(fr_step *s, double beta1, double beta2)
{
    s->beta1 = beta1, s->one_minus_beta1 = 1.0 - beta1;
    s->beta2 = beta2, s->one_minus_beta2 = 1.0 - beta2;
}

PREPARE(sgd)
{
    (void)t, (void)memory;
    s->rate = h->learning_rate;
    s->prox *= h->learning_rate;
}

/* v = momentum v + g, theta -= lr v; all but the first g are dampened, and in Keras the velocity
 * carries the learning rate. */
PREPARE(momentum)
{
    (void)memory;
    const int carries = h->compat == FR_KERAS;
    s->momentum = h->momentum;
    s->feed = (carries ? h->learning_rate : 1.0) * (t > 1.0 ? 1.0 - h->dampening : 1.0);
    s->rate = carries ? 1.0 : h->learning_rate;
    s->prox *= h->learning_rate;
}

PREPARE(nesterov)
{
    momentum_prepare(s, h, t, memory);
    s->rate *= h->momentum;
    s->gradient_rate = h->learning_rate;
}

/* Epsilon inside the root as in the chapter, Keras and Optax; outside in torch. */
static void place_epsilon(fr_step *s, const fr_hyper *h)
{
    s->inside = h->compat == FR_TORCH ? 0.0 : h->epsilon;
    s->epsilon = h->compat == FR_TORCH ? h->epsilon : 0.0;
}

PREPARE(adagrad)
{
    (void)memory;
    place_epsilon(s, h);
    s->rate = h->learning_rate / (1.0 + (t - 1.0) * h->lr_decay);
    s->prox *= s->rate;
}

PREPARE(rmsprop)
{
    adagrad_prepare(s, h, t, memory);
    decay_rates(s, 0.0, h->beta);
}

PREPARE(rmsprop_centered)
{
    rmsprop_prepare(s, h, t, memory);
}

/* The velocity carries the learning rate in Keras and in Optax. */
PREPARE(rmsprop_momentum)
{
    rmsprop_prepare(s, h, t, memory);
    const int carries = h->compat == FR_KERAS || h->compat == FR_OPTAX;
    s->momentum = h->momentum;
    s->feed = carries ? h->learning_rate : 1.0;
    s->rate = carries ? 1.0 : h->learning_rate;
}

PREPARE(rmsprop_centered_momentum)
{
    rmsprop_momentum_prepare(s, h, t, memory);
}

/* Epsilon is added after bias correction; in Keras to the raw root. */
PREPARE(adam)
{
    (void)memory;
    const double root_bc2 = sqrt(1.0 - fr_power(h->beta2, t));
    decay_rates(s, h->beta1, h->beta2);
    s->rate = h->learning_rate * root_bc2 / (1.0 - fr_power(h->beta1, t));
    s->epsilon = h->compat == FR_KERAS ? h->epsilon : h->epsilon * root_bc2;
    s->prox *= h->learning_rate * root_bc2;
}

/* The peak is that of v; in Optax of the bias-corrected v. */
PREPARE(amsgrad)
{
    adam_prepare(s, h, t, memory);
    s->peak = 1.0;
    if (h->compat == FR_OPTAX) {
        s->peak = 1.0 / (1.0 - fr_power(h->beta2, t));
        s->rate = h->learning_rate / (1.0 - fr_power(h->beta1, t));
        s->epsilon = h->epsilon;
    }
}

/* Momentum mu_t = beta1 (1 - 0.96^(t decay) / 2), memory its product so far; in Optax beta1. */
PREPARE(nadam)
{
    const double root_bc2 = sqrt(1.0 - fr_power(h->beta2, t)), lr = h->learning_rate * root_bc2;
    decay_rates(s, h->beta1, h->beta2);
    s->epsilon = h->epsilon * root_bc2;
    s->rate = lr;
    s->prox *= lr;
    if (h->compat == FR_OPTAX) {
        s->gradient_rate = (1.0 - h->beta1) / (1.0 - fr_power(h->beta1, t));
        s->momentum = h->beta1 / (1.0 - fr_power(h->beta1, t + 1.0));
        return;
    }
    const double now = h->beta1 * (1.0 - 0.5 * fr_power(0.96, t * h->momentum_decay));
    const double next = h->beta1 * (1.0 - 0.5 * fr_power(0.96, (t + 1.0) * h->momentum_decay));
    *memory = h->single ? (float)*memory * (float)now : *memory * now;
    s->gradient_rate = (1.0 - now) / (1.0 - *memory);
    s->momentum = next / (1.0 - *memory * next);
}

/* Rectified where the length of the approximated average exceeds 5; epsilon on the raw root, in
 * Optax after bias correction. */
PREPARE(radam)
{
    (void)memory;
    const double beta2_t = fr_power(h->beta2, t), root_bc2 = sqrt(1.0 - beta2_t);
    const double most = 2.0 / (1.0 - h->beta2) - 1.0;
    const double length = most - 2.0 * t * beta2_t / (1.0 - beta2_t);
    const int optax = h->compat == FR_OPTAX;
    decay_rates(s, h->beta1, h->beta2);
    s->rate = h->learning_rate / (1.0 - fr_power(h->beta1, t));
    s->prox *= h->learning_rate;
    s->root = 0.0, s->epsilon = 1.0, s->floor = h->epsilon;
    if (optax ? length >= 5.0 : length > 5.0) {
        const double rectified =
            sqrt((length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length));
        s->rate *= rectified * root_bc2;
        s->prox *= rectified * root_bc2;
        s->root = 1.0, s->epsilon = optax ? h->epsilon * root_bc2 : h->epsilon;
    }
}

/* Epsilon joins |g| before the maximum; in Keras it is added after. */
PREPARE(adamax)
{
    (void)memory;
    const int keras = h->compat == FR_KERAS;
    decay_rates(s, h->beta1, h->beta2);
    s->rate = h->learning_rate / (1.0 - fr_power(h->beta1, t));
    s->inside = keras ? 0.0 : h->epsilon;
    s->epsilon = keras ? h->epsilon : 0.0;
    s->prox *= h->learning_rate;
}

PREPARE(adadelta)
{
    (void)t, (void)memory;
    decay_rates(s, 0.0, h->rho);
    s->inside = h->epsilon;
    s->rate = h->learning_rate;
    s->prox *= h->learning_rate;
}

PREPARE(lion)
{
    sgd_prepare(s, h, t, memory);
    decay_rates(s, h->beta1, h->beta2);
}

PREPARE(yogi)
{
    adam_prepare(s, h, t, memory);
}

/* The first gradient has none before it. Optax adds 1e-8 to n and takes 1 - beta2 of the
 * difference where the paper and its authors take beta2. */
PREPARE(adan)
{
    (void)memory;
    const int optax = h->compat == FR_OPTAX;
    const double bc3 = 1.0 - fr_power(h->beta3, t), root_bc3 = sqrt(bc3);
    decay_rates(s, h->beta1, h->beta2);
    s->beta3 = h->beta3, s->one_minus_beta3 = 1.0 - h->beta3;
    s->root = t > 1.0;
    s->feed = optax ? 1.0 - h->beta2 : h->beta2;
    s->gradient_rate = 1.0 / (1.0 - fr_power(h->beta1, t));
    s->momentum = s->feed / (1.0 - fr_power(h->beta2, t));
    s->rate = h->learning_rate * root_bc3;
    s->inside = optax ? 1e-8 * bc3 : 0.0;
    s->epsilon = h->epsilon * root_bc3;
    s->prox *= s->rate;
}

/* Schedule-free AdamW: z takes the step, and the average weighs it by its share c of all steps,
 * as the squares of their warm-up count. In Optax warm-up begins at 0. */
PREPARE(free_adamw)
{
    (void)memory;
    const double root_bc2 = sqrt(1.0 - fr_power(h->beta2, t)), warm = h->warmup_steps;
    const double done = h->compat == FR_OPTAX ? t - 1.0 : t;
    const double lr = h->learning_rate * (done < warm ? done / warm : 1.0);
    const double c = t <= warm ? 6.0 * t / ((t + 1.0) * (2.0 * t + 1.0))
                     : warm > 0.0
                         ? 1.0 / ((warm + 1.0) * (2.0 * warm + 1.0) / (6.0 * warm) + (t - warm))
                         : 1.0 / t;
    decay_rates(s, h->beta1, h->beta2);
    s->rate = lr * root_bc2;
    s->epsilon = h->epsilon * root_bc2;
    s->prox *= s->rate;
    s->keep = 1.0, s->decay *= lr;
    if (h->ema_decay < 0.0) /* else the average is an exponential one */
        s->average = 1.0 - c, s->one_minus_average = c;
}

/* The norm of a LAMB step is that of feed m / (root + epsilon) + decay theta. */
PREPARE(lamb)
{
    adam_prepare(s, h, t, memory);
    s->feed = sqrt(1.0 - fr_power(h->beta2, t)) / (1.0 - fr_power(h->beta1, t));
    s->gradient_rate = h->learning_rate * s->decay;
}

/* The velocity carries the rate. */
PREPARE(lars)
{
    (void)t, (void)memory;
    s->momentum = h->momentum;
    s->feed = s->gradient_rate = h->learning_rate;
    s->rate = 1.0;
    s->epsilon = h->epsilon;
    s->trust *= h->trust_coefficient;
    s->prox *= h->learning_rate;
}

PREPARE(lars_nesterov)
{
    lars_prepare(s, h, t, memory);
    s->rate = h->momentum;
}

void fr_trust(fr_step *own, const fr_step *step, int rule, double weight, double move)
{
    double ratio = 1.0;
    *own = *step;
    if (step->trust != 0.0 && weight != 0.0 && move != 0.0)
        ratio = step->trust * weight / (move + (rule == FR_RULE_lamb ? 0.0 : step->epsilon));
    own->prox *= ratio;
    if (rule == FR_RULE_lamb) {
        own->rate *= ratio;
        own->keep = 1.0 - ratio * step->gradient_rate;
    } else {
        own->feed *= ratio;
        own->gradient_rate *= ratio;
    }
}

#define FR_ROW(rule, slots, watched, kinds) {#rule, slots, kinds, watched, rule##_prepare},
const fr_rule fr_rules[FR_RULE_COUNT] = {FR_RULES(FR_ROW) FR_LAYERWISE(FR_ROW)};

#define FR_FIELD_NAME(name) #name,
const char *const fr_hyper_names[] = {FR_HYPER(FR_FIELD_NAME)};
const int fr_hyper_count = sizeof fr_hyper_names / sizeof *fr_hyper_names;

void fr_prepare(fr_step *step, int rule, const fr_hyper *hyper, double t, double scale,
                double unit, int penalised, double *memory)
{
    const double decay = penalised ? hyper->weight_decay : 0.0;
    memset(step, 0, sizeof *step);
    step->scale = scale, step->unit = unit;
    step->floor = -1.0;
    step->clip = hyper->clip_value;
    step->decay = hyper->coupled ? 0.0 : decay;
    step->keep = 1.0 - hyper->learning_rate * step->decay;
    step->trust = penalised;
    step->l1 = penalised ? hyper->lambda_l1 : 0.0;
    step->l2 = (penalised ? hyper->lambda_l2 : 0.0) + (hyper->coupled ? decay : 0.0);
    step->prox = penalised ? hyper->lambda_prox : 0.0;
    step->average = hyper->ema_decay;
    step->one_minus_average = 1.0 - hyper->ema_decay;
    fr_rules[rule].prepare(step, hyper, t, memory);
    if (step->floor < 0.0) /* roots below it do not count beside epsilon */
        step->floor = step->inside > 0.0 ? HUGE_VAL : step->epsilon;
    const double second = rule == FR_RULE_lion || rule == FR_RULE_adan ? hyper->beta2 : 0.0;
    step->slow = hyper->momentum > 0.99 || hyper->beta1 > 0.99 || second > 0.99;
    step->services = step->keep != 1.0 || scale != 1.0 ? FR_FACTORS_ALONE : FR_NO_SERVICES;
    if (unit != 1.0 || step->clip < HUGE_VAL || step->l1 != 0.0 || step->l2 != 0.0 ||
        step->prox != 0.0)
        step->services = FR_ALL_SERVICES;
}
