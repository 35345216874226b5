/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIGINT and SIGTERM ask the program to end: it learns of it from chalk_exit_requested(), core 0 wakes, and
 * the drivers quiet their devices. The second one ends the process at once. Only on request: see
 * chalk_start().
 */
#define _GNU_SOURCE
#include "signals.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include <chalk/platform.h>

static const int asks[] = {SIGINT, SIGTERM};
static struct sigaction earlier[sizeof asks / sizeof asks[0]];
static bool ours[sizeof asks / sizeof asks[0]];
static atomic_bool requested;

bool chalk_exit_requested(void)
{
    return atomic_load_explicit(&requested, memory_order_relaxed);
}

bool hosted_signal_take(int signal, void (*handler)(int, siginfo_t *, void *), int flags,
                        struct sigaction *before)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, before) == 0;
}

void hosted_signal_release(int signal, void (*handler)(int, siginfo_t *, void *),
                           const struct sigaction *before)
{
    struct sigaction now;

    if (sigaction(signal, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handler)
        sigaction(signal, before, NULL);
}

bool hosted_signal_chain(const struct sigaction *before, int signal, siginfo_t *info, void *context)
{
    if ((before->sa_flags & SA_SIGINFO) != 0)
        before->sa_sigaction(signal, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(signal);
    else
        return false;
    return true;
}

static void on_ask(int signal, siginfo_t *info, void *context)
{
    int saved = errno;

    if (atomic_exchange(&requested, true)) {
        /* The default action comes when this handler returns, and the signal is no longer blocked. */
        struct sigaction action = {.sa_handler = SIG_DFL};

        sigaction(signal, &action, NULL);
        raise(signal);
    } else {
        chalk_core_wake(0);
        for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++)
            if (asks[i] == signal)
                hosted_signal_chain(&earlier[i], signal, info, context);
    }
    errno = saved;
}

void hosted_signals_start(void)
{
    atomic_store(&requested, false);
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++)
        ours[i] = hosted_signal_take(asks[i], on_ask, SA_RESTART, &earlier[i]);
}

void hosted_signals_stop(void)
{
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++)
        if (ours[i])
            hosted_signal_release(asks[i], on_ask, &earlier[i]);
}
