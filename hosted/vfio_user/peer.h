/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process that a device lives in: a connection to it, on which we ask and it answers, and on which, or on
 * a twin of it, it asks for our memory.
 *
 * It is not trusted. Each question has a deadline. What is no answer to it ends the connection with one
 * message that says why; from then on every question is answered with -ENODEV, at once.
 */
#ifndef VFIO_USER_PEER_H
#define VFIO_USER_PEER_H

#include "../device.h"
#include "message.h"

struct peer;

/* What to send, and where the reply goes. */
struct question {
    enum vfio_user_command command;
    bool once;             /* it is not for a process that has come back: done, then */
    struct iovec parts[2]; /* unused ones are empty */
    const int *fds;
    unsigned fd_count;

    struct iovec reply[2];           /* filled in this order */
    size_t least;                    /* bytes of it that have to come */
    struct descriptors *descriptors; /* NULL: none may come */
};

/* Connects, agrees on a version, and begins to serve the other side's commands. Errors: as
 * chalk_device_open(), said why. */
int peer_open(struct chalk_device *device, const char *path, struct peer **peer);
void peer_close(struct peer *peer);

/*
 * From now on, when the process ends, it is waited for: reconnected to within `ns`, and told by `restore`
 * what it has to know before anything else is asked. -EPROTO of that: it is another device, and the old one
 * is gone.
 */
void peer_reconnects(struct peer *peer, uint64_t ns, int (*restore)(struct chalk_device *device));

/* Between them nothing else is asked, and the process does not come back: for what is asked and its record.
 */
void peer_lock(struct peer *peer);
void peer_unlock(struct peer *peer);

/* Errors: the other side's own; -ETIMEDOUT, -EPROTO, -ENODEV with the connection. */
int peer_ask(struct peer *peer, struct question *question, uint64_t deadline);

/* Sends without waiting for an answer, where the connection allows that; else as peer_ask(). */
int peer_tell(struct peer *peer, struct question *question, uint64_t deadline);

bool peer_gone(const struct peer *peer);

/* How long an answer may take, in ns: see chalk_start_options.patience. */
uint64_t peer_patience(const struct peer *peer);

/* Ends the connection: the other side did `what`, which its answer's form did not show. Returns -EPROTO. */
int peer_give_up(struct peer *peer, const char *what);

/* What the other side can take. */
unsigned peer_max_fds(const struct peer *peer);  /* descriptors in a message */
size_t peer_max_data(const struct peer *peer);   /* bytes of data in a message */
unsigned peer_max_maps(const struct peer *peer); /* mappings */

#endif
