/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages over a stream socket, with descriptors. Both sides use this file; neither believes the other: what
 * arrives has the size that was asked for, or it is an error, and no descriptor is left behind on one.
 *
 * Everything waits until `deadline` (in ticks) and returns 0 or a negative errno: -ETIMEDOUT, -ECONNRESET
 * (the other side has closed), -EPROTO (too many descriptors), -EMFILE (this process may not have those that
 * came), or what the socket says. After an error the
 * stream is in the middle of a message, and of no further use.
 */
#ifndef VFIO_USER_MESSAGE_H
#define VFIO_USER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol.h"

/* The most descriptors that we take in one message. */
#define MESSAGE_FDS 8

struct descriptors {
    unsigned count;
    int fds[MESSAGE_FDS];
};

/* Closes those that were not taken. */
void message_drop(struct descriptors *descriptors);

/* The i-th one, from now on the caller's; -1: there is none. */
int message_take(struct descriptors *descriptors, unsigned i);

/* Whether something can be read at once: bytes, or the end. */
bool message_waits(int socket);

/* The same, after waiting for it: until the deadline, but a tenth of a second at most. */
bool message_comes(int socket, uint64_t deadline);

/* Sends the header, whose size it fills in, and the parts behind it. Only this returns -EINVAL: more
 * descriptors than the kernel takes. */
int message_send(int socket, struct vfio_user_header *header, const struct iovec *parts, unsigned count,
                 const int *fds, unsigned fd_count, uint64_t deadline);

/* The header of the next message, and the descriptors that came with it. */
int message_receive(int socket, struct vfio_user_header *header, struct descriptors *descriptors,
                    uint64_t deadline);

/* Bytes of what follows it. */
int message_receive_bytes(int socket, void *bytes, size_t size, uint64_t deadline);

#endif
