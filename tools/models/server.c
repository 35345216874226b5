/* SPDX-License-Identifier: BSD-2-Clause */
/* See server.h. One thread does it all: it waits for the client, for the model's time and for its files, or,
 * when it is to spin, runs the model over and over and looks up from it now and then. */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/log.h>

#include "hosted/memory.h"

/* How long a spinning server does not look at its socket. */
#define LOOK_UP_NS 50000

/* How long a client has for its first message: meanwhile no other is served. */
#define AGREE_PATIENCE (5 * CHALK_S)

/* How many messages are served in a row. Then it is the model's turn: a client that polls a register asks
 * again as fast as it is answered. */
#define MESSAGES 16

/* ---- the socket ---- */

static int failed(const char *path, const char *why)
{
    int error = -errno;

    chalk_log(CHALK_ERROR, "cannot listen on %s: %s", path, why != NULL ? why : strerror(-error));
    return error;
}

/* A socket on which nobody listens is what a server that was killed has left. */
static int replace(int fd, const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat status;
    bool dead;

    if (stat(address->sun_path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
        if (probe >= 0)
            close(probe);
        errno = EADDRINUSE;
        return failed(address->sun_path, "there is a file of that name, and it is no socket");
    }
    dead = probe >= 0 && connect(probe, (const struct sockaddr *)address, sizeof *address) != 0 &&
           errno == ECONNREFUSED;
    if (probe >= 0)
        close(probe);
    if (!dead) {
        errno = EADDRINUSE;
        return failed(address->sun_path, "another process does; choose another path, or end that one");
    }
    unlink(address->sun_path);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return failed(address->sun_path, NULL);
    return 0;
}

static int listen_on(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = 0;

    if (fd < 0)
        return failed(path, NULL);
    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path) {
        errno = path[0] == '\0' ? EINVAL : ENAMETOOLONG;
        return failed(path, NULL);
    }
    strcpy(address.sun_path, path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        error = errno == EADDRINUSE ? replace(fd, &address) : failed(path, NULL);
    if (error == 0 && listen(fd, 8) != 0)
        error = failed(path, NULL);
    return error;
}

/* ---- life ---- */

int server_open(const struct server_options *options, struct server **server)
{
    struct server *made = calloc(1, sizeof *made);
    int error;

    if (made == NULL)
        return -ENOMEM;
    made->options = *options;
    made->world.ops = &server_world_ops;
    made->client = made->twin = made->visitor = made->nothing = -1;
    memset(made->vectors, 0xff, sizeof made->vectors);
    memset(made->shared, 0xff, sizeof made->shared);
    made->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    error = eventfds_open(made);
    if (error == 0)
        error = listen_on(made->listener, options->path);
    if (error != 0) {
        eventfds_close(made);
        if (made->listener >= 0)
            close(made->listener);
        free(made);
        return error;
    }
    *server = made;
    return 0;
}

struct world *server_world(struct server *server)
{
    return &server->world;
}

/* What has gone with the client; the device is as it was after power on. */
static void hang_up(struct server *server, int error)
{
    if (error == -EPROTO)
        chalk_log(CHALK_ERROR, "%s: malformed message from the client: connection closed",
                  server->options.path);
    else if (error == -EFAULT)
        chalk_log(CHALK_ERROR, "%s: the client has cut short memory that it had lent: connection closed",
                  server->options.path);
    else if (error == -ETIMEDOUT && !server->agreed)
        chalk_log(CHALK_ERROR, "%s: a client has connected and sends nothing: connection closed",
                  server->options.path);
    else if (error == -ETIMEDOUT)
        chalk_log(CHALK_ERROR, "%s: the client does not answer: connection closed", server->options.path);
    else if (error == -ECONNABORTED)
        chalk_log(CHALK_INFO, "%s: connection closed, as the script says", server->options.path);
    else if (error != -ECONNRESET)
        chalk_log(CHALK_ERROR, "%s: connection closed: %s", server->options.path, strerror(-error));
    if (server->client >= 0)
        close(server->client);
    if (server->twin >= 0)
        close(server->twin);
    server->client = server->twin = -1;
    server->agreed = false;
    server->robbed = false;
    server->broken = 0;
    commands_forget(server);
    for (unsigned i = 0; i < SERVER_VECTORS; i++) {
        if (server->vectors[i] >= 0)
            close(server->vectors[i]);
        server->vectors[i] = -1;
    }
    model_power_on(server->model);
    memory_return_all(server);
}

void server_close(struct server *server)
{
    for (unsigned bar = 0; bar < MODEL_BARS; bar++)
        if (server->shared[bar] >= 0) {
            munmap(server->model->shared[bar], server->model->class->bars[bar].shared_size);
            close(server->shared[bar]);
        }
    if (server->visitor >= 0)
        close(server->visitor);
    eventfds_close(server);
    close(server->listener);
    unlink(server->options.path);
    free(server);
}

/* Memory for the registers that both sides see. The client cannot make it shorter under us; a script can. */
static int share(struct server *server, unsigned bar)
{
    const struct model_bar *wanted = &server->model->class->bars[bar];
    void *va = MAP_FAILED;
    char why[160];
    int fd;

    if (!hosted_memory_file_fits(wanted->size, why, sizeof why)) {
        chalk_log(CHALK_ERROR, "no memory for registers: %s", why);
        return -EFBIG;
    }
    fd = memfd_create("registers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, (off_t)wanted->size) == 0 &&
        fcntl(fd, F_ADD_SEALS,
              (server->model->script == NULL ? F_SEAL_SHRINK : 0) | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        va = mmap(NULL, wanted->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  (off_t)wanted->shared_offset);
    if (va == MAP_FAILED) {
        int error = -errno;

        if (fd >= 0)
            close(fd);
        return error;
    }
    server->shared[bar] = fd;
    server->model->shared[bar] = va;
    return 0;
}

/* ---- serving ---- */

/* Serves what can be read now, or the first of it. */
static int look(struct server *server)
{
    int error = commands_serve_waiting(server);

    for (unsigned i = 0; i < MESSAGES && error == 0 && server->client >= 0 && message_waits(server->client);
         i++) {
        error = commands_serve(server);
        if (error == 0)
            error = commands_serve_waiting(server);
    }
    if (error == 0 && server->model->script != NULL)
        error = hostile_deeds(server);
    if (error == 0 && server->robbed)
        error = -EFAULT;
    if (error == 0 && !server->agreed && chalk_expired(server->agree_deadline))
        error = -ETIMEDOUT;
    if (error == 0 && server->client >= 0)
        visitors_look(server);
    return error != 0 ? error : server->client < 0 ? server->broken : 0;
}

/* Runs the model for a while, at the speed of the machine. */
static void spin(struct server *server)
{
    uint64_t until = chalk_deadline(LOOK_UP_NS);
    struct model *model = server->model;

    do {
        for (unsigned i = 0; i < 64; i++)
            if (!model_run(model))
                chalk_pause();
    } while (!chalk_expired(until));
}

static int timeout_ms(struct server *server)
{
    uint64_t now = model_now(server->model), due = model_due(server->model);

    if (due <= now)
        return 0;
    return due - now < CHALK_S ? (int)((due - now) / CHALK_MS) + 1 : 1000;
}

/* Sleeps until there is something to do. */
static void wait_for_work(struct server *server)
{
    struct pollfd polls[] = {
        {.fd = server->client, .events = POLLIN},
        {.fd = server->client >= 0 ? server->model->wake : -1, .events = POLLIN},
        {.fd = server->visitor >= 0 ? server->visitor : server->listener, .events = POLLIN},
    };

    poll(polls, 3, server->waiting != NULL ? 0 : server->client >= 0 ? timeout_ms(server) : 1000);
}

static int serve_client(struct server *server, bool (*ended)(void))
{
    struct model *model = server->model;
    int error = 0;

    while (error == 0 && !ended()) {
        if (server->options.spin && server->agreed)
            spin(server);
        else
            wait_for_work(server);
        error = look(server);
        while (error == 0 && server->client >= 0 && model_run(model))
            if (message_waits(server->client))
                break;
    }
    return error != 0 ? error : -ECONNRESET;
}

int server_run(struct server *server, struct model *model, bool (*ended)(void))
{
    server->model = model;
    for (unsigned bar = 0; bar < MODEL_BARS; bar++)
        if (server->options.spin && model->class->bars[bar].shared_size != 0) {
            int error = share(server, bar);

            if (error != 0)
                return error;
        }
    faults_open(server);
    model_power_on(model); /* it looks at what is shared from now on */
    while (!ended()) {
        wait_for_work(server);
        server->client = visitors_next(server);
        if (server->client < 0)
            continue;
        server->agree_deadline = chalk_deadline(AGREE_PATIENCE);
        hang_up(server, serve_client(server, ended));
        if (server->options.once)
            break;
    }
    faults_close();
    return 0;
}
