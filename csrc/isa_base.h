/* The platform's baseline: SSE2 on x86-64, NEON on arm64. */
#define FR_LEVEL base
#if defined(FR_X86_LEVELS) || defined(__aarch64__) && !defined(_MSC_VER)
#define FR_LANES 2
#else
#define FR_LANES 1
#endif
