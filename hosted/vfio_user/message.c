/* SPDX-License-Identifier: BSD-2-Clause */
/* See message.h. */
#define _GNU_SOURCE
#include "message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chalk/clock.h>

/* The header, and up to three parts. */
#define PARTS 4

/* The kernel's SCM_MAX_FD. */
#define SEND_FDS 253

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(SEND_FDS * sizeof(int))];
};

void message_drop(struct descriptors *descriptors)
{
    for (unsigned i = 0; i < descriptors->count; i++)
        if (descriptors->fds[i] >= 0)
            close(descriptors->fds[i]);
    descriptors->count = 0;
}

int message_take(struct descriptors *descriptors, unsigned i)
{
    int fd = i < descriptors->count ? descriptors->fds[i] : -1;

    if (fd >= 0)
        descriptors->fds[i] = -1;
    return fd;
}

bool message_waits(int socket)
{
    struct pollfd poll_one = {.fd = socket, .events = POLLIN};

    return poll(&poll_one, 1, 0) > 0;
}

static int poll_ms(uint64_t deadline)
{
    uint64_t now = chalk_ticks();
    uint64_t left = deadline > now ? chalk_ticks_to_ns(deadline - now) / CHALK_MS + 1 : 0;

    return left < 100 ? (int)left : 100;
}

bool message_comes(int socket, uint64_t deadline)
{
    struct pollfd poll_one = {.fd = socket, .events = POLLIN};

    return poll(&poll_one, 1, poll_ms(deadline)) > 0;
}

/* Waits for what `events` says, or the other side's end. */
static int wait_for(int socket, short events, uint64_t deadline)
{
    struct pollfd poll_one = {.fd = socket, .events = events};

    for (;;) {
        int ready = poll(&poll_one, 1, poll_ms(deadline));

        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (chalk_expired(deadline))
            return -ETIMEDOUT;
    }
}

/* After a call that moved nothing: whether it is worth another one. */
static int again(int socket, short events, uint64_t deadline)
{
    if (errno == EINTR)
        return 0;
    if (errno == EAGAIN)
        return wait_for(socket, events, deadline);
    return errno == EPIPE ? -ECONNRESET : -errno;
}

/* ---- out ---- */

/* Takes `moved` bytes off the front. */
static void advance(struct msghdr *message, size_t moved)
{
    while (moved > 0 && moved >= message->msg_iov->iov_len) {
        moved -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    if (moved > 0) {
        message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + moved;
        message->msg_iov->iov_len -= moved;
    }
    message->msg_control = NULL; /* the descriptors went with the first byte */
    message->msg_controllen = 0;
}

static void attach(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
    size_t size = count * sizeof *fds;
    struct cmsghdr *header = &control->align;

    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(size);
    memset(control, 0, CMSG_SPACE(size));
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), fds, size);
}

int message_send(int socket, struct vfio_user_header *header, const struct iovec *parts, unsigned count,
                 const int *fds, unsigned fd_count, uint64_t deadline)
{
    struct iovec pieces[PARTS] = {{header, sizeof *header}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count + 1};
    union control control;
    size_t left = sizeof *header;

    if (count > PARTS - 1 || fd_count > SEND_FDS)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        pieces[i + 1] = parts[i];
        left += parts[i].iov_len;
    }
    header->size = (uint32_t)left;
    if (fd_count > 0)
        attach(&message, &control, fds, fd_count);
    while (left > 0) {
        ssize_t moved = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        int error = moved < 0 ? again(socket, POLLOUT, deadline) : 0;

        if (error != 0)
            return error;
        if (moved > 0) {
            left -= (size_t)moved;
            advance(&message, (size_t)moved);
        }
    }
    return 0;
}

/* ---- in ---- */

/*
 * Takes the descriptors out of a message. If the kernel has dropped some, none is kept. It drops what there
 * is no room for, and so the other side sent too many; or, while there is room, what this process may not
 * open (net/core/scm.c), because it has as many files as its limit allows.
 */
static int collect(struct msghdr *message, struct descriptors *descriptors)
{
    bool dropped = (message->msg_flags & MSG_CTRUNC) != 0, too_many = false;

    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        for (unsigned i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (descriptors->count < MESSAGE_FDS) {
                descriptors->fds[descriptors->count++] = fd;
            } else {
                too_many = true;
                close(fd);
            }
        }
    }
    if (!dropped && !too_many)
        return 0;
    too_many = too_many || descriptors->count == MESSAGE_FDS;
    message_drop(descriptors);
    return too_many ? -EPROTO : -EMFILE;
}

static int receive(int socket, void *bytes, size_t size, struct descriptors *descriptors, uint64_t deadline)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
    } control;
    char *at = bytes;
    int error;

    while (size > 0) {
        struct iovec piece = {at, size};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        ssize_t moved;

        if (descriptors != NULL) { /* without room for them the kernel drops them */
            message.msg_control = &control;
            message.msg_controllen = sizeof control;
        }
        moved = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (moved == 0)
            return -ECONNRESET;
        error = moved < 0             ? again(socket, POLLIN, deadline)
                : descriptors != NULL ? collect(&message, descriptors)
                                      : 0;
        if (error != 0)
            return error;
        if (moved > 0) {
            at += moved;
            size -= (size_t)moved;
        }
    }
    return 0;
}

int message_receive(int socket, struct vfio_user_header *header, struct descriptors *descriptors,
                    uint64_t deadline)
{
    int error;

    descriptors->count = 0;
    error = receive(socket, header, sizeof *header, descriptors, deadline);
    if (error != 0)
        message_drop(descriptors);
    return error;
}

int message_receive_bytes(int socket, void *bytes, size_t size, uint64_t deadline)
{
    return receive(socket, bytes, size, NULL, deadline);
}
