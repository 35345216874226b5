/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that come while another one is served: they are told so, one after the other, without any wait. */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chalk/clock.h>

/* For its first message. */
#define PATIENCE CHALK_S

static bool has_left(int socket)
{
    struct pollfd poll_one = {.fd = socket, .events = POLLRDHUP};

    return poll(&poll_one, 1, 0) > 0;
}

static void send_away(struct server *server)
{
    if (server->visitor >= 0)
        close(server->visitor);
    server->visitor = -1;
}

/* The answer to whatever it asked first. What it sent is taken, as the answer to bytes that nobody took is a
 * connection reset. */
static void say_busy(struct server *server, const struct vfio_user_header *asked)
{
    struct vfio_user_header header = {.id = asked->id,
                                      .command = asked->command,
                                      .size = sizeof header,
                                      .flags = VFIO_USER_REPLY | VFIO_USER_ERROR,
                                      .error = EBUSY};
    char bytes[4096];

    while (recv(server->visitor, bytes, sizeof bytes, MSG_DONTWAIT) == (ssize_t)sizeof bytes)
        ;
    send(server->visitor, &header, sizeof header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void visitors_look(struct server *server)
{
    struct vfio_user_header asked;
    ssize_t size;

    if (server->visitor < 0) {
        server->visitor = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        server->visitor_deadline = chalk_deadline(PATIENCE);
    }
    if (server->visitor < 0 || has_left(server->client)) /* then it is served next */
        return;
    size = recv(server->visitor, &asked, sizeof asked, MSG_DONTWAIT | MSG_PEEK);
    if (size == (ssize_t)sizeof asked)
        say_busy(server, &asked);
    if (size >= 0 || errno != EAGAIN || chalk_expired(server->visitor_deadline))
        send_away(server);
}

int visitors_next(struct server *server)
{
    int socket = server->visitor;

    server->visitor = -1;
    return socket >= 0 ? socket : accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
}
