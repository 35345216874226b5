/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clock: how fast the time stamp counter runs. It is asked of who knows best, once, and never corrected:
 * a deadline that was computed earlier must keep its meaning.
 */
#define _GNU_SOURCE
#include "clock.h"
#include "state.h"

#include <cpuid.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <chalk/clock.h>

static struct chalk_clock clock_info;

const struct chalk_clock *chalk_clock_info(void)
{
    if (__builtin_expect(clock_info.hertz == 0, 0))
        hosted_require_up();
    return &clock_info;
}

/* The kernel's own calibration, which it shows on the page of any performance event (perf_event_open(2)), or
 * 0. */
static uint64_t hertz_of_kernel(void)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof attributes,
        .config = PERF_COUNT_SW_DUMMY,
        .exclude_kernel = 1,
        .exclude_hv = 1,
    };
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    const struct perf_event_mmap_page *page;
    uint64_t hertz = 0;

    if (fd < 0)
        return 0;
    page = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) {
        if (page->cap_user_time && page->time_mult != 0)
            hertz = (uint64_t)(((unsigned __int128)CHALK_S << page->time_shift) / page->time_mult);
        munmap((void *)page, size);
    }
    close(fd);
    return hertz;
}

/*
 * What the processor says (SDM vol. 3, 20.7.3; CPUID leaf 15H), or 0. Not believed under a hypervisor, which
 * may scale the counter and leave the leaf as it was.
 */
static uint64_t hertz_of_processor(void)
{
    unsigned denominator, numerator, crystal, other, one, two, features;

    if (__get_cpuid(1, &one, &two, &features, &other) == 0 || (features & (1u << 31)) != 0)
        return 0;
    if (__get_cpuid(0x15, &denominator, &numerator, &crystal, &other) == 0 || denominator == 0 ||
        numerator == 0 || crystal == 0)
        return 0;
    return (uint64_t)crystal * numerator / denominator;
}

struct reading {
    uint64_t ticks, ns;
};

/* Ticks and time of one moment: of a few tries the one that was disturbed least. */
static struct reading read_both(clockid_t id)
{
    struct reading best = {0};
    uint64_t width = UINT64_MAX;

    for (unsigned i = 0; i < 16; i++) {
        struct timespec now;
        uint64_t before = chalk_ticks();
        uint64_t after;

        clock_gettime(id, &now);
        after = chalk_ticks();
        if (after - before < width) {
            width = after - before;
            best.ticks = before + width / 2;
            best.ns = (uint64_t)now.tv_sec * CHALK_S + (uint64_t)now.tv_nsec;
        }
    }
    return best;
}

/* Measured against the kernel's unadjusted clock for 10 ms, which is good to a few parts in a million. */
static uint64_t hertz_measured(void)
{
    struct reading first = read_both(CLOCK_MONOTONIC_RAW);
    struct reading last;

    nanosleep(&(struct timespec){.tv_nsec = 10 * CHALK_MS}, NULL);
    do
        last = read_both(CLOCK_MONOTONIC_RAW);
    while (last.ns <= first.ns);
    return (uint64_t)((unsigned __int128)(last.ticks - first.ticks) * CHALK_S / (last.ns - first.ns));
}

void hosted_clock_start(void)
{
    struct reading wall;
    uint64_t hertz;

    if (clock_info.hertz != 0)
        return;
    hertz = hertz_of_kernel();
    if (hertz == 0)
        hertz = hertz_of_processor();
    if (hertz == 0)
        hertz = hertz_measured();
    clock_info.hertz = hertz;
    clock_info.ns_mult = (uint64_t)(((unsigned __int128)CHALK_S << 32) / hertz);
    clock_info.ticks_mult = (uint64_t)(((unsigned __int128)hertz << 32) / CHALK_S);
    wall = read_both(CLOCK_REALTIME);
    clock_info.wall_ns = wall.ns;
    clock_info.wall_ticks = wall.ticks;
}
