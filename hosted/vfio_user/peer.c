/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See peer.h. The other side may send commands at any time, also to a driver that spins on its rings and
 * never calls us: so they are served by a thread, which sleeps until one comes. The lock of the socket is
 * held from a question to its answer; where there is no twin the thread takes it to serve a command, and
 * whoever waits for an answer serves those that come first.
 */
#define _GNU_SOURCE
#include "peer.h"
#include "../cores.h"
#include "../reason.h"
#include "../state.h"
#include "../thread.h"
#include "json.h"
#include "patience.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/log.h>

/* For the rest of a message that has begun, and for answers that nobody has time for any more. */
#define PATIENCE (5 * CHALK_S)

/* For an answer, unless an option says otherwise. After SLOW a message says that it takes long. */
#define DEFAULT_PATIENCE (60 * CHALK_S)
#define SLOW             (5 * CHALK_S)

/* A version message has a few hundred bytes. */
#define VERSION_MAX 4096

struct peer {
    struct chalk_device *device;
    int socket;
    int twin;                /* where its commands come; -1: on the socket */
    pthread_mutex_t lock;    /* recursive */
    pthread_mutex_t serving; /* the twin: a command of its is under way */
    uint64_t patience;       /* ns */
    pid_t pid;               /* of who listened; 0 if it is not to be seen from here */
    uint16_t id;             /* of the last question */
    atomic_bool gone, closing;
    uint64_t reconnect; /* ns; 0: it is not waited for */
    int (*restore)(struct chalk_device *device);
    atomic_bool down; /* it has ended, and may come back */
    bool restoring;
    bool quiet;   /* it is only tried whether it has come back */
    bool refused; /* one of its commands */
    uint32_t max_fds, max_data, max_maps;
    pthread_t thread;
    int kick; /* an eventfd that wakes the thread; -1: there is no thread */
};

bool peer_gone(const struct peer *peer)
{
    return atomic_load(&peer->gone);
}

unsigned peer_max_fds(const struct peer *peer)
{
    return peer->max_fds;
}

size_t peer_max_data(const struct peer *peer)
{
    return peer->max_data;
}

unsigned peer_max_maps(const struct peer *peer)
{
    return peer->max_maps;
}

uint64_t peer_patience(const struct peer *peer)
{
    return peer->patience;
}

void peer_lock(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
}

void peer_unlock(struct peer *peer)
{
    pthread_mutex_unlock(&peer->lock);
}

void peer_reconnects(struct peer *peer, uint64_t ns, int (*restore)(struct chalk_device *device))
{
    peer_lock(peer);
    peer->restore = restore;
    peer->reconnect = ns;
    peer_unlock(peer);
}

/* What the caller hears of an error on the socket: who has closed it is gone. */
static int outcome(int error)
{
    return error == -ECONNRESET ? -ENODEV : error;
}

/* What is said of a process that may come back. Returns -ERESTART, which is not for callers. */
static int wait_for_it(struct peer *peer)
{
    if (!atomic_exchange(&peer->down, true))
        chalk_log(CHALK_WARNING,
                  "%s: its process has closed the connection; %llu s are waited for it to come back",
                  peer->device->name, (unsigned long long)(peer->reconnect / CHALK_S));
    return -ERESTART;
}

/* Ends the connection, and says why, unless it has ended. Returns the error. */
static int break_off(struct peer *peer, int error, const char *what)
{
    if (peer->quiet) {
        atomic_store(&peer->gone, true);
        return outcome(error);
    }
    if (error == -ECONNRESET && peer->reconnect != 0 && !peer_gone(peer) && !atomic_load(&peer->closing))
        return wait_for_it(peer);
    if (atomic_exchange(&peer->gone, true) || atomic_load(&peer->closing))
        return outcome(error);
    if (error == -ECONNRESET)
        chalk_log(CHALK_ERROR, "%s: the process that has this device has closed the connection",
                  peer->device->name);
    else if (error == -ETIMEDOUT)
        chalk_log(CHALK_ERROR,
                  "%s: its process does not answer, and the time is up; CHALK_PATIENCE=SECONDS gives it more",
                  peer->device->name);
    else
        chalk_log(CHALK_ERROR, "%s: connection closed: %s", peer->device->name,
                  error == -EPROTO ? what : hosted_reason(error));
    shutdown(peer->socket, SHUT_RDWR);
    if (peer->twin >= 0)
        shutdown(peer->twin, SHUT_RDWR);
    (void)hosted_device_gone(peer->device); /* whatever its shared registers hold now */
    return outcome(error);
}

