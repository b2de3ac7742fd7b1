/* The threads that share a kernel's work: a region runs tasks 0 .. n-1 of a job.
 *
 * Why a team of our own and not OpenMP's. A static OpenMP loop ends when its slowest thread does,
 * and its threads wait by spinning. Beside BLAS's threads, which spin as well, or beside a busy
 * process, a helper that has lost its core then costs the caller whole time slices: on 2 cores a
 * loop of products and kernels took 16 ms instead of 0.9, 40 ms beside a neighbour. Waiting
 * passively costs 25 us per region where nobody else wants the cores. Neither can be chosen by an
 * extension: a runtime reads its settings when it is loaded, which torch or scikit-learn may
 * have done before. OpenMP also ends the process when no thread can be had, starts a team for
 * every Python thread, binds the caller to one core under OMP_PROC_BIND, and hangs forked
 * children. Bits do not depend on who runs a task, so the rules here can be these:
 *
 * - Nobody waits for helpers that have not come. Tasks are cut into chunks, chunks into one lane
 * per thread; each thread takes chunks of its own lane first (the same neighbours in every pass
 * over a job, so that a pass finds in cache what the pass before left there), then of the
 * others'. The caller takes part, takes whatever nobody has begun, and waits only for chunks
 * under way.
 * - A helper waits for the next region awake for about as long as regions have lately been apart,
 *   giving up its core at every turn, and sleeps at once when somebody else took it. One that
 *   begins a region on the caller's core moves to another: a scheduler may leave both there.
 * - Left to itself, the team is used while it pays. A region knows what it would have cost the
 *   caller alone: its own chunks' time, times all chunks. Time lost is a debt of the region's
 *   size class, gains repay it, and after a loss the class runs on one thread for 64 times its
 *   debt: whatever the machine does, the tries cost about 2 %. Where the loss came of calling
 *   helpers from sleep, which a burst of regions soon repays, those still awake may go on. A
 *   number of threads that was asked for is obeyed.
 * - One team for the process. A thread that finds it at work runs its region alone: with many
 *   Python threads the cores are busy anyway. So does one when no thread can be started.
 * - Helpers compute in the caller's floating-point mode (rounding, flush to zero), as the caller
 *   does when it runs alone. They take no signals.
 * - A forked child has no helpers; its first region starts a team anew.
 */
#ifndef FR_TEAM_H
#define FR_TEAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    FR_MAX_THREADS = 1024,
    /* Below this many bytes moved a team cannot win (one core moves 256 KB in 12 to 25 us). */
    FR_SERIAL_BYTES = 256 * 1024,
    FR_SIZE_CLASSES = 8, /* from FR_SERIAL_BYTES on, four times as large each */
};

typedef void (*fr_task)(const void *job, ptrdiff_t k);

/* What became of the regions of one size class. */
typedef struct {
    int64_t shared, alone, taken; /* on the team; alone after a loss; alone as it was in use */
    int64_t spent, saved;         /* ns on the team; what the caller alone would have added */
    int64_t debt, wait;           /* ns lost and not yet repaid; ns until the next try */
} fr_class_report;

typedef struct {
    int helpers, refused; /* threads started; whether the last one could not be */
    fr_class_report classes[FR_SIZE_CLASSES];
} fr_team_report;

/* Once, before the first region: what a fork and the helpers need. */
void fr_team_init(void);

/* Whether a team exists in this build. */
int fr_team_built(void);

/* How many threads a region may use where no number is asked for, and the longest time (ns) that
 * a helper waits awake. */
void fr_team_limits(int threads, int64_t awake);

/* The cores helpers run on (a byte each, n of them) if they must not inherit the caller's. */
void fr_team_cores(const char *usable, int n);

/* Run tasks 0 .. n-1, from the last to the first if backwards. The tasks move `bytes` together;
 * `asked` is the number of threads, 0 to leave it to the team. */
void fr_run_tasks(fr_task task, const void *job, ptrdiff_t n, ptrdiff_t bytes, int asked,
                  int backwards);

void fr_team_tell(fr_team_report *report);

#endif
