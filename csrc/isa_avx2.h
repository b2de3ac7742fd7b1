/* AVX2. No FMA: a fused product would change the bits. */
#define FR_LEVEL avx2
#define FR_LANES 4
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define FR_TARGET_PUSHED
#else
#pragma GCC target("avx2")
#endif
