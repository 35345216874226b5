/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals are for the program's own threads, and so are the processors that those are pinned to. Where Linux
 * refuses to move a thread (seccomp, as in some containers) it stays on its creator's: it sleeps nearly
 * always.
 */
#define _GNU_SOURCE
#include "thread.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

int hosted_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    cpu_set_t anywhere;
    int error;

    sigfillset(&all);
    memset(&anywhere, 0xff, sizeof anywhere);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_setaffinity_np(*thread, sizeof anywhere, &anywhere);
    return -error;
}
