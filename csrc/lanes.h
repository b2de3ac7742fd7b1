/* One register of 64-bit lanes, and the one operation on it that compilers miss.
 *
 * Philox needs 32 x 32 -> 64 bit products. Written as a plain loop, gcc 12 multiplies all 64
 * bits (vpmullq, or three multiplies on AVX2) and the generator runs 2.3 to 3.5 times slower,
 * so this product is the library's only intrinsic. FR_LANES comes from the isa_*.h file.
 */
#if FR_LANES == 8
typedef uint64_t fr_lanes __attribute__((vector_size(64)));
FR_INLINE fr_lanes fr_wide_product(fr_lanes a, fr_lanes b)
{
    return (fr_lanes)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
#elif FR_LANES == 4
typedef uint64_t fr_lanes __attribute__((vector_size(32)));
FR_INLINE fr_lanes fr_wide_product(fr_lanes a, fr_lanes b)
{
    return (fr_lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
#elif FR_LANES == 2 && defined(FR_X86_LEVELS)
typedef uint64_t fr_lanes __attribute__((vector_size(16)));
FR_INLINE fr_lanes fr_wide_product(fr_lanes a, fr_lanes b)
{
    return (fr_lanes)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
#elif FR_LANES == 2
typedef uint64_t fr_lanes __attribute__((vector_size(16)));
FR_INLINE fr_lanes fr_wide_product(fr_lanes a, fr_lanes b)
{
    return (fr_lanes)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}
#else
typedef uint64_t fr_lanes;
FR_INLINE fr_lanes fr_wide_product(fr_lanes a, fr_lanes b)
{
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
}
#endif

/* All lanes equal to x. */
FR_INLINE fr_lanes fr_splat(uint64_t x)
{
    return x - (fr_lanes){0};
}

/* x, x + 1, x + 2, ... */
FR_INLINE fr_lanes fr_count_from(uint64_t x)
{
    static const uint64_t each[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    fr_lanes steps;
    memcpy(&steps, each, sizeof steps);
    return steps + fr_splat(x);
}
