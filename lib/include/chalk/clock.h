/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time. Ticks are the time stamp counter's; deadlines are absolute ticks, so that a polling loop compares
 * two integers and nothing is converted on a hot path.
 */
#ifndef CHALK_CLOCK_H
#define CHALK_CLOCK_H

#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint64_t chalk_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

/* Tells the processor that this is a polling loop (SDM: PAUSE). */
static inline void chalk_pause(void)
{
    __builtin_ia32_pause();
}

static inline uint64_t chalk_ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ticks * chalk_clock_info()->ns_mult) >> 32);
}

static inline uint64_t chalk_ns_to_ticks(uint64_t ns)
{
    return (uint64_t)(((unsigned __int128)ns * chalk_clock_info()->ticks_mult) >> 32);
}

/* The deadline that lies `ns` nanoseconds ahead; CHALK_FOREVER if that is beyond the end of time. */
static inline uint64_t chalk_deadline(uint64_t ns)
{
    unsigned __int128 deadline =
        chalk_ticks() + (((unsigned __int128)ns * chalk_clock_info()->ticks_mult) >> 32);

    return deadline < CHALK_FOREVER ? (uint64_t)deadline : CHALK_FOREVER;
}

static inline bool chalk_expired(uint64_t deadline)
{
    return deadline != CHALK_FOREVER && chalk_ticks() >= deadline;
}

#define CHALK_MS 1000000ull    /* nanoseconds */
#define CHALK_S  1000000000ull /* nanoseconds */

#ifdef __cplusplus
}
#endif
#endif
