/* The team by itself: every task of a region runs once, whoever calls, forks or loses a core, and
 * what a region teaches. Built and run by test_threads.py, also under the thread sanitizer. */
#include "team.c"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 1000, CALLERS = 4 };

typedef struct {
    unsigned char runs[TASKS]; /* not atomic: two threads on one task are a race */
    int spin;
} counts;

static void count(const void *job, ptrdiff_t k)
{
    counts *c = (counts *)job;
    for (volatile int i = 0; i < c->spin; i++)
        ;
    c->runs[k]++;
}

static void region(ptrdiff_t n, ptrdiff_t bytes, int asked, int backwards, int spin)
{
    counts c = {{0}, spin};
    fr_run_tasks(count, &c, n, bytes, asked, backwards);
    for (ptrdiff_t k = 0; k < TASKS; k++)
        if (c.runs[k] != (k < n))
            printf("task %td of %td ran %d times\n", k, n, c.runs[k]), exit(1);
}

static void many_regions(int rounds)
{
    static const int threads[] = {0, 2, 3, 16, 1, 5};
    for (int i = 0; i < rounds; i++)
        region(1 + 7 * i % TASKS, (i % 4 + 1) * FR_SERIAL_BYTES * (i % 3 ? 1 : 40),
               threads[i % 6], i & 1, i % 5 ? 50 : 2000);
}

static void *caller(void *rounds)
{
    many_regions(*(int *)rounds);
    return NULL;
}

static void callers(int rounds)
{
    pthread_t others[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert(!pthread_create(&others[i], NULL, caller, &rounds));
    many_regions(rounds);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(others[i], NULL);
}

/* Fork again and again while another thread is in regions; each child must work. */
static void forks(int n)
{
    int rounds = 20 * n, status;
    pthread_t other;
    assert(!pthread_create(&other, NULL, caller, &rounds));
    for (int i = 0; i < n; i++) {
        pid_t child = fork();
        if (!child) {
            alarm(20);
            assert(team.helpers == 0);
            many_regions(12);
            assert(team.helpers > 0);
            _exit(0);
        }
        assert(waitpid(child, &status, 0) == child);
        if (status)
            printf("child %d ended with %d\n", i, status), exit(1);
        region(TASKS, 40 * FR_SERIAL_BYTES, 3, 0, 50);
    }
    pthread_join(other, NULL);
}

static void order(const void *job, ptrdiff_t k)
{
    ptrdiff_t *last = (ptrdiff_t *)job; /* the task before, and the direction */
    assert(k - last[0] == last[1]);
    last[0] = k;
}

/* Alone, tasks run in the order asked for. */
static void orders(void)
{
    fr_run_tasks(order, (ptrdiff_t[]){-1, 1}, 50, 0, 0, 0);
    fr_run_tasks(order, (ptrdiff_t[]){50, -1}, 50, 0, 0, 1);
}

static void lessons(void)
{
    size_class class = {0};
    enum { MS = 1000 * 1000 };
    learn(&class, 9 * MS, 5 * MS, 100 * MS, false); /* a gain is no credit */
    assert(class.debt == 0 && class.until == 0 && class.saved == 4 * MS);
    learn(&class, 1 * MS, 3 * MS, 100 * MS, false); /* a loss of 2 ms: alone for 128 */
    assert(class.debt == 2 * MS && class.until == 228 * MS);
    learn(&class, 1 * MS, 2 * MS, 300 * MS, false); /* a loss again: longer */
    assert(class.debt == 3 * MS && class.until == 492 * MS);
    learn(&class, 5 * MS, 3 * MS, 600 * MS, false); /* a gain repays, and the team goes on */
    assert(class.debt == 1 * MS && class.until == 492 * MS);
    learn(&class, 0, 9999 * (int64_t)MS, 0, false); /* the wait has an end */
    assert(class.until == PAYBACK * (int64_t)LARGEST_DEBT);
    assert(class.shared == 5);
    learn(&class, 1 * MS, 2 * MS, 0, true);
    assert(class.called);
    learn(&class, 2 * MS, 1 * MS, 0, false); /* a gain takes back nothing */
    assert(class.called);
    learn(&class, 1 * MS, 2 * MS, 0, false);
    assert(!class.called);

    assert(class_of(FR_SERIAL_BYTES) == &team.classes[0]);
    assert(class_of(4 * FR_SERIAL_BYTES) == &team.classes[1]);
    assert(class_of(PTRDIFF_MAX) == &team.classes[FR_SIZE_CLASSES - 1]);
}

/* A loss by calling helpers forbids to call them, not to use them while they are awake. */
static void calls(void)
{
    assert(team.helpers == 0); /* lane 1 is nobody's */
    for (int asleep = 0; asleep < 2; asleep++)
        for (int called = 0; called < 2; called++) {
            size_class class = {.until = 2, .called = called};
            atomic_store(&lanes[1].asleep, asleep);
            assert(forbidden(&class, 1) == (asleep || !called));
            assert(!forbidden(&class, 2));
        }
}

/* Nobody has more threads than there may be, or than were asked for. */
static void limits(void)
{
    static const int steps[][3] = {/* limit, asked, helpers then */
                                   {1, 0, 0}, {1, 2, 1}, {9, 1, 1}, {9, 2, 1}, {3, 0, 2}};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        memset(team.classes, 0, sizeof team.classes);
        fr_team_limits(steps[k][0], 1000 * 1000);
        region(TASKS, 40 * FR_SERIAL_BYTES, steps[k][1], 0, 0);
        assert(team.helpers == steps[k][2]);
    }
    memset(team.classes, 0, sizeof team.classes);
}

