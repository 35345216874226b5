/* SPDX-License-Identifier: BSD-2-Clause */
/* Signal handlers, and how they hand on to those that were there before. */
#ifndef HOSTED_SIGNALS_H
#define HOSTED_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

void hosted_signals_start(void);
void hosted_signals_stop(void);

/* Takes `signal` over; what handled it goes to `earlier`. */
bool hosted_signal_take(int signal, void (*handler)(int, siginfo_t *, void *), int flags,
                        struct sigaction *earlier);

/* Puts `earlier` back, unless somebody else has taken the signal over in the meantime. */
void hosted_signal_release(int signal, void (*handler)(int, siginfo_t *, void *),
                           const struct sigaction *earlier);

/* Calls the handler that was there before; false if there was none. */
bool hosted_signal_chain(const struct sigaction *earlier, int signal, siginfo_t *info, void *context);

#endif
