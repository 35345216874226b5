/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last words of a program that crashes: what happened, the registers, and who called whom, as an image
 * has them (baremetal/x86_64/panic.c). Handlers that were there before have the first word, and then it is
 * theirs to end the process.
 */
#ifndef HOSTED_CRASH_H
#define HOSTED_CRASH_H

void hosted_crash_start(void);
void hosted_crash_stop(void);

/* The calling thread can report even the overflow of its own stack, until it leaves. Needs
 * hosted_crash_start(). */
void hosted_crash_enter(void);
void hosted_crash_leave(void);

#endif
