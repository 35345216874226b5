/* SPDX-License-Identifier: BSD-2-Clause */
/* Guard pages, and the fault that names them. */
#ifndef HOSTED_GUARD_H
#define HOSTED_GUARD_H

/* From here on a touched guard page is named before the process ends; without it the fault is a bare SIGSEGV.
 */
void hosted_guard_start(void);
void hosted_guard_stop(void);

/* The calling thread can report even the overflow of its own stack, until it leaves. Needs
 * hosted_guard_start(). */
void hosted_guard_enter(void);
void hosted_guard_leave(void);

#endif
