/* SPDX-License-Identifier: BSD-2-Clause */
/* The state that all parts of the hosted platform share, and its lock. */
#include "state.h"

#include <chalk/log.h>

struct hosted_state hosted_state = {.lock = PTHREAD_MUTEX_INITIALIZER};

void hosted_require_up(void)
{
    if (hosted_state.up)
        return;
    chalk_log(
        CHALK_ERROR,
        "Chalk is not started: a program with a main() of its own calls chalk_start() of <chalk/hosted.h> "
        "before anything else of Chalk, and nothing after chalk_stop()");
    chalk_exit(134); /* as a failed assertion: it is the caller's mistake */
}

void hosted_lock(void)
{
    pthread_mutex_lock(&hosted_state.lock);
    hosted_require_up();
}

void hosted_unlock(void)
{
    pthread_mutex_unlock(&hosted_state.lock);
}
