/* SPDX-License-Identifier: BSD-2-Clause */
/* Guard pages, and what they guard: for the handler of a crash, which is what calls both. */
#ifndef HOSTED_GUARD_H
#define HOSTED_GUARD_H

#include <stdint.h>

/* What the guard page around `address` guards, such as "stack of task 3"; NULL if there is none. */
const char *hosted_guard_name(uintptr_t address);

/* Logs that it was touched, if there is one. */
void hosted_guard_tell(uintptr_t address);

/* Forgets all of them. */
void hosted_guard_stop(void);

#endif
