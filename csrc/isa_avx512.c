/* The kernels for AVX-512 (F, BW, DQ, VL), in full 512-bit registers. */
#include "fastreg.h"
#ifdef FR_X86_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))),      \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define FR_LEVEL avx512
#define FR_LANES 8
#include "kernels.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
