/* What the team asks of the operating system: threads, semaphores, time, cores, and the
 * floating-point mode. POSIX, macOS and Windows. */
#ifndef FR_SYSTEM_H
#define FR_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

static void fr_helper(int k); /* what thread k does: the team's */

#ifdef _WIN32
#include <limits.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <process.h>

typedef HANDLE fr_semaphore;

static inline bool fr_new_semaphore(fr_semaphore *s)
{
    return (*s = CreateSemaphoreA(NULL, 0, LONG_MAX, NULL)) != NULL;
}

static inline void fr_post(fr_semaphore *s)
{
    ReleaseSemaphore(*s, 1, NULL);
}

static inline void fr_wait(fr_semaphore *s)
{
    WaitForSingleObject(*s, INFINITE);
}

static inline int64_t fr_clock(void)
{
    LARGE_INTEGER now, second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&second);
    return (int64_t)(1e9 * (double)now.QuadPart / (double)second.QuadPart);
}

static inline void fr_yield(void)
{
    SwitchToThread();
}

static unsigned __stdcall fr_thread(void *k)
{
    fr_helper((int)(intptr_t)k);
    return 0;
}

static inline bool fr_start(int k)
{
    uintptr_t thread;
    thread = _beginthreadex(NULL, 0, fr_thread, (void *)(intptr_t)k, 0, NULL);
    if (thread)
        CloseHandle((HANDLE)thread);
    return thread != 0;
}

static inline void fr_at_fork(void (*in_child)(void))
{
    (void)in_child; /* no fork */
}

#else
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#ifdef __APPLE__
#include <dispatch/dispatch.h> /* no unnamed POSIX semaphores */

typedef dispatch_semaphore_t fr_semaphore;

static inline bool fr_new_semaphore(fr_semaphore *s)
{
    return (*s = dispatch_semaphore_create(0)) != NULL;
}

static inline void fr_post(fr_semaphore *s)
{
    dispatch_semaphore_signal(*s);
}

static inline void fr_wait(fr_semaphore *s)
{
    dispatch_semaphore_wait(*s, DISPATCH_TIME_FOREVER);
}
#else
#include <semaphore.h>

typedef sem_t fr_semaphore;

static inline bool fr_new_semaphore(fr_semaphore *s)
{
    return sem_init(s, 0, 0) == 0;
}

static inline void fr_post(fr_semaphore *s)
{
    sem_post(s);
}

static inline void fr_wait(fr_semaphore *s)
{
    while (sem_wait(s) && errno == EINTR)
        ;
}
#endif

static inline int64_t fr_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void fr_yield(void)
{
    sched_yield();
}

static void *fr_thread(void *k)
{
    fr_helper((int)(intptr_t)k);
    return NULL;
}

/* Start a detached thread that takes no signals but those of its own faults. */
static inline bool fr_start(int k)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    pthread_t thread;
    sigset_t none, before;
    int error;
    sigfillset(&none);
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&none, faults[i]);
    pthread_sigmask(SIG_SETMASK, &none, &before);
    error = pthread_create(&thread, NULL, fr_thread, (void *)(intptr_t)k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_detach(thread);
    return !error;
}

static inline void fr_at_fork(void (*in_child)(void))
{
    pthread_atfork(NULL, NULL, in_child);
}
#endif

/* Let the calling thread run on these cores. */
static inline void fr_run_on(const char *usable, int n)
{
#ifdef __linux__
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int k = 0; k < n && k < CPU_SETSIZE; k++)
        if (usable[k])
            CPU_SET(k, &cores);
    if (n)
        sched_setaffinity(0, sizeof cores, &cores); /* refused: where the caller may */
#else
    (void)usable, (void)n;
#endif
}

/* The core that the calling thread runs on, or -1. */
static inline int fr_core(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Move the calling thread to another of its cores, if it has one. It may return. */
static inline void fr_leave(int core)
{
#ifdef __linux__
    cpu_set_t own, others;
    if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof own, &own))
        return;
    others = own;
    CPU_CLR(core, &others);
    if (!sched_setaffinity(0, sizeof others, &others))
        sched_setaffinity(0, sizeof own, &own);
#else
    (void)core;
#endif
}

/* The floating-point mode: rounding, flush to zero, which exceptions trap; not what was raised.
 */
#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>

typedef unsigned fr_float_mode;

static inline fr_float_mode fr_get_float_mode(void)
{
    return _mm_getcsr() & ~0x3fu;
}

static inline void fr_set_float_mode(fr_float_mode mode)
{
    if ((_mm_getcsr() & ~0x3fu) != mode)
        _mm_setcsr(mode);
}

static inline void fr_pause(void)
{
    _mm_pause();
}
#elif defined(__aarch64__)
typedef uint64_t fr_float_mode;

static inline fr_float_mode fr_get_float_mode(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}

static inline void fr_set_float_mode(fr_float_mode mode)
{
    if (fr_get_float_mode() != mode)
        __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}

static inline void fr_pause(void)
{
    __asm__ volatile("isb");
}
#else
#include <fenv.h>

typedef int fr_float_mode;

static inline fr_float_mode fr_get_float_mode(void)
{
    return fegetround();
}

static inline void fr_set_float_mode(fr_float_mode mode)
{
    fesetround(mode);
}

static inline void fr_pause(void)
{
}
#endif

#endif
