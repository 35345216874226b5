/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock's one step at start. */
#ifndef HOSTED_CLOCK_H
#define HOSTED_CLOCK_H

/* Finds the frequency of the time stamp counter, once a process. */
void hosted_clock_start(void);

#endif
