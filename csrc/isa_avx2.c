/* The kernels for AVX2. No FMA: a fused product would change the bits. */
#include "fastreg.h"
#ifdef FR_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define FR_LEVEL avx2
#define FR_LANES 4
#include "kernels.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
