/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a core waits for: its event word, and sources, which are blocking eventfds that the kernel or another
 * process signals. A source belongs to a core and is read only inside chalk_core_wait() of that core. No
 * read of an eventfd waits, whatever the other process does with it.
 */
#ifndef HOSTED_EVENTS_H
#define HOSTED_EVENTS_H

#include "cores.h"

/* The calling thread begins and ends to wait as this core. Errors: -EMFILE, -ENFILE, -ENOMEM. */
int hosted_events_open(struct core *core);
void hosted_events_close(struct core *core);

/* Frees what is left when no thread will wait on this core any more. */
void hosted_events_free(struct core *core);

/*
 * Adds a source, which owns `fd` from now on; on error it does not. `counter` goes up by what is read.
 * Errors: -ENOMEM.
 */
int hosted_source_add(struct core *core, int fd, _Atomic(uint32_t) *counter, struct source **source);

/* Takes it away: when it returns, `counter` changes no more. The descriptor is closed at once, or, where the
 * core has waited on it, when the core next waits. */
void hosted_source_remove(struct core *core, struct source *source);

#endif
