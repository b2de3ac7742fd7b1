/* Every template of the library; kernels.h includes this list once an element type. */
#include "contiguous_tmpl.h"
#include "dropout_tmpl.h"
#include "norm_tmpl.h"
#include "penalty_tmpl.h"
#include "rownorm_tmpl.h"
#include "update_tmpl.h"
#include "dense_tmpl.h" /* composes the ones above */
