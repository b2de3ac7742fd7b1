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

FR_INLINE void fr_stream(void *to_, const void *from_, size_t bytes)
{
#ifdef FR_STREAM
    enum { WIDTH = 8 * FR_LANES };
    char *to = to_;
    const char *from = from_;
    size_t head = (size_t)(-(uintptr_t)to % WIDTH), i;
    head = head < bytes ? head : bytes;
    memcpy(to, from, head);
    for (i = head; i + WIDTH <= bytes; i += WIDTH)
        FR_STREAM(to + i, from + i);
    memcpy(to + i, from + i, bytes - i);
#else
    memcpy(to_, from_, bytes);
#endif
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
