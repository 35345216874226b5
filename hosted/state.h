/* SPDX-License-Identifier: BSD-2-Clause */
/* What every part of the hosted platform shares: whether it is up, with which options, and the one lock of
 * its cold paths. */
#ifndef HOSTED_STATE_H
#define HOSTED_STATE_H

#include <pthread.h>

#include <chalk/hosted.h>

/* start.c alone changes it. */
struct hosted_state {
    pthread_mutex_t lock;
    struct chalk_start_options options;
    bool up;
};
extern struct hosted_state hosted_state;

/* Ends the program with a message if chalk_start() was not called. */
void hosted_require_up(void);

/* The lock of everything that opens, maps, grows or closes. Hot paths never take it. Requires that the
 * platform is up. */
void hosted_lock(void);
void hosted_unlock(void);

static inline const struct chalk_start_options *hosted_options(void)
{
    return &hosted_state.options;
}

#endif
