/* The kernels over float for the platform's baseline. */
#include "fastreg.h"
#include "isa_base.h"
#include "type_f32.h"
#include "kernels.h"
