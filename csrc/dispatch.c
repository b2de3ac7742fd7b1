/* The levels of this build and whether this CPU can run them. */
#include "fastreg.h"

extern const fr_kernels fr_base_f32, fr_base_f64;
#ifdef FR_X86_LEVELS
extern const fr_kernels fr_avx2_f32, fr_avx2_f64, fr_avx512_f32, fr_avx512_f64;
#endif

enum { BASE, AVX2, AVX512 };
const fr_table fr_tables[] = {
    [BASE] = {"base", {&fr_base_f32, &fr_base_f64}},
#ifdef FR_X86_LEVELS
    [AVX2] = {"avx2", {&fr_avx2_f32, &fr_avx2_f64}},
    [AVX512] = {"avx512", {&fr_avx512_f32, &fr_avx512_f64}},
#endif
};
const int fr_table_count = sizeof fr_tables / sizeof *fr_tables;

int fr_cpu_runs(int level)
{
#ifdef FR_X86_LEVELS
    /* The builtin also asks the operating system whether it saves the registers. */
    if (level == AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (level == AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return level == BASE;
}

int fr_level_fuses(int level)
{
#ifdef FR_X86_LEVELS
    return level != BASE;
#elif defined(__aarch64__) && !defined(_MSC_VER)
    return level == BASE;
#else
    (void)level;
    return 0;
#endif
}
