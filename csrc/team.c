/* The team: lanes of chunks, helpers that come when they can, and when to use them (team.h). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "team.h"

static void run_span(fr_task task, const void *job, ptrdiff_t begin, ptrdiff_t end, int backwards)
{
    for (ptrdiff_t k = begin; k < end; k++)
        task(job, backwards ? begin + end - 1 - k : k);
}

#ifdef FR_NO_THREADS

void fr_team_init(void)
{
}

int fr_team_built(void)
{
    return 0;
}

void fr_team_limits(int threads, int64_t awake)
{
    (void)threads, (void)awake;
}

void fr_team_cores(const char *usable, int n)
{
    (void)usable, (void)n;
}

void fr_run_tasks(fr_task task, const void *job, ptrdiff_t n, ptrdiff_t bytes, int asked,
                  int backwards)
{
    (void)bytes, (void)asked;
    run_span(task, job, 0, n, backwards);
}

void fr_team_tell(fr_team_report *report)
{
    *report = (fr_team_report){0};
}

#else

#include <stdatomic.h>
#include <stdbool.h>
#include "system.h"

enum {
    CHUNK_BYTES = 128 * 1024, /* 5 to 10 us: what a helper that loses its core can hold up */
    LINE = 64,
    TURN = 16,            /* pauses, about a microsecond, between two looks at the clock */
    LATE = 100 * 1000,    /* ns: a turn that took longer was spent by somebody else */
    PATIENCE = 20 * 1000, /* ns the caller waits awake for chunks under way */
    PAYBACK = 64,         /* a loss buys this many times its time on one thread */
    LARGEST_DEBT = 20 * 1000 * 1000,
    NO_ROOM = 100 * 1000 * 1000, /* ns until starting a thread is tried again */
};

/* Written by different threads, hence a cache line each. */
typedef struct {
    _Alignas(LINE) atomic_uint left; /* chunks of this lane that nobody has begun */
    uint32_t begin, end;             /* chunks are taken in order, or from the end */
    atomic_bool asleep;              /* helper k, of lane k, waits on `wake` */
    fr_semaphore wake;
} lane;

/* What regions of one size have taught. Only the owner of the team writes what is not atomic. */
typedef struct {
    atomic_llong until, alone, taken; /* alone up to this time; counts of regions run alone */
    atomic_bool called;               /* the last loss began with helpers asleep */
    int64_t shared, spent, saved, debt;
} size_class;

static struct {
    atomic_flag busy; /* a region is under way: whoever set it owns what follows */
    int helpers;
    bool refused;
    int64_t room_at, ended, gap;
    size_class classes[FR_SIZE_CLASSES];

    /* The region: written before the lanes are filled, read after a chunk is taken. */
    fr_task task;
    const void *job;
    ptrdiff_t n;
    uint32_t chunks;
    int backwards;
    fr_float_mode mode;

    atomic_int core;                      /* the caller's when the region began */
    atomic_int threads;                   /* lanes in use */
    atomic_llong awake;                   /* ns a helper waits awake */
    _Alignas(LINE) atomic_uint region;    /* counts the regions: helpers wait for it to change */
    _Alignas(LINE) atomic_uint under_way; /* chunks not finished */
    atomic_bool waiting;                  /* the caller waits on `finished` */
    fr_semaphore finished;

    atomic_int limit;
    atomic_llong awake_at_most;
    char usable[FR_MAX_THREADS];
    int n_usable;
} team = {.busy = ATOMIC_FLAG_INIT};

static lane lanes[FR_MAX_THREADS];

/* Work ------------------------------------------------------------------------------------ */

/* Take a chunk of a lane: its number, or -1 if all are begun. Once it is taken the region cannot
 * end, so what describes the region holds still. */
static int64_t take_chunk(lane *from)
{
    unsigned left = atomic_load_explicit(&from->left, memory_order_acquire);
    while (left)
        if (atomic_compare_exchange_weak_explicit(&from->left, &left, left - 1,
                                                  memory_order_acq_rel, memory_order_acquire))
            return team.backwards ? from->begin + left - 1 : from->end - left;
    return -1;
}

static void run_chunk(int64_t chunk)
{
    run_span(team.task, team.job, (ptrdiff_t)(team.n * chunk / team.chunks),
             (ptrdiff_t)(team.n * (chunk + 1) / team.chunks), team.backwards);
}

/* Run what is left of a lane, then of the next ones; return the number of chunks. */
static unsigned work(int own, bool helping)
{
    int threads = atomic_load_explicit(&team.threads, memory_order_relaxed), step;
    unsigned done = 0;
    for (step = 0; step < threads; step++) {
        int k = own + step < threads ? own + step : own + step - threads;
        int64_t chunk;
        while ((chunk = take_chunk(&lanes[k])) >= 0) {
            if (helping)
                fr_set_float_mode(team.mode);
            run_chunk(chunk);
            done++;
            if (helping && atomic_fetch_sub(&team.under_way, 1) == 1 &&
                atomic_exchange(&team.waiting, false))
                fr_post(&team.finished);
        }
    }
    return done;
}

/* Helpers --------------------------------------------------------------------------------- */

