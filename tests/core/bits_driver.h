/* What the families of bits_driver.c share: numbers to compute with, memory for them, and the
 * hash of what comes out. An array has a block of its own of exactly its length, and what a
 * kernel is to write is not set before, so that tools which look at every access see where one
 * goes wrong. */
#ifndef BITS_DRIVER_H
#define BITS_DRIVER_H

#include "fastreg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int type; /* of the elements, and its size */
static size_t size;

static uint64_t hash;
static void take(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
}

static uint64_t state;
static double number(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 20) * 0x1p-41 - 4.0;
}

enum { MOST_KEPT = 64 };
static void *kept[MOST_KEPT];
static int kept_count;

static void *room(size_t bytes)
{
    void *found = kept_count < MOST_KEPT ? malloc(bytes) : NULL;
    if (!found) {
        fprintf(stderr, "no room for an array\n");
        exit(2);
    }
    return kept[kept_count++] = found;
}

static void forget(void)
{
    while (kept_count)
        free(kept[--kept_count]);
}

/* An array of the element type that is not set, and a place in one. */
static void *unset(ptrdiff_t n)
{
    return room((size_t)n * size);
}

static void *at(const void *array, ptrdiff_t i)
{
    return (char *)array + i * (ptrdiff_t)size;
}

static void take_elements(const void *array, ptrdiff_t n)
{
    take(array, (size_t)n * size);
}

static double *unset_doubles(ptrdiff_t n)
{
    return room((size_t)n * sizeof(double));
}

static void take_doubles(const double *array, ptrdiff_t n)
{
    take(array, (size_t)n * sizeof *array);
}

/* Numbers from -4 to 4, or their squares. */
static double *doubles(ptrdiff_t n)
{
    double *array = unset_doubles(n);
    for (ptrdiff_t i = 0; i < n; i++)
        array[i] = number();
    return array;
}

static float *floats(ptrdiff_t n, int squared)
{
    float *array = room((size_t)n * sizeof *array);
    for (ptrdiff_t i = 0; i < n; i++) {
        const double x = number();
        array[i] = (float)(squared ? x * x : x);
    }
    return array;
}

static void *elements(ptrdiff_t n, int squared)
{
    if (type == FR_FLOAT32)
        return floats(n, squared);
    double *array = doubles(n);
    for (ptrdiff_t i = 0; squared && i < n; i++)
        array[i] *= array[i];
    return array;
}

static void *numbers(ptrdiff_t n)
{
    return elements(n, 0);
}

static const fr_mask drawn_mask = {.key = 5,
                                   .call = 7,
                                   .threshold = 3000000000u,
                                   .scale = 1.4375,
                                   .kept_shift = 0.25,
                                   .dropped_shift = -0.5};

#endif