int peer_give_up(struct peer *peer, const char *what)
{
    return break_off(peer, -EPROTO, what);
}

/* ---- its commands ---- */

/* Moves the data of a command between `bytes` and our memory. */
static int move(struct peer *peer, const struct vfio_user_header *header,
                const struct vfio_user_dma_access *access, void *bytes, size_t size)
{
    bool writes = header->command == VFIO_USER_DMA_WRITE;

    if (!writes && header->command != VFIO_USER_DMA_READ)
        return -ENOTSUP;
    if (access->count > VFIO_USER_DATA_MAX || size != sizeof *access + (writes ? access->count : 0))
        return -EINVAL;
    return hosted_domain_move(peer->device->domain, access->address, bytes, access->count, writes);
}

/* Said once: whoever asks for what is not his may ask for ever. */
static void say_refused(struct peer *peer, const struct vfio_user_header *header,
                        const struct vfio_user_dma_access *access)
{
    if (!peer->refused)
        chalk_log(CHALK_ERROR,
                  "%s: access denied: its process tried to %s %llu bytes at device address 0x%llx",
                  peer->device->name, header->command == VFIO_USER_DMA_WRITE ? "write" : "read",
                  (unsigned long long)access->count, (unsigned long long)access->address);
    peer->refused = true;
}

/* Bytes for the data of a command, of which `received` come with it, or of its reply; never 0. */
static size_t room_for(const struct vfio_user_header *header, const struct vfio_user_dma_access *access,
                       size_t received)
{
    bool reads = header->command == VFIO_USER_DMA_READ && access->count <= VFIO_USER_DATA_MAX;

    return 1 + (reads && access->count > received ? access->count : received);
}

/* Serves the command whose header has come. */
static int serve(struct peer *peer, int socket, const struct vfio_user_header *header)
{
    size_t size = header->size - sizeof *header;
    struct vfio_user_dma_access access = {0};
    size_t head = size < sizeof access ? size : sizeof access;
    struct vfio_user_header reply = {.id = header->id, .command = header->command, .flags = VFIO_USER_REPLY};
    uint64_t deadline = chalk_deadline(PATIENCE);
    char *bytes = NULL;
    int error = 0;

    if ((header->flags & VFIO_USER_TYPE) != 0 || header->size < sizeof *header ||
        size > sizeof access + VFIO_USER_DATA_MAX)
        return break_off(peer, -EPROTO, "malformed command");
    error = message_receive_bytes(socket, &access, head, deadline);
    if (error == 0) {
        bytes = malloc(room_for(header, &access, size - head));
        error = bytes != NULL ? message_receive_bytes(socket, bytes, size - head, deadline) : -ENOMEM;
    }
    if (error == 0) {
        int refused = move(peer, header, &access, bytes, size);

        if (refused != 0) {
            say_refused(peer, header, &access);
            reply.flags |= VFIO_USER_ERROR;
            reply.error = (uint32_t)-refused;
        }
        if ((header->flags & VFIO_USER_NO_REPLY) == 0) {
            const struct iovec parts[] = {{&access, sizeof access},
                                          {bytes, header->command == VFIO_USER_DMA_READ ? access.count : 0}};

            error = message_send(socket, &reply, parts, refused != 0 ? 0 : 2, NULL, 0, deadline);
        }
    }
    free(bytes);
    return error != 0 ? break_off(peer, error, NULL) : 0;
}