static bool await_change(unsigned seen)
{
    int64_t began = fr_clock(), before = began, now;
    int64_t awake = atomic_load_explicit(&team.awake, memory_order_relaxed);
    for (;;) {
        for (int turn = 0; turn < TURN; turn++) {
            if (atomic_load_explicit(&team.region, memory_order_acquire) != seen)
                return true;
            fr_pause();
        }
        now = fr_clock();
        if (now - before > LATE || now - began > awake)
            return false;
        before = now;
        fr_yield();
    }
}

static void sleep_until_called(lane *own, unsigned seen)
{
    atomic_store(&own->asleep, true);
    if (atomic_load(&team.region) != seen && atomic_exchange(&own->asleep, false))
        return;
    fr_wait(&own->wake);
}

/* A helper that wakes on the caller's core has half of it, beside an idle one, until the
 * scheduler parts them: with few cores, that have been busy, some milliseconds later. */
static void leave_the_caller(void)
{
    int core = fr_core();
    if (core == atomic_load_explicit(&team.core, memory_order_relaxed))
        fr_leave(core);
}

static void fr_helper(int k)
{
    fr_run_on(team.usable, team.n_usable);
    for (;;) {
        /* Read before the lanes: a region that fills them later changes it. */
        unsigned seen = atomic_load(&team.region);
        bool called = k < atomic_load_explicit(&team.threads, memory_order_relaxed);
        if (called) {
            leave_the_caller();
            work(k, true);
        }
        if (!(called && await_change(seen)))
            sleep_until_called(&lanes[k], seen);
    }
}

/* Start helpers until there are `threads` threads; return how many there are. */
static int gather(int threads, int64_t now)
{
    while (team.helpers + 1 < threads && now >= team.room_at) {
        lane *own = &lanes[team.helpers + 1];
        atomic_store(&own->asleep, false);
        team.refused = !fr_new_semaphore(&own->wake) || !fr_start(team.helpers + 1);
        if (team.refused)
            team.room_at = now + NO_ROOM;
        else
            team.helpers++;
    }
    return team.helpers + 1 < threads ? team.helpers + 1 : threads;
}

/* Regions --------------------------------------------------------------------------------- */

/* Hand out the chunks; return whether a helper had to be called from sleep. */
static bool publish(fr_task task, const void *job, ptrdiff_t n, uint32_t chunks, int threads,
                    int backwards)
{
    bool called = false;
    int k;
    team.task = task, team.job = job, team.n = n;
    team.chunks = chunks, team.backwards = backwards, team.mode = fr_get_float_mode();
    atomic_store_explicit(&team.under_way, chunks, memory_order_relaxed);
    atomic_store_explicit(&team.threads, threads, memory_order_relaxed);
    atomic_store_explicit(&team.core, fr_core(), memory_order_relaxed);
    for (k = 0; k < threads; k++) {
        lanes[k].begin = (uint32_t)((uint64_t)chunks * k / threads);
        lanes[k].end = (uint32_t)((uint64_t)chunks * (k + 1) / threads);
        atomic_store_explicit(&lanes[k].left, lanes[k].end - lanes[k].begin,
                              memory_order_release);
    }
    atomic_fetch_add(&team.region, 1);
    for (k = 1; k < threads; k++)
        if (atomic_load(&lanes[k].asleep) && atomic_exchange(&lanes[k].asleep, false)) {
            fr_post(&lanes[k].wake);
            called = true;
        }
    return called;
}

/* Wait until the chunks that others took are finished too. */
static void finish(unsigned own, int64_t now)
{
    if (atomic_fetch_sub(&team.under_way, own) == own)
        return;
    for (int64_t patient = now + PATIENCE; now < patient; now = fr_clock())
        for (int turn = 0; turn < TURN; turn++) {
            if (!atomic_load_explicit(&team.under_way, memory_order_acquire))
                return;
            fr_pause();
        }
    for (;;) {
        atomic_store(&team.waiting, true);
        if (!atomic_load(&team.under_way) && atomic_exchange(&team.waiting, false))
            return;
        fr_wait(&team.finished); /* somebody has posted, or will */
        if (!atomic_load(&team.under_way))
            return;
    }
}

static size_class *class_of(ptrdiff_t bytes)
{
    int k = 0;
    while (bytes >= 4 * (ptrdiff_t)FR_SERIAL_BYTES && k < FR_SIZE_CLASSES - 1) {
        bytes /= 4;
        k++;
    }
    return &team.classes[k];
}

/* What a region teaches: the time that the caller alone would have taken, against what it took;
 * and whether helpers had to be called for it. */
static void learn(size_class *class, int64_t alone, int64_t took, int64_t now, bool called)
{
    int64_t debt = class->debt + took - alone;
    class->shared++;
    class->spent += took;
    class->saved += alone - took;
    debt = debt < 0 ? 0 : debt > LARGEST_DEBT ? LARGEST_DEBT : debt;
    class->debt = debt;
    if (took > alone) {
        atomic_store_explicit(&class->called, called, memory_order_relaxed);
        atomic_store_explicit(&class->until, now + PAYBACK * debt, memory_order_relaxed);
    }
}

