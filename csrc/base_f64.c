/* The kernels over double for the platform's baseline. */
#include "fastreg.h"
#include "isa_base.h"
#include "type_f64.h"
#include "kernels.h"
