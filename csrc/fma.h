/* Registers of the element type, and the operations on them that C has no operators for.
 *
 * A product's contract asks for fused multiply-adds, never for the compiler's leave to fuse
 * (-ffp-contract stays off), so they are spelled out: one intrinsic per level. Baseline x86-64
 * has no such instruction; there a register is one element and each step a call of fma(), exact
 * and slow. Partial registers are the first n elements; what lies behind them is not touched.
 */
#if FR_LANES == 8
#define FR_REGISTER_BYTES 64
#define FR_MASK_f32(n) ((__mmask16)((1u << (n)) - 1))
#define FR_MASK_f64(n) ((__mmask8)((1u << (n)) - 1))
#define FR_FMA_f32(a, b, c) ((vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FR_FMA_f64(a, b, c) ((vec)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define FR_LOAD_f32(from, n) ((vec)_mm512_maskz_loadu_ps(FR_MASK_f32(n), from))
#define FR_LOAD_f64(from, n) ((vec)_mm512_maskz_loadu_pd(FR_MASK_f64(n), from))
#define FR_STORE_f32(to, n, x) _mm512_mask_storeu_ps(to, FR_MASK_f32(n), (__m512)(x))
#define FR_STORE_f64(to, n, x) _mm512_mask_storeu_pd(to, FR_MASK_f64(n), (__m512d)(x))
#elif FR_LANES == 4
#define FR_REGISTER_BYTES 32
static const int32_t mask_words[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define FR_MASK(words) _mm256_loadu_si256((const __m256i *)(mask_words + 8 - (words)))
#define FR_FMA_f32(a, b, c) ((vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FR_FMA_f64(a, b, c) ((vec)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define FR_LOAD_f32(from, n) ((vec)_mm256_maskload_ps(from, FR_MASK(n)))
#define FR_LOAD_f64(from, n) ((vec)_mm256_maskload_pd(from, FR_MASK(2 * (n))))
#define FR_STORE_f32(to, n, x) _mm256_maskstore_ps(to, FR_MASK(n), (__m256)(x))
#define FR_STORE_f64(to, n, x) _mm256_maskstore_pd(to, FR_MASK(2 * (n)), (__m256d)(x))
#elif FR_LANES == 2 && defined(__aarch64__)
#define FR_REGISTER_BYTES 16
#define FR_FMA_f32(a, b, c) ((vec)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FR_FMA_f64(a, b, c) ((vec)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#else
#define FR_FMA_f32(a, b, c) fmaf(a, b, c)
#define FR_FMA_f64(a, b, c) fma(a, b, c)
#endif

#ifdef FR_REGISTER_BYTES
enum { WIDTH = FR_REGISTER_BYTES / FR_BYTES };
typedef real vec __attribute__((vector_size(FR_REGISTER_BYTES)));
#else
enum { WIDTH = 1 };
typedef real vec;
#endif

#define FR_TYPED__(name, type) name##_##type
#define FR_TYPED_(name, type) FR_TYPED__(name, type)
#define FR_TYPED(name) FR_TYPED_(name, FR_TYPE)
#define FMA FR_TYPED(FR_FMA)

FR_INLINE vec splat(real x)
{
#ifdef FR_REGISTER_BYTES
    return x - (vec){0};
#else
    return x;
#endif
}

FR_INLINE vec load(const real *from)
{
    vec to;
    memcpy(&to, from, sizeof to);
    return to;
}

FR_INLINE void store(real *to, vec x)
{
    memcpy(to, &x, sizeof x);
}

FR_INLINE vec load_part(const real *from, int n)
{
#ifdef FR_LOAD_f32
    return FR_TYPED(FR_LOAD)(from, n);
#else
    real all[WIDTH] = {0};
    for (int l = 0; l < WIDTH; l++)
        all[l] = l < n ? from[l] : (real)0;
    return load(all);
#endif
}

FR_INLINE void store_part(real *to, int n, vec x)
{
#ifdef FR_STORE_f32
    FR_TYPED(FR_STORE)(to, n, x);
#else
    real all[WIDTH];
    store(all, x);
    for (int l = 0; l < WIDTH; l++)
        if (l < n)
            to[l] = all[l];
#endif
}

/* Elements of a register of this level, whether or not `vec` is one. A loop over whole registers
 * needs no copy of itself, one element at a time, for what is left, and those copies were a third
 * of the library's code; what is left is computed in a register filled up with zeros. */
enum { GRAIN = 8 * FR_LANES / FR_BYTES };

FR_INLINE ptrdiff_t whole_registers(ptrdiff_t n)
{
    return n & -(ptrdiff_t)GRAIN;
}

FR_INLINE void *register_of(real *copy, const void *from, ptrdiff_t begin, int n)
{
    for (int i = 0; from && i < GRAIN; i += WIDTH)
        store(copy + i, load_part((const real *)from + begin + i, n - i));
    return from ? copy : NULL;
}

FR_INLINE void give_back(void *to, ptrdiff_t begin, const real *copy, int n)
{
    for (int i = 0; to && i < n; i += WIDTH)
        store_part((real *)to + begin + i, n - i, load(copy + i));
}

/* x, but 0 where x <= 0; NaN stays. */
FR_INLINE vec positive(vec x)
{
#ifdef FR_REGISTER_BYTES
    typedef int word __attribute__((vector_size(FR_REGISTER_BYTES)));
    return (vec)((word)x & ~(word)(x <= splat(0)));
#else
    return x <= 0 ? (real)0 : x;
#endif
}

/* A square of WIDTH registers turned about its diagonal: for each power of two h, elements (r,
 * l + h) and (r + h, l) change places. */
#ifdef FR_REGISTER_BYTES
#define FR_LOW(l, h) ((l) & (h) ? WIDTH + (l) - (h) : (l))
#define FR_HIGH(l, h) ((l) & (h) ? WIDTH + (l) : (l) + (h))
#define FR_2(L, l, h) L(l, h), L(l + 1, h)
#define FR_4(L, l, h) FR_2(L, l, h), FR_2(L, l + 2, h)
#define FR_8(L, l, h) FR_4(L, l, h), FR_4(L, l + 4, h)
#define FR_16(L, l, h) FR_8(L, l, h), FR_8(L, l + 8, h)
#if FR_REGISTER_BYTES / FR_BYTES == 16
#define FR_EACH FR_16
#elif FR_REGISTER_BYTES / FR_BYTES == 8
#define FR_EACH FR_8
#elif FR_REGISTER_BYTES / FR_BYTES == 4
#define FR_EACH FR_4
#else
#define FR_EACH FR_2
#endif
#ifdef __clang__
#define FR_PICK(x, y, L, h) __builtin_shufflevector(x, y, FR_EACH(L, 0, h))
#elif FR_BYTES == 4
#define FR_PICK(x, y, L, h) __builtin_shuffle(x, y, (picks){FR_EACH(L, 0, h)})
typedef int32_t picks __attribute__((vector_size(FR_REGISTER_BYTES)));
#else
#define FR_PICK(x, y, L, h) __builtin_shuffle(x, y, (picks){FR_EACH(L, 0, h)})
typedef int64_t picks __attribute__((vector_size(FR_REGISTER_BYTES)));
#endif
#define FR_EXCHANGE(h)                                                                           \
    FR_UNROLL                                                                                    \
    for (int r = 0; r < WIDTH; r++)                                                              \
        if (WIDTH > (h) && !(r & (h))) {                                                         \
            const vec x = row[r], y = row[r + (h)];                                              \
            row[r] = FR_PICK(x, y, FR_LOW, (h) & (WIDTH - 1));                                   \
            row[r + (h)] = FR_PICK(x, y, FR_HIGH, (h) & (WIDTH - 1));                            \
        }
FR_INLINE void transpose(vec row[WIDTH]){FR_EXCHANGE(1) FR_EXCHANGE(2) FR_EXCHANGE(4)
                                             FR_EXCHANGE(8)}
#undef FR_EXCHANGE
#else
FR_INLINE void transpose(vec row[WIDTH])
{
    (void)row;
}
#endif