static int serve_next(struct peer *peer, int socket)
{
    struct vfio_user_header header;
    struct descriptors descriptors;
    int error = message_receive(socket, &header, &descriptors, chalk_deadline(PATIENCE));

    if (error != 0)
        return break_off(peer, error, "it sent too many descriptors");
    message_drop(&descriptors);
    return serve(peer, socket, &header);
}

/* Without a twin, what comes while nobody waits for an answer is a command. */
static void serve_between(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    if (!peer_gone(peer) && !atomic_load(&peer->down) && message_waits(peer->socket))
        serve_next(peer, peer->socket);
    pthread_mutex_unlock(&peer->lock);
}

static int come_back(struct peer *peer);

static void *serve_all(void *argument)
{
    struct peer *peer = argument;
    struct pollfd polls[] = {{.fd = peer->kick, .events = POLLIN},
                             {.fd = peer->twin >= 0 ? peer->twin : peer->socket, .events = POLLIN}};
    eventfd_t kicks;

    while (!peer_gone(peer)) {
        if (poll(polls, 2, -1) <= 0)
            continue;
        if (polls[0].revents != 0 && eventfd_read(peer->kick, &kicks) == 0 && atomic_load(&peer->closing))
            break;
        if (atomic_load(&peer->down)) {
            peer_lock(peer);
            (void)come_back(peer);
            peer_unlock(peer);
        } else if (peer->twin >= 0) {
            pthread_mutex_lock(&peer->serving);
            if (!atomic_load(&peer->down) &&
                message_waits(peer->twin)) /* it may be another one than was polled */
                serve_next(peer, peer->twin);
            pthread_mutex_unlock(&peer->serving);
        } else {
            serve_between(peer);
        }
    }
    return NULL;
}

static int start_serving(struct peer *peer)
{
    int error;

    peer->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (peer->kick < 0)
        return -errno;
    error = hosted_thread_start(&peer->thread, serve_all, peer);
    if (error != 0) {
        close(peer->kick);
        peer->kick = -1;
    }
    return error;
}

/* ---- our questions ---- */

/* What Linux says that the process does (proc(5)). */
static const char *doing(pid_t pid)
{
    char path[48], text[256] = "";
    const char *state;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return "has left it to another one";
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    state = strrchr(text, ')'); /* the name before it can have anything in it */
    if (state == NULL || state[1] == '\0')
        return "runs";
    switch (state[2]) {
    case 'T':
    case 't':
        return "is stopped (SIGCONT continues it)";
    case 'D':
        return "waits for a disk";
    case 'S':
        return "sleeps";
    case 'R':
        return "is busy";
    default:
        return "is ending";
    }
}

static void say_slow(const struct peer *peer, uint64_t deadline)
{
    uint64_t now = chalk_ticks();

    chalk_log(CHALK_WARNING,
              "%s: its process %d has the socket open, %s, and does not answer; %llu s more are waited",
              peer->device->name, (int)peer->pid, doing(peer->pid),
              (unsigned long long)(deadline > now ? chalk_ticks_to_ns(deadline - now) / CHALK_S : 0));
}

/*
 * Waits until the other side says something, or ends. As long as its socket is open it is slow, and not gone.
 * A program that was asked to end does not wait for a slow one.
 */
static int await(struct peer *peer, uint64_t deadline)
{
    uint64_t slow = chalk_deadline(SLOW);
    bool said = false;

    while (!message_comes(peer->socket, deadline)) {
        if (chalk_expired(deadline) || (said && chalk_exit_requested()))
            return break_off(peer, -ETIMEDOUT, NULL);
        if (said || !chalk_expired(slow))
            continue;
        say_slow(peer, deadline);
        said = true;
    }
    return 0;
}

