/* The kernels by themselves, without Python: one line per element type and family with the hash
 * of all that they write. Every level must print the same; so must every compiler, C library and
 * machine, which .ci/compilers compares. Lengths are around those of registers, runs and blocks.
 * A family is a function here, in bits_steps.h or in bits_layers.h; test_bits_driver.py sees that
 * every entry of the kernels' table is called. */
#include "bits_driver.h"
#include "bits_layers.h"
#include "bits_steps.h"

static const ptrdiff_t lengths[] = {1,  3,  7,   8,   15,  16,   17,  63,
                                    64, 65, 127, 129, 300, 1029, 4099};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void functions(const fr_kernels *k, ptrdiff_t n)
{
    for (int f = 0; f < FR_FUNCTION_COUNT; f++)
        for (int stream = 0; stream < 2; stream++) {
            void *y = unset(n);
            k->function[f](y, elements(n, f == FR_FUNCTION_log || f == FR_FUNCTION_log1p), n,
                           stream);
            take_elements(y, n), forget();
        }
    for (int f = 0; f < FR_SLOPE_COUNT; f++)
        for (int stream = 0; stream < 2; stream++) {
            const void *x = numbers(n), *dy = numbers(n);
            void *dx = unset(n);
            k->slope[f](dx, dy, x, n, stream), take_elements(dx, n), forget();
        }
}

static void sums_and_maps(const fr_kernels *k, ptrdiff_t n)
{
    for (int f = 0; f < FR_SUM_COUNT; f++) {
        const double sum = k->sum[f](numbers(n), n, 0.5);
        take_doubles(&sum, 1), forget();
    }
    for (int f = 0; f < FR_MAP_COUNT; f++)
        for (int stream = 0; stream < 2; stream++) {
            void *y = unset(n);
            k->map[f](y, numbers(n), n, 0.5, 1.5, stream), take_elements(y, n), forget();
        }
}

static void point_loss(fr_point_loss kernel, ptrdiff_t rows, ptrdiff_t n)
{
    double loss[2];
    const void *z = numbers(rows * n), *targets = elements(rows * n, 1);
    void *dz = unset(rows * n);
    kernel(dz, &loss[0], z, targets, NULL, 0.25, 0.5, 0.25, rows, n);
    take_elements(dz, rows * n);
    kernel(dz, &loss[1], z, targets, doubles(rows), 0.25, 0.5, 0.25, rows, n);
    take_elements(dz, rows * n), take_doubles(loss, 2), forget();
}

/* Of four rows; the last one's label says that it is to be left out. */
static void losses(const fr_kernels *k, ptrdiff_t n)
{
    const int64_t labels[4] = {0, n - 1, n / 2, -1};
    double loss[2];
    for (int f = 0; f < FR_LOSS_COUNT; f++)
        point_loss(k->loss[f], 4, n);
    point_loss(k->soft_cross_entropy, 4, n);
    const void *z = numbers(4 * n);
    void *dz = unset(4 * n), *y = unset(4 * n);
    k->cross_entropy(dz, &loss[0], z, labels, NULL, 0.25, 0, 4, n), take_elements(dz, 4 * n);
    k->cross_entropy(dz, &loss[1], z, labels, doubles(4), 0, 0.125, 4, n);
    take_elements(dz, 4 * n), take_doubles(loss, 2);
    k->softmax(y, z, 4, n), take_elements(y, 4 * n), forget();
}

static void masks(const fr_kernels *k, ptrdiff_t n)
{
    const fr_dropout kinds[] = {k->dropout, k->alpha_dropout, k->gaussian_dropout};
    for (int i = 0; i < 6; i++) {
        void *y = unset(n);
        kinds[i / 2](y, numbers(n), n, 128, &drawn_mask, i % 2), take_elements(y, n), forget();
    }
}

static void draws(const fr_kernels *k, ptrdiff_t n)
{
    const size_t bytes = (size_t)n * 4;
    uint32_t *radii = room(bytes), *angles = room(bytes);
    float *first = room(bytes), *second = room(bytes);
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t words[4];
        k->philox_block(words, (const uint32_t[4]){(uint32_t)i, 1, 2, 3}, 12345678901u);
        take(words, sizeof words);
        radii[i] = words[0], angles[i] = words[1];
    }
    k->normal_of_words(first, second, radii, angles, (int)n);
    take(first, bytes), take(second, bytes), forget();
}

typedef struct {
    const char *name;
    void (*run)(const fr_kernels *k, ptrdiff_t n);
    int is_of_floats; /* alone */
} family;

/* The hash of a family at the lowest level; what another one has is a difference. */
static uint64_t compared(const family *family, int *differences)
{
    uint64_t lowest = 0;
    for (int level = 0; level < fr_table_count; level++) {
        if (!fr_cpu_runs(level))
            continue;
        state = 1, hash = 14695981039346656037u;
        for (int i = 0; i < LENGTHS; i++)
            family->run(fr_tables[level].kernels[type], lengths[i]);
        lowest = level ? lowest : hash;
        if (hash != lowest)
            ++*differences, fprintf(stderr, "f%d %s differs at %s\n", (int)size * 8, family->name,
                                    fr_tables[level].name);
    }
    return lowest;
}

int main(void)
{
    static const family families[] = {
        {"updates", updates, 0},
        {"narrow updates", narrow_updates, 1},
        {"half updates", half_updates, 1},
        {"functions", functions, 0},
        {"sums and maps", sums_and_maps, 0},
        {"losses", losses, 0},
        {"masks", masks, 0},
        {"draws", draws, 0},
        {"columns", columns, 0},
        {"batch norms", batch_norms, 0},
        {"row norms", row_norms, 0},
        {"gates", gates, 0},
        {"products", products, 0},
    };
    int differences = 0;
    for (type = FR_FLOAT32; type < FR_DTYPE_COUNT; type++)
        for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
            size = type == FR_FLOAT32 ? sizeof(float) : sizeof(double);
            if (type != FR_FLOAT32 && families[f].is_of_floats)
                continue;
            const uint64_t found = compared(&families[f], &differences);
            printf("f%d %s %016llx\n", (int)size * 8, families[f].name,
                   (unsigned long long)found);
        }
    return differences != 0;
}
