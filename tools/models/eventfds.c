/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals eventfds of the client. A write to one waits while its count is full, which the client can see to,
 * and whether it waits is a flag that the client can change at any time. So Linux signals it itself, when a
 * read of nothing has ended (IOCB_FLAG_RESFD, io_submit(2)): that takes nothing but an eventfd and never
 * waits, and a full count stays full.
 */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <chalk/log.h>

/* Ended reads of which nothing was taken back yet. */
#define ENDED 64

int eventfds_open(struct server *server)
{
    server->signals = 0;
    server->signalled = 0;
    server->nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (server->nothing < 0 || syscall(SYS_io_setup, ENDED, &server->signals) != 0) {
        int error = -errno;

        chalk_log(CHALK_ERROR, "interrupts cannot be sent: io_setup: %s%s", strerror(-error),
                  error == -EAGAIN ? "; root allows more with: sysctl fs.aio-max-nr=1048576" : "");
        eventfds_close(server);
        return error;
    }
    return 0;
}

void eventfds_close(struct server *server)
{
    if (server->signals != 0)
        syscall(SYS_io_destroy, server->signals);
    if (server->nothing >= 0)
        close(server->nothing);
    server->signals = 0;
    server->nothing = -1;
}

/* Each ended read keeps a place until it is taken back. */
static void take_back(struct server *server)
{
    struct io_event events[ENDED];

    syscall(SYS_io_getevents, server->signals, 0l, (long)ENDED, events, &(struct timespec){0});
    server->signalled = 0;
}

void eventfds_signal(struct server *server, int fd)
{
    struct iocb nothing = {.aio_lio_opcode = IOCB_CMD_PREAD,
                           .aio_fildes = (uint32_t)server->nothing,
                           .aio_flags = IOCB_FLAG_RESFD,
                           .aio_resfd = (uint32_t)fd};
    struct iocb *list[] = {&nothing};

    if (++server->signalled == ENDED / 2)
        take_back(server);
    if (syscall(SYS_io_submit, server->signals, 1l, list) == 1 || errno != EAGAIN)
        return;
    take_back(server);
    syscall(SYS_io_submit, server->signals, 1l, list);
}

/* A file of any sort can have any name, but only a name that begins with a slash. */
bool eventfds_is_one(int fd)
{
    static const char name[] = "anon_inode:[eventfd]";
    char path[64], target[sizeof name];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target) == (ssize_t)sizeof name - 1 &&
           memcmp(target, name, sizeof name - 1) == 0;
}
