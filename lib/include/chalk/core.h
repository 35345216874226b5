/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores, one step above the contract. A program owns them one by one: chalk_core_start() of
 * <chalk/platform.h> gives one a function to run, and nothing else runs there until that returns;
 * chalk_core_get_info() says where it sits. What is here is what everybody would write on top. It is for
 * starting and ending: it may be called from any core that runs, `self`, and waits in chalk_core_wait(), so
 * `self` goes on collecting its interrupts.
 */
#ifndef CHALK_CORE_H
#define CHALK_CORE_H

#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How many cores there are, running or not: 0 to that less one are their numbers. */
unsigned chalk_core_count(void);

/* Returns 0, or -ENOENT if there is no core of that number, which is logged. `call` is the function that was
 * given the number, for the message. */
int chalk_core_check(unsigned core, const char *call);

/*
 * Starts `entry` on the first core that does not run, and returns its number. -EBUSY: all of them run; or
 * what chalk_core_start() says.
 */
int chalk_core_start_any(void (*entry)(unsigned core, void *argument), void *argument);

/* Waits on core `self` until `core` has ended what it runs, and can be started again. 0, -ETIMEDOUT or
 * -ENOENT. */
int chalk_core_join(unsigned self, unsigned core, uint64_t deadline);

#ifdef __cplusplus
}
#endif
#endif
