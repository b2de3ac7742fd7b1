/* The allocator of a process, preloaded: from the moment it is armed the calling thread's k-th to
 * (stop - 1)-th allocation fails, those of NumPy's arrays and of the kernels' own included. */
#include <errno.h>
#include <stddef.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static __thread long left = -1, end;

void starve(long k, long stop) { left = k, end = stop - k; }
void feed(void) { left = -1, end = 0; }

static int fails(void)
{
    if (left > 0)
        left--;
    else if (left == 0 && end > 0)
        return end--, errno = ENOMEM, 1;
    return 0;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
void *memalign(size_t to, size_t n) { return fails() ? NULL : __libc_memalign(to, n); }
void *aligned_alloc(size_t to, size_t n) { return memalign(to, n); }

int posix_memalign(void **p, size_t to, size_t n)
{
    void *made = memalign(to, n);
    if (!made)
        return ENOMEM;
    *p = made;
    return 0;
}
