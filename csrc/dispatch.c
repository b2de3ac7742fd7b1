/* The levels of this build and whether this CPU can run them. */
#include "fastreg.h"

extern const fr_table fr_table_base;

#ifdef FR_X86_LEVELS
extern const fr_table fr_table_avx2, fr_table_avx512;
const fr_table *const fr_tables[] = {&fr_table_base, &fr_table_avx2, &fr_table_avx512};
#else
const fr_table *const fr_tables[] = {&fr_table_base};
#endif
const int fr_table_count = sizeof fr_tables / sizeof *fr_tables;

int fr_cpu_runs(const fr_table *table)
{
#ifdef FR_X86_LEVELS
    /* The builtin also asks the operating system whether it saves the registers. */
    if (table == &fr_table_avx2)
        return __builtin_cpu_supports("avx2") != 0;
    if (table == &fr_table_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return table == &fr_table_base;
}