/* The reply to the question that was just sent. */
static int receive_header(struct peer *peer, struct vfio_user_header *header, struct descriptors *descriptors,
                          uint64_t deadline)
{
    for (;;) {
        int error = await(peer, deadline);

        if (error != 0)
            return error;
        error = message_receive(peer->socket, header, descriptors, chalk_deadline(PATIENCE));
        if (error != 0)
            return break_off(peer, error, "it sent too many descriptors");
        if ((header->flags & VFIO_USER_TYPE) != 0 || peer->twin >= 0)
            return 0;
        message_drop(descriptors); /* a command, and none that brings any */
        error = serve(peer, peer->socket, header);
        if (error == 0 && chalk_expired(deadline)) /* as long as something comes, nothing else looks at it */
            error = break_off(peer, -ETIMEDOUT, NULL);
        if (error != 0)
            return error;
    }
}

static const char *what_is_wrong(const struct peer *peer, const struct question *question,
                                 const struct vfio_user_header *header, unsigned descriptors)
{
    size_t size = header->size - sizeof *header;

    if ((header->flags & VFIO_USER_TYPE) != VFIO_USER_REPLY)
        return "malformed reply";
    if (header->id != peer->id || header->command != question->command)
        return "its reply is to another question";
    if (header->size < sizeof *header)
        return "it sent a message that is shorter than its header";
    if (size < question->least && (header->flags & VFIO_USER_ERROR) == 0)
        return "its reply is too short";
    if (size > question->reply[0].iov_len + question->reply[1].iov_len)
        return "its reply is too long";
    return descriptors > 0 && question->descriptors == NULL ? "it sent descriptors that were not asked for"
                                                            : NULL;
}

static int receive_reply(struct peer *peer, const struct question *question, uint64_t deadline)
{
    struct vfio_user_header header;
    struct descriptors descriptors;
    int error = receive_header(peer, &header, &descriptors, deadline);
    const char *wrong;
    size_t left;

    if (error != 0)
        return error;
    wrong = what_is_wrong(peer, question, &header, descriptors.count);
    if (wrong != NULL) {
        message_drop(&descriptors);
        return break_off(peer, -EPROTO, wrong);
    }
    left = header.size - sizeof header;
    for (unsigned i = 0; i < 2 && error == 0; i++) {
        size_t size = left < question->reply[i].iov_len ? left : question->reply[i].iov_len;

        error = message_receive_bytes(peer->socket, question->reply[i].iov_base, size, deadline);
        left -= size;
    }
    if (error != 0) {
        message_drop(&descriptors);
        return break_off(peer, error, NULL);
    }
    if ((header.flags & VFIO_USER_ERROR) != 0) { /* libvfio-user sends a payload even with that */
        message_drop(&descriptors);
        return header.error > 0 && header.error < 4096 ? -(int)header.error : -EIO;
    }
    if (question->descriptors != NULL)
        *question->descriptors = descriptors;
    return 0;
}

static int send_question(struct peer *peer, const struct question *question, uint32_t flags,
                         uint64_t deadline)
{
    struct vfio_user_header header = {
        .id = ++peer->id, .command = (uint16_t)question->command, .flags = flags};
    int error =
        message_send(peer->socket, &header, question->parts, 2, question->fds, question->fd_count, deadline);

    return error != 0 ? break_off(peer, error, NULL) : 0;
}

/* Whether it can be asked; it may have to come back first. */
static int ready(struct peer *peer)
{
    return peer_gone(peer) ? -ENODEV : atomic_load(&peer->down) ? come_back(peer) : 0;
}

/* Who has come back is asked again, but for what was to be done once. */
static int ask(struct peer *peer, struct question *question, uint32_t flags, uint64_t deadline)
{
    int error;

    for (;;) {
        error = ready(peer);
        if (error == 0)
            error = send_question(peer, question, flags, deadline);
        if (error == 0 && (flags & VFIO_USER_NO_REPLY) == 0)
            error = receive_reply(peer, question, deadline);
        if (error != -ERESTART)
            return error;
        if (peer->restoring)
            return -ECONNRESET;
        if (question->once)
            return ready(peer);
        deadline = chalk_deadline(peer->patience);
    }
}

