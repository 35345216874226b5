/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Serves a model over a vfio-user socket, to one client at a time. What the client sends is not trusted: a
 * command that makes no sense is refused, and what is no message at all ends the connection.
 */
#ifndef MODEL_SERVER_H
#define MODEL_SERVER_H

#include "model.h"

struct server_options {
    const char *path;
    bool spin; /* look at shared registers all the time; else none are shared, and each access is a message */
    bool copies; /* take no memory by descriptor: all DMA by messages */
    bool single; /* offer no twin socket */
    bool once;   /* end when the first client has gone */
};

struct server;

/* Listens on the socket. A socket that is left of a server which has ended is replaced. Errors, said why:
 * -EADDRINUSE and whatever Linux answers. */
int server_open(const struct server_options *options, struct server **server);
void server_close(struct server *server);

/* The world for the model that it is to serve. */
struct world *server_world(struct server *server);

/* Serves until `ended` says so, or the first client has gone if that was asked. Errors: -ENOMEM. */
int server_run(struct server *server, struct model *model, bool (*ended)(void));

#endif
