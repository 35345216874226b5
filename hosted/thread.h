/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads of the platform's own, which sleep until something outside of the program comes. */
#ifndef HOSTED_THREAD_H
#define HOSTED_THREAD_H

#include <pthread.h>

/* Errors: -EAGAIN, -ENOMEM. */
int hosted_thread_start(pthread_t *thread, void *(*run)(void *), void *argument);

#endif