int peer_ask(struct peer *peer, struct question *question, uint64_t deadline)
{
    int error;

    peer_lock(peer);
    error = ask(peer, question, 0, deadline);
    peer_unlock(peer);
    return error;
}

/* Without a twin it could wait for us to serve a command while we wait for it to read. */
int peer_tell(struct peer *peer, struct question *question, uint64_t deadline)
{
    int error;

    peer_lock(peer);
    error = ask(peer, question, peer->twin < 0 ? 0 : VFIO_USER_NO_REPLY, deadline);
    peer_unlock(peer);
    return error;
}

/* ---- the beginning ---- */

/* This user may not connect to the socket. Permission helps only if check_listener() would go on then. */
static void explain_permission(const char *name, const char *path, const struct stat *status)
{
    if (status->st_uid != 0 && status->st_uid != geteuid())
        chalk_log(
            CHALK_ERROR,
            "%s cannot be opened: the socket is of user %u, and a device's process has to be of root or "
            "of user %u: run both as the same user",
            name, (unsigned)status->st_uid, (unsigned)geteuid());
    else
        chalk_log(CHALK_ERROR,
                  "%s cannot be opened: no permission for %s; its owner gives it with: chmod o+w %s", name,
                  path, path);
}

static int cannot_connect(struct peer *peer, const char *path, int error)
{
    const char *name = peer->device->name;
    struct stat status;
    bool found = stat(path, &status) == 0;

    if ((error == -ECONNREFUSED || error == -EACCES) && found && !S_ISSOCK(status.st_mode))
        chalk_log(
            CHALK_ERROR,
            "%s cannot be opened: %s is not a socket; name the one that the device's process listens on",
            name, path);
    else if (error == -ENOENT)
        chalk_log(CHALK_ERROR, "%s cannot be opened: there is no socket %s; is the device's process running?",
                  name, path);
    else if (error == -ECONNREFUSED)
        chalk_log(CHALK_ERROR,
                  "%s cannot be opened: no process listens on %s: the one that made it "
                  "has ended",
                  name, path);
    else if (error == -EACCES && found)
        explain_permission(name, path, &status);
    else if (error == -EAGAIN)
        chalk_log(CHALK_ERROR, "%s cannot be opened: its process serves another client", name);
    else
        chalk_log(CHALK_ERROR, "%s cannot be opened: %s: %s", name, path, hosted_reason(error));
    return error == -ENOENT || error == -ECONNREFUSED ? -ENODEV : error == -EAGAIN ? -EBUSY : error;
}

static int connect_to(struct peer *peer, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = -EINVAL;

    if (strlen(path) < sizeof address.sun_path && path[0] != '\0') {
        strcpy(address.sun_path, path);
        peer->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (peer->socket >= 0 && connect(peer->socket, (struct sockaddr *)&address, sizeof address) == 0)
            return 0;
        error = -errno;
    }
    return peer->quiet ? error : cannot_connect(peer, path, error);
}

/*
 * Who listens is let into our memory, and can be whoever may write to the socket's folder. This user's
 * processes and root's can do as much without being asked. Linux keeps who called listen() (unix(7)).
 */
