/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals are for the program's own threads, and so are the processors that those are pinned to. */
#define _GNU_SOURCE
#include "thread.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

int hosted_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    cpu_set_t anywhere;
    pthread_attr_t attributes;
    int error;

    sigfillset(&all);
    memset(&anywhere, 0xff, sizeof anywhere);
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof anywhere, &anywhere);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}
