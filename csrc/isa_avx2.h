/* AVX2, and the fused multiply-add that came with it: fma.h alone uses it, -ffp-contract=off. */
#define FR_LEVEL avx2
#define FR_LANES 4
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define FR_TARGET_PUSHED
#else
#pragma GCC target("avx2,fma")
#endif
