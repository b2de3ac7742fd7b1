# One team for kernels and matrix products.
#
# OpenBLAS, which NumPy brings along, has threads of its own, and both pools wait by spinning:
# with a thread a core in each, every product waits until the kernels' threads give up their cores,
# and the other way round. A training step took 8 times as long on 2 cores. So OpenBLAS is asked to
# hand its work to the kernels' team as soon as there is one; how it cuts that work, and so every
# bit of its results, stays the same. FASTREG_SHARE_TEAM=0 leaves it alone.

cdef extern from *:
    """
    #if defined(_OPENMP) && defined(__GLIBC__) && !defined(__clang__)
    #include <dlfcn.h>
    #include <link.h>
    #include <sched.h>
    #include <stdlib.h>

    typedef void (*fr_blas_job)(int thread, void *job, int data);
    typedef void (*fr_blas_team)(int sync, fr_blas_job work, int n, size_t size, void *jobs,
                                 int data);
    typedef void (*fr_set_team)(fr_blas_team team);

    typedef struct {
        pthread_t thread;
        fr_blas_job work;
        int index, data;
        void *job;
    } fr_blas_thread;

    static void *fr_blas_start(void *self_)
    {
        fr_blas_thread *self = self_;
        self->work(self->index, self->job, self->data);
        return NULL;
    }

    /* The jobs of a product wait for each other, so each needs a thread of its own, also where
     * OpenMP would give fewer: inside another region, or under a limit. */
    static void fr_blas_threads(fr_blas_job work, int n, size_t size, char *jobs, int data)
    {
        fr_blas_thread *threads = calloc((size_t)n, sizeof *threads);
        if (!threads)
            abort();
        for (int i = n - 1; i >= 0; i--) {
            fr_blas_thread *t = &threads[i];
            t->work = work, t->index = i, t->data = data, t->job = jobs + (size_t)i * size;
            while (i && pthread_create(&t->thread, NULL, fr_blas_start, t))
                sched_yield();
        }
        fr_blas_start(&threads[0]);
        for (int i = 1; i < n; i++)
            pthread_join(threads[i].thread, NULL);
        free(threads);
    }

    /* OpenBLAS gives job k the k-th of its buffers, whoever asks: one product at a time. */
    static pthread_mutex_t fr_blas_lock = PTHREAD_MUTEX_INITIALIZER;
    static void fr_blas_enter(void) { pthread_mutex_lock(&fr_blas_lock); }
    static void fr_blas_leave(void) { pthread_mutex_unlock(&fr_blas_lock); }

    static void fr_blas_run(int sync, fr_blas_job work, int n, size_t size, void *jobs, int data)
    {
        (void)sync;
        fr_blas_enter();
        if (omp_get_level() || omp_get_dynamic() || omp_get_thread_limit() < n) {
            fr_blas_threads(work, n, size, jobs, data);
        } else {
    #pragma omp parallel for schedule(static, 1) num_threads(n)
            for (int i = 0; i < n; i++)
                work(i, (char *)jobs + (size_t)i * size, data);
        }
        fr_blas_leave();
    }

    enum { FR_MOST_BLAS = 4 }; /* NumPy's, SciPy's, ... */
    static int fr_blas_shared = 0; /* libraries that use the kernels' team */

    typedef struct {
        int count;
        char paths[FR_MOST_BLAS][1024];
    } fr_blas_found;

    static int fr_blas_note(struct dl_phdr_info *info, size_t size, void *found_)
    {
        fr_blas_found *found = found_;
        (void)size;
        if (strstr(info->dlpi_name, "openblas") && found->count < FR_MOST_BLAS &&
            strlen(info->dlpi_name) < sizeof found->paths[0])
            strcpy(found->paths[found->count++], info->dlpi_name);
        return 0;
    }

    /* The handles stay open: a library must not go while it has our address. */
    static void fr_offer_team(void)
    {
        static const char *const names[] = {
            "scipy_openblas_set_threads_callback_function64_",
            "scipy_openblas_set_threads_callback_function",
            "openblas_set_threads_callback_function64_",
            "openblas_set_threads_callback_function",
        };
        const char *wanted = getenv("FASTREG_SHARE_TEAM");
        fr_blas_found found = {0};
        if (wanted && !strcmp(wanted, "0"))
            return;
        pthread_atfork(fr_blas_enter, fr_blas_leave, fr_blas_leave);
        dl_iterate_phdr(fr_blas_note, &found);
        for (int i = 0; i < found.count; i++) {
            void *library = dlopen(found.paths[i], RTLD_LAZY | RTLD_NOLOAD);
            fr_set_team set = NULL;
            for (size_t k = 0; library && !set && k < sizeof names / sizeof *names; k++)
                set = (fr_set_team)dlsym(library, names[k]);
            if (set) {
                set(fr_blas_run);
                fr_blas_shared++;
            }
        }
    }

    static void fr_share_team(void)
    {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, fr_offer_team);
    }
    #else
    static int fr_blas_shared = 0;
    static void fr_share_team(void) {}
    #endif
    """
    int fr_blas_shared
    void fr_share_team() noexcept nogil
