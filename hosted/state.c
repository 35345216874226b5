/* SPDX-License-Identifier: BSD-2-Clause */
/* The state that all parts of the hosted platform share, and its lock. */
#include "state.h"

#include <chalk/error.h>

struct hosted_state hosted_state = {.lock = PTHREAD_MUTEX_INITIALIZER};

void hosted_lock(void)
{
    pthread_mutex_lock(&hosted_state.lock);
    chalk_assert(hosted_state.up);
}

void hosted_unlock(void)
{
    pthread_mutex_unlock(&hosted_state.lock);
}
