/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an ordinary C program asks of its libc, glibc hosted and musl bare: numbers with a point, a heap,
 * time, sleep.
 */
#include <chalk/heap.h>
#include <chalk/main.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "twin.h"

static void numbers(void)
{
    volatile double third = 1.0 / 3, big = 1e300;
    volatile long double precise = 1.0L / 3;
    char text[64];

    printf("%.17g %a %e %8.3f|%-8.2f|%+g\n", third, third, big, third, third, third);
    printf("%.20Lf %g %g %g\n", precise, big * big, -big * big, (double)0);
    snprintf(text, sizeof text, "%d %s %5.1f%% %zu", -7, "seven", 12.34, sizeof text);
    expect(strcmp(text, "-7 seven  12.3% 64") == 0, "doubles among other arguments");
    expect(strtod("0x1.8p1", NULL) == 3.0 && strtod("2.5e-3", NULL) == 0.0025, "numbers are read");
}

static void heap(void)
{
    enum { PIECES = 500 };
    static unsigned char *pieces[PIECES];
    unsigned seed = 1;
    bool whole = true, zero = true;

    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (seed = seed * 1103515245 + 12345) >> 16;
        size_t size = (size_t)1 << i % 15;
        unsigned char **piece = &pieces[i % PIECES];

        if (*piece != NULL)
            whole &= (*piece)[0] == (unsigned char)(i % PIECES);
        if (i & 0x4000) {
            free(*piece);
            *piece = calloc(1, size);
            zero &= *piece != NULL && (*piece)[0] == 0 && (*piece)[size - 1] == 0;
        } else {
            *piece = realloc(*piece, size);
        }
        if (*piece != NULL)
            memset(*piece, (int)(i % PIECES), size);
    }
    expect(whole, "memory keeps what was written into it");
    expect(zero, "calloc gives zeroes");
    for (unsigned i = 0; i < PIECES; i++)
        free(pieces[i]);
    for (unsigned i = 0; i < 100; i++) { /* would not fit if it stayed taken */
        void *large = malloc(8 << 20);

        whole &= large != NULL;
        free(large);
    }
    expect(whole, "large pieces come back");
    void *aligned = aligned_alloc(65536, 131072);
    expect(aligned != NULL && (size_t)aligned % 65536 == 0, "aligned memory");
    free(aligned);
}

/* Takes 1 MiB pieces until there are no more, or `most`; frees them, and tells how many there were. */
static unsigned take_all(unsigned most)
{
    static void *held[4096];
    unsigned count = 0;

    while (count < most && (held[count] = malloc(1 << 20)) != NULL)
        memset(held[count++], 1, 1 << 20);
    for (unsigned i = 0; i < count; i++)
        free(held[i]);
    return count;
}

static void heap_limit(void)
{
    unsigned got;

    expect_result(chalk_heap_limit((size_t)24 << 20), 0, "a heap of 24 MiB");
    got = take_all(100);
    expect(got >= 8 && got < 24, "it holds 1 MiB pieces, but not 24, and then malloc returns NULL");
    expect(take_all(100) >= 8, "what was freed can be had again");
    expect(malloc((size_t)1 << 40) == NULL && malloc(SIZE_MAX / 2) == NULL, "so it does for a terabyte");
    expect_result(chalk_heap_limit(SIZE_MAX), 0, "a heap without a limit");
    expect(take_all(40) == 40, "holds more");
}

static double seconds(clockid_t id)
{
    struct timespec now;

    return clock_gettime(id, &now) == 0 ? (double)now.tv_sec + (double)now.tv_nsec / 1e9 : -1;
}

static void times(void)
{
    struct timespec wait = {.tv_nsec = 30000000}, left = {0}, until;
    double start = seconds(CLOCK_MONOTONIC);

    expect_result(nanosleep(&wait, &left), 0, "nanosleep");
    double slept = seconds(CLOCK_MONOTONIC) - start;
    expect(slept >= 0.030 && slept < 10, "it took as long as it should");
    wait.tv_nsec = 1000000000;
    expect(nanosleep(&wait, NULL) == -1 && errno == EINVAL, "a second of nanoseconds is refused");
    clock_gettime(CLOCK_MONOTONIC, &until);
    expect_result(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0, "sleep until now");
    expect(clock_getres(CLOCK_MONOTONIC, &until) == 0 && until.tv_sec == 0, "a clock finer than a second");
    expect(clock_gettime((clockid_t)99, &until) == -1 && errno == EINVAL, "no such clock");
    expect(time(NULL) > 1600000000, "the time of day is past 2020");
    expect(clock() != (clock_t)-1, "processor time");
    expect(seconds(CLOCK_PROCESS_CPUTIME_ID) >= 0 && seconds(CLOCK_REALTIME_COARSE) > 1.6e9, "other clocks");
}

int chalk_main(int argc, char *argv[])
{
    (void)argc, (void)argv;
    numbers();
    heap();
    heap_limit();
    times();
    expect(fopen("/no/such/file", "r") == NULL, "files that are not there are not opened");
    return twin_failures != 0;
}
