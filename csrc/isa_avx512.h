/* AVX-512 (F, BW, DQ, VL), in full 512-bit registers. */
#define FR_LEVEL avx512
#define FR_LANES 8
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))),      \
                             apply_to = function)
#define FR_TARGET_PUSHED
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
