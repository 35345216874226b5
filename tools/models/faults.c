/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that the client takes away while it is mapped here: it cuts the file short, or has its pages removed
 * where no others are to be had. Linux then answers an access with SIGBUS. The handler puts pages of zeroes
 * in place, so that the model goes on with what it does, and the client is hung up on afterwards.
 */
#define _GNU_SOURCE
#include "session.h"

#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>

/* The server runs in one thread, and it alone touches what was lent. */
static struct server *served;
static struct sigaction earlier;

/* Of mmap() Linux promises nothing in a handler; but the fault was at an access to what was lent, and so
 * inside of no function that it could disturb. */
static bool replace(const void *address)
{
    const struct lent *lent = served != NULL ? memory_at(served, address) : NULL;

    if (lent == NULL || mmap(lent->mapped, lent->mapped_size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return false;
    served->robbed = true;
    return true;
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    (void)context;
    if (!replace(info->si_addr))
        sigaction(signal, &earlier, NULL); /* the access is repeated, and ends the process as ever */
}

void faults_open(struct server *server)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    served = server;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &earlier);
}

void faults_close(void)
{
    sigaction(SIGBUS, &earlier, NULL);
    served = NULL;
}