static void who(const void *job, ptrdiff_t k)
{
    pthread_t *ran = (pthread_t *)job;
    ran[k] = pthread_self();
    usleep(100);
}

/* Helpers come, from sleep too: sooner or later each region has one. */
static void company(void)
{
    pthread_t ran[64];
    fr_team_limits(3, 0);
    for (int met = 0, tries = 0; met < 5; tries++) {
        int others = 0;
        assert(tries < 1000);
        fr_run_tasks(who, ran, 64, 64 * FR_SERIAL_BYTES, 2, 0);
        for (int k = 0; k < 64; k++)
            others += !pthread_equal(ran[k], pthread_self());
        met += others > 0;
        usleep(2000);
    }
    fr_team_limits(3, 1000 * 1000);
}

/* Short pauses keep helpers awake; one long pause does not change that, a habit of them does. */
static void pauses(void)
{
    enum { US = 1000, MS = 1000 * US };
    int64_t before = team.gap;
    fr_team_limits(3, 10 * MS);
    team.gap = 100 * US;
    assert(next_awake(100 * US) > 200 * US && next_awake(100 * US) < 300 * US);
    assert(next_awake(3600 * 1000 * (int64_t)MS) > 2 * MS);
    for (int k = 0; k < 20; k++)
        next_awake(100 * US);
    assert(next_awake(100 * US) < 400 * US);
    for (int k = 0; k < 20; k++)
        next_awake(50 * MS);
    assert(next_awake(50 * MS) < MS);
    team.gap = before;
    fr_team_limits(3, MS);
}

#ifdef __linux__
/* A helper on the caller's core goes to another, if it may run there, and may run where it might. */
static void *part(void *ignored)
{
    cpu_set_t own, then;
    int moved = 0, core;
    assert(!sched_getaffinity(0, sizeof own, &own));
    for (int k = 0; k < 40; k++) {
        core = fr_core();
        atomic_store(&team.core, core);
        leave_the_caller();
        moved += fr_core() != core;
        assert(!sched_getaffinity(0, sizeof then, &then) && CPU_EQUAL(&own, &then));
    }
    assert(CPU_COUNT(&own) > 1 ? moved > 20 : !moved);
    core = fr_core();
    CPU_ZERO(&own);
    CPU_SET(core, &own);
    assert(!sched_setaffinity(0, sizeof own, &own));
    atomic_store(&team.core, core);
    leave_the_caller();
    assert(!sched_getaffinity(0, sizeof then, &then) && CPU_EQUAL(&own, &then));
    return ignored;
}
#endif

static void cores(void)
{
#ifdef __linux__
    pthread_t other;
    assert(!pthread_create(&other, NULL, part, NULL));
    pthread_join(other, NULL);
#endif
}

/* After a loss a region runs alone, unless a number of threads is asked for. */
static void obedience(void)
{
    size_class *class = class_of(FR_SERIAL_BYTES);
    int64_t shared, alone;
    atomic_store(&class->until, INT64_MAX);
    shared = class->shared, alone = class->alone;
    region(16, FR_SERIAL_BYTES, 0, 0, 0);
    assert(class->shared == shared && class->alone == alone + 1);
    region(16, FR_SERIAL_BYTES, 2, 0, 0);
    assert(class->shared == shared + 1 && class->alone == alone + 1);
    atomic_store(&class->until, 0);
    region(16, FR_SERIAL_BYTES, 0, 0, 0);
    assert(class->shared == shared + 2 && class->alone == alone + 1);
}

int main(int argc, char **argv)
{
    int scale = argc > 1 ? atoi(argv[1]) : 1;
    (void)argv;
    fr_team_init();
    orders();
    lessons();
    calls();
    pauses();
    cores();
    limits();
    company();
    obedience();
    many_regions(600 * scale);
    callers(200 * scale);
    forks(50 * scale);
    puts("ok");
    return 0;
}
