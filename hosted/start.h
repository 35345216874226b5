/* SPDX-License-Identifier: BSD-2-Clause */
/* What every part of the hosted platform shares: the one lock of its cold paths, and the options it started
 * with. */
#ifndef HOSTED_START_H
#define HOSTED_START_H

#include <chalk/hosted.h>

/* The lock of everything that opens, maps, grows or closes. Hot paths never take it. Asserts that the
 * platform is up. */
void hosted_lock(void);
void hosted_unlock(void);

const struct chalk_start_options *hosted_options(void);

#endif
