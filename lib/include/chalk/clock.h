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

/* Products of two words. An extension of C, which -pedantic accepts where it is said to be one. */
__extension__ typedef unsigned __int128 chalk_uint128;

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
    return (uint64_t)(((chalk_uint128)ticks * chalk_clock_info()->ns_mult) >> 32);
}

static inline uint64_t chalk_ns_to_ticks(uint64_t ns)
{
    return (uint64_t)(((chalk_uint128)ns * chalk_clock_info()->ticks_mult) >> 32);
}

/* The deadline that lies `ns` nanoseconds ahead; CHALK_FOREVER if that is beyond the end of time. */
static inline uint64_t chalk_deadline(uint64_t ns)
{
    chalk_uint128 deadline = chalk_ticks() + (((chalk_uint128)ns * chalk_clock_info()->ticks_mult) >> 32);

    return deadline < CHALK_FOREVER ? (uint64_t)deadline : CHALK_FOREVER;
}

static inline bool chalk_expired(uint64_t deadline)
{
    return deadline != CHALK_FOREVER && chalk_ticks() >= deadline;
}

/*
 * Nanoseconds since 1970-01-01 UTC, by the clock that was read at the start and the ticks since then; 0 when
 * this machine does not know the time. It is not corrected while the program runs.
 */
static inline uint64_t chalk_wall_ns(void)
{
    const struct chalk_clock *clock = chalk_clock_info();

    return clock->wall_ns != 0 ? clock->wall_ns + chalk_ticks_to_ns(chalk_ticks() - clock->wall_ticks) : 0;
}

/*
 * Sleeps on core `self`, the caller's, until the deadline. Interrupts and wakes that come are collected and
 * end nothing: who waits with an event word that was read before, returns at once.
 */
void chalk_sleep_until(unsigned self, uint64_t deadline);

static inline void chalk_sleep(unsigned self, uint64_t ns)
{
    chalk_sleep_until(self, chalk_deadline(ns));
}

#define CHALK_MS 1000000ull    /* nanoseconds */
#define CHALK_S  1000000000ull /* nanoseconds */

#ifdef __cplusplus
}
#endif
#endif