static int check_listener(struct peer *peer)
{
    struct ucred who;
    socklen_t size = sizeof who;

    if (getsockopt(peer->socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return -errno;
    peer->pid = who.pid;
    if (who.uid == 0 || who.uid == geteuid())
        return 0;
    if (peer->quiet)
        return -EACCES;
    chalk_log(
        CHALK_ERROR,
        "%s cannot be opened: process %d of user %u listens there, and it would get this program's memory;\n"
        "  a device's process has to be of root or of user %u: run both as the same user",
        peer->device->name, (int)who.pid, (unsigned)who.uid, (unsigned)geteuid());
    return -EACCES;
}

/* What the other side can do is in its reply, in JSON; all of it is optional. */
static int read_capabilities(struct peer *peer, const char *text, struct descriptors *descriptors)
{
    bool twin = false;
    uint32_t index;

    if (!json_valid(text))
        return break_off(peer, -EPROTO, "malformed version message: invalid JSON");
    json_number(text, "capabilities.max_msg_fds", &peer->max_fds);
    json_number(text, "capabilities.max_data_xfer_size", &peer->max_data);
    json_number(text, "capabilities.max_dma_maps", &peer->max_maps);
    if (peer->max_data < 8)
        return break_off(peer, -EPROTO, "it takes less than 8 bytes in a message");
    json_boolean(text, "capabilities.twin_socket.supported", &twin);
    if (!twin)
        return 0;
    if (json_number(text, "capabilities.twin_socket.fd_index", &index))
        peer->twin = message_take(descriptors, index);
    return peer->twin < 0 ? break_off(peer, -EPROTO, "it offered a twin socket, and sent none") : 0;
}

static int agree(struct peer *peer)
{
    char ours[256], theirs[VERSION_MAX + 1] = "";
    struct vfio_user_version proposed = {VFIO_USER_MAJOR, VFIO_USER_MINOR}, version;
    struct descriptors descriptors = {0};
    int length = snprintf(ours, sizeof ours,
                          "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
                          "\"twin_socket\":{\"supported\":true}}}",
                          MESSAGE_FDS, VFIO_USER_DATA_MAX);
    int error = peer_ask(peer,
                         &(struct question){
                             .command = VFIO_USER_VERSION,
                             .parts = {{&proposed, sizeof proposed}, {ours, (size_t)length + 1}},
                             .reply = {{&version, sizeof version}, {theirs, VERSION_MAX}},
                             .least = sizeof version,
                             .descriptors = &descriptors,
                         },
                         chalk_deadline(peer->patience));

    if (error != 0 && peer->quiet) {
        message_drop(&descriptors);
        return error;
    }
    if (error == 0 && (version.major != VFIO_USER_MAJOR || version.minor > VFIO_USER_MINOR)) {
        chalk_log(CHALK_ERROR, "%s: its process speaks version %u.%u of vfio-user, and Chalk %u.%u",
                  peer->device->name, version.major, version.minor, VFIO_USER_MAJOR, VFIO_USER_MINOR);
        error = -EPROTO;
    } else if (error == 0 && theirs[0] != '\0') {
        error = read_capabilities(peer, theirs, &descriptors);
    } else if (error == -EBUSY && !peer_gone(peer)) {
        chalk_log(CHALK_ERROR, "%s is in use: its process serves another program, and one at a time",
                  peer->device->name);
    } else if (error != 0 && !peer_gone(peer)) {
        chalk_log(CHALK_ERROR, "%s: its process refuses version %u.%u of vfio-user: %s", peer->device->name,
                  VFIO_USER_MAJOR, VFIO_USER_MINOR, strerror(-error));
    }
    message_drop(&descriptors);
    return error;
}

static struct peer *make(struct chalk_device *device)
{
    struct peer *made = calloc(1, sizeof *made);
    pthread_mutexattr_t recursive;

    if (made == NULL)
        return NULL;
    made->device = device;
    made->patience = patience_for(hosted_options()->patience, device->name, DEFAULT_PATIENCE);
    made->socket = made->twin = made->kick = -1;
    made->max_fds = VFIO_USER_FDS_MAX;
    made->max_data = VFIO_USER_DATA_MAX;
    made->max_maps = VFIO_USER_MAPS_MAX;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&made->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_mutex_init(&made->serving, NULL);
    return made;
}

static int begin(struct peer *peer, const char *path)
{
    int error = connect_to(peer, path);

    if (error == 0)
        error = check_listener(peer);
    return error == 0 ? agree(peer) : error;
}

int peer_open(struct chalk_device *device, const char *path, struct peer **peer)
{
    struct peer *made = make(device);
    int error;

    if (made == NULL)
        return -ENOMEM;
    error = begin(made, path);
    if (error == 0) {
        error = start_serving(made);
        if (error != 0)
            chalk_log(CHALK_ERROR, "%s cannot be opened: %s", device->name, hosted_reason(error));
    }
    if (error != 0) {
        peer_close(made);
        return error;
    }
    *peer = made;
    return 0;
}

void peer_close(struct peer *peer)
{
    atomic_store(&peer->closing, true);
    shutdown(peer->socket, SHUT_RDWR); /* whatever the thread waits for comes to an end */
    if (peer->twin >= 0)
        shutdown(peer->twin, SHUT_RDWR);
    if (peer->kick >= 0) {
        eventfd_write(peer->kick, 1);
        pthread_join(peer->thread, NULL);
        close(peer->kick);
    }
    if (peer->twin >= 0)
        close(peer->twin);
    if (peer->socket >= 0)
        close(peer->socket);
    pthread_mutex_destroy(&peer->lock);
    pthread_mutex_destroy(&peer->serving);
    free(peer);
}

/* ---- again ---- */

/* How often it is tried. */
#define TRY_EVERY (50 * CHALK_MS)

/* The new connection takes the old one's descriptors, which the thread polls. */
static int replace_sockets(struct peer *peer, const struct peer *fresh)
{
    if ((peer->twin < 0) != (fresh->twin < 0)) {
        chalk_log(
            CHALK_ERROR,
            "%s: the process that has come back offers %s twin socket, unlike the one before, so it cannot "
            "take its place",
            peer->device->name, fresh->twin < 0 ? "no" : "a");
        return -EPROTO;
    }
    if (dup3(fresh->socket, peer->socket, O_CLOEXEC) < 0 ||
        (peer->twin >= 0 && dup3(fresh->twin, peer->twin, O_CLOEXEC) < 0))
        return -errno;
    eventfd_write(peer->kick, 1); /* a poll goes on with the sockets that it began with */
    peer->max_fds = fresh->max_fds;
    peer->max_data = fresh->max_data;
    peer->max_maps = fresh->max_maps;
    peer->pid = fresh->pid;
    return 0;
}

/* What it was connected to stays so, through other descriptors. */
static void discard(struct peer *fresh)
{
    if (fresh->socket >= 0)
        close(fresh->socket);
    if (fresh->twin >= 0)
        close(fresh->twin);
    pthread_mutex_destroy(&fresh->lock);
    pthread_mutex_destroy(&fresh->serving);
    free(fresh);
}

static int try_once(struct peer *peer)
{
    struct peer *fresh = make(peer->device);
    int error = -ENOMEM;

    if (fresh != NULL) {
        fresh->quiet = true;
        error = begin(fresh, peer->device->name + strlen(HOSTED_VFIO_USER));
        if (error == 0)
            error = replace_sockets(peer, fresh);
        discard(fresh);
    }
    if (error != 0)
        return error;
    atomic_store(&peer->down, false);
    peer->restoring = true;
    error = peer->restore(peer->device);
    peer->restoring = false;
    if (error != 0 && !peer_gone(peer))
        atomic_store(&peer->down, true);
    return error;
}

/* Under the lock: whoever asks something waits, too. */
static int come_back(struct peer *peer)
{
    uint64_t deadline = chalk_deadline(peer->reconnect);
    int error = -ETIMEDOUT;

    pthread_mutex_lock(&peer->serving);
    while (atomic_load(&peer->down) && !peer_gone(peer)) {
        if (chalk_expired(deadline) || atomic_load(&peer->closing) || chalk_exit_requested() ||
            error == -EPROTO) {
            peer->reconnect = 0; /* it is gone */
            (void)break_off(peer, -ECONNRESET, NULL);
            break;
        }
        error = try_once(peer);
        if (error != 0)
            nanosleep(&(struct timespec){.tv_nsec = TRY_EVERY}, NULL);
    }
    pthread_mutex_unlock(&peer->serving);
    if (peer_gone(peer) || error != 0)
        return -ENODEV;
    chalk_log(CHALK_WARNING, "%s: its process has come back; the device is as after a reset",
              peer->device->name);
    hosted_cores_wake();
    return 0;
}
