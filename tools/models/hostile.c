/* SPDX-License-Identifier: BSD-2-Clause */
/* What a script has the server do to its client: answers that are none, and files that come to an end. */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <chalk/clock.h>

#define PATIENCE (5 * CHALK_S)
#define FDS_MAX  64

static int send_with_descriptors(struct server *server, struct vfio_user_header *header,
                                 const struct iovec *part, uint64_t count)
{
    unsigned wanted = count < FDS_MAX ? (unsigned)count : FDS_MAX;
    int fds[FDS_MAX], error;

    for (unsigned i = 0; i < wanted; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    error = message_send(server->client, header, part, 1, fds, wanted, chalk_deadline(PATIENCE));
    for (unsigned i = 0; i < wanted; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return error;
}

/* With the size that the header has, whatever follows it. */
static int send_with_size(struct server *server, struct vfio_user_header *header, const struct iovec *part,
                          uint64_t size)
{
    const struct iovec pieces[] = {{header, sizeof *header}, *part};
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = 2};

    header->size = (uint32_t)size;
    return sendmsg(server->client, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static void wait(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    nanosleep(&time, NULL);
}

int hostile_answer(struct server *server, const struct script_rule *rule, struct vfio_user_header *header,
                   struct iovec part, const int *fd)
{
    int error = 0;

    switch (rule->what) {
    case WHAT_IGNORE:
        return 0;
    case WHAT_DESCRIPTORS:
        return send_with_descriptors(server, header, &part, rule->value);
    case WHAT_SIZE:
        return send_with_size(server, header, &part, rule->value);
    case WHAT_LATE:
        wait(rule->value);
        break;
    case WHAT_TWICE:
        error = message_send(server->client, header, &part, 1, NULL, 0, chalk_deadline(PATIENCE));
        break;
    case WHAT_VALUE:
        header->command = (uint16_t)rule->value;
        break;
    case WHAT_ID:
        header->id = (uint16_t)rule->value;
        break;
    case WHAT_STATUS:
        header->flags |= VFIO_USER_ERROR;
        header->error = (uint32_t)rule->value;
        part.iov_len = 0;
        fd = NULL;
        break;
    default:
        part.iov_len = script_spoil(server->model->script, rule, part.iov_base, part.iov_len);
    }
    return error != 0
               ? error
               : message_send(server->client, header, &part, 1, fd, fd != NULL, chalk_deadline(PATIENCE));
}

/* ---- files ---- */

/* We look at a copy from now on; the client at pages that there are not. */
static void truncate_registers(struct server *server)
{
    for (unsigned bar = 0; bar < MODEL_BARS; bar++) {
        size_t size = server->model->class->bars[bar].shared_size;
        void *shared = server->model->shared[bar], *copy;

        if (server->shared[bar] < 0)
            continue;
        copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (copy == MAP_FAILED)
            continue;
        memcpy(copy, shared, size);
        mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, shared);
        if (ftruncate(server->shared[bar], 0) != 0)
            server->model->script->close = true; /* nothing came of it, and nobody is to think so */
    }
}

int hostile_deeds(struct server *server)
{
    struct script *script = server->model->script;

    if (script->truncate)
        truncate_registers(server);
    script->truncate = false;
    if (script->shrink)
        script->trespassed |= memory_shrink(server);
    script->shrink = false;
    return script->close ? -ECONNABORTED : 0;
}
