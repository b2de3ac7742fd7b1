/* The kernels over double for AVX2. */
#include "fastreg.h"
#ifdef FR_X86_LEVELS
#include "isa_avx2.h"
#include "type_f64.h"
#include "kernels.h"
#endif
