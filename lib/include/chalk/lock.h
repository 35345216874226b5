/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock between cores, for books that are kept when things are opened, closed and reset. No hot path takes
 * one. Who waits for it spins, so it is held for a few hundred instructions at most, and no core takes one
 * twice.
 */
#ifndef CHALK_LOCK_H
#define CHALK_LOCK_H

#include <chalk/clock.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_lock {
    bool taken; /* all zero: free */
};

/* Returns whether the lock is the caller's now. */
static inline bool chalk_lock_try(struct chalk_lock *lock)
{
    return !__atomic_test_and_set(&lock->taken, __ATOMIC_ACQUIRE);
}

static inline void chalk_lock_take(struct chalk_lock *lock)
{
    while (!chalk_lock_try(lock))
        chalk_pause();
}

static inline void chalk_lock_release(struct chalk_lock *lock)
{
    __atomic_clear(&lock->taken, __ATOMIC_RELEASE);
}

#ifdef __cplusplus
}
#endif
#endif