/* Whether a loss forbids the team. To call helpers is dear, and the next regions may be worth it:
 * a loss by calling them holds for as long as they would have to be called again. */
static bool forbidden(size_class *class, int64_t now)
{
    return now < atomic_load_explicit(&class->until, memory_order_relaxed) &&
           (atomic_load_explicit(&lanes[1].asleep, memory_order_relaxed) ||
            !atomic_load_explicit(&class->called, memory_order_relaxed));
}

/* How long helpers stay awake: twice the time that regions have lately been apart, if that is
 * not too long. A pause counts as twice what is too long at most: one is no habit. */
static int64_t next_awake(int64_t gap)
{
    int64_t most = atomic_load_explicit(&team.awake_at_most, memory_order_relaxed);
    gap = gap < 2 * most ? gap : 2 * most;
    team.gap += (gap - team.gap) / 4;
    if (team.gap > most)
        return most / 256;
    return 2 * team.gap + most / 256;
}

/* The region on the team, which the caller owns. */
static void share(fr_task task, const void *job, ptrdiff_t n, ptrdiff_t bytes, int threads,
                  int backwards, size_class *class, int64_t start, bool called)
{
    int64_t own_start, own_end, end;
    ptrdiff_t chunks = bytes / CHUNK_BYTES;
    unsigned own;
    chunks = chunks < threads ? threads : chunks > INT32_MAX ? INT32_MAX : chunks;
    chunks = chunks > n ? n : chunks;
    atomic_store_explicit(&team.awake, next_awake(start - team.ended), memory_order_relaxed);
    called |= publish(task, job, n, (uint32_t)chunks, threads, backwards);
    own_start = fr_clock();
    own = work(0, false);
    own_end = fr_clock();
    finish(own, own_end);
    end = team.ended = fr_clock();
    /* Had the helpers all of it, there is nothing to learn from. */
    learn(class, own ? (own_end - own_start) * chunks / own : end - start, end - start, end,
          called);
}

void fr_run_tasks(fr_task task, const void *job, ptrdiff_t n, ptrdiff_t bytes, int asked,
                  int backwards)
{
    int threads = asked ? asked : atomic_load_explicit(&team.limit, memory_order_relaxed);
    size_class *class;
    int64_t now;
    int helpers;
    if (bytes < FR_SERIAL_BYTES || threads < 2 || n < 2) {
        run_span(task, job, 0, n, backwards);
        return;
    }
    class = class_of(bytes);
    now = fr_clock();
    threads = n < threads ? (int)n : threads;
    if (!asked) {
        ptrdiff_t worth = bytes / (FR_SERIAL_BYTES / 2);
        threads = worth < threads ? (int)worth : threads;
        if (forbidden(class, now)) {
            atomic_fetch_add_explicit(&class->alone, 1, memory_order_relaxed);
            run_span(task, job, 0, n, backwards);
            return;
        }
    }
    if (atomic_flag_test_and_set_explicit(&team.busy, memory_order_acquire)) {
        atomic_fetch_add_explicit(&class->taken, 1, memory_order_relaxed);
        run_span(task, job, 0, n, backwards);
        return;
    }
    helpers = team.helpers;
    threads = gather(threads, now);
    if (threads > 1)
        share(task, job, n, bytes, threads, backwards, class, now, team.helpers > helpers);
    atomic_flag_clear_explicit(&team.busy, memory_order_release);
    if (threads == 1)
        run_span(task, job, 0, n, backwards);
}

/* Settings and report --------------------------------------------------------------------- */

static void forget_helpers(void)
{
    /* In a forked child: nobody but its one thread is here, whatever was under way. */
    for (int k = 0; k < FR_MAX_THREADS; k++)
        atomic_store_explicit(&lanes[k].left, 0, memory_order_relaxed);
    team.helpers = 0;
    atomic_store(&team.waiting, false);
    fr_new_semaphore(&team.finished);
    atomic_flag_clear(&team.busy);
}

void fr_team_init(void)
{
    fr_new_semaphore(&team.finished);
    fr_at_fork(forget_helpers);
}

int fr_team_built(void)
{
    return 1;
}

void fr_team_limits(int threads, int64_t awake)
{
    atomic_store(&team.limit, threads);
    atomic_store(&team.awake_at_most, awake);
}

void fr_team_cores(const char *usable, int n)
{
    team.n_usable = n < FR_MAX_THREADS ? n : FR_MAX_THREADS;
    for (int k = 0; k < team.n_usable; k++)
        team.usable[k] = usable[k];
}

void fr_team_tell(fr_team_report *report)
{
    int64_t now = fr_clock();
    report->helpers = team.helpers, report->refused = team.refused;
    for (int k = 0; k < FR_SIZE_CLASSES; k++) {
        const size_class *class = &team.classes[k];
        int64_t wait = atomic_load_explicit(&class->until, memory_order_relaxed) - now;
        report->classes[k] = (fr_class_report){
            class->shared,
            atomic_load(&class->alone),
            atomic_load(&class->taken),
            class->spent,
            class->saved,
            class->debt,
            wait > 0 ? wait : 0,
        };
    }
}

#endif
