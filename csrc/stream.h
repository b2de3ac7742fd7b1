/* Writing a finished run past the caches.
 *
 * An ordinary store to a line that is not in cache reads the line first, so a fresh output costs
 * 8 bytes per element where 4 would do. Kernels that write one finish a run in L1 and hand it
 * here. The caller asks for it only where the output is so large that nothing of it would be
 * found in cache anyway (STREAM_BYTES in _memory.pxi).
 */
#if FR_LANES == 8
#define FR_STREAM(to, from) _mm512_stream_si512((void *)(to), _mm512_loadu_si512(from))
#elif FR_LANES == 4
#define FR_STREAM(to, from)                                                                      \
    _mm256_stream_si256((void *)(to), _mm256_loadu_si256((const void *)(from)))
#elif defined(FR_X86_LEVELS)
#define FR_STREAM(to, from) _mm_stream_si128((void *)(to), _mm_loadu_si128((const void *)(from)))
#endif

/* Bytes to stream at a time, and how `to` is to be aligned. */
enum { FR_STREAMED = 8 * FR_LANES };

/* The bytes are a multiple of FR_STREAMED, as is the address they go to. */
FR_INLINE void fr_stream_aligned(char *to, const char *from, size_t bytes)
{
#ifdef FR_STREAM
    for (size_t i = 0; i < bytes; i += FR_STREAMED)
        FR_STREAM(to + i, from + i);
#else
    memcpy(to, from, bytes);
#endif
}

FR_INLINE void fr_stream(void *to_, const void *from_, size_t bytes)
{
    char *to = to_;
    const char *from = from_;
    size_t head = (size_t)(-(uintptr_t)to % FR_STREAMED);
    head = head < bytes ? head : bytes;
    const size_t middle = (bytes - head) / FR_STREAMED * FR_STREAMED;
    memcpy(to, from, head);
    fr_stream_aligned(to + head, from + head, middle);
    memcpy(to + head + middle, from + head + middle, bytes - head - middle);
}

/* Ask for memory that is needed soon. The hardware's prefetchers see a pass over a tile only
 * while it runs; a kernel that makes further passes over a tile in cache asks for the next
 * meanwhile, or memory idles. A hint: the address may lie past the end. */
FR_INLINE void fr_prefetch(const void *from, size_t bytes)
{
#if defined(__GNUC__) || defined(__clang__)
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)from + i, 0, 2);
#else
    (void)from;
    (void)bytes;
#endif
}

/* Makes what was streamed visible before the kernel returns. */
FR_INLINE void fr_stream_end(void)
{
#ifdef FR_STREAM
    _mm_sfence();
#endif
}
