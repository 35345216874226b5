/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that the client has lent: mapped from its descriptors or, where it sent none, read and written by
 * messages. And, with that, the whole of the model's world. */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chalk/clock.h>

#define PAGE          4096
#define MAPS_MAX      VFIO_USER_MAPS_MAX
#define COPY_PATIENCE (5 * CHALK_S)

/* Of data in a message, whatever the client says: more than 64 KiB some cannot take. */
#define COPY_MAX ((size_t)64 << 10)

/* The most that is put aside of a client which goes on sending commands instead of an answer. */
#define WAITING_MAX ((size_t)16 << 20)

/* ---- lend and return ---- */

/* The lowest that has some of [first, last], or NULL. */
static struct lent *find(const struct server *server, uint64_t first, uint64_t last)
{
    return (struct lent *)(void *)chalk_range_find(&server->lent, first, last);
}

static struct lent *next(const struct server *server, const struct lent *lent)
{
    return (struct lent *)(void *)chalk_range_next(&server->lent, &lent->range);
}

static struct lent *first(const struct server *server)
{
    return find(server, 0, UINT64_MAX);
}

static void changed(struct server *server)
{
    server->world.generation++;
    server->lent_last = NULL;
}

/*
 * Maps what the descriptor has, if it has all of it: touching a page beyond a file's end is a signal. What is
 * not memory (a memfd, tmpfs, hugetlbfs: what has seals) stays with the client, which is asked for it by
 * messages: it may be a file system of its own (FUSE), and fstat() and each access would wait for it.
 *
 * Of hugetlbfs, whole pages are mapped; its block size is its page's (statfs(2)).
 */
static int map_file(struct lent *lent, uint64_t offset, int fd)
{
    int protection = ((lent->flags & VFIO_USER_DMA_READABLE) != 0 ? PROT_READ : 0) |
                     ((lent->flags & VFIO_USER_DMA_WRITEABLE) != 0 ? PROT_READ | PROT_WRITE : 0);
    struct stat status;
    uint64_t page, before;

    if (fcntl(fd, F_GET_SEALS) < 0)
        return 0;
    if (fstat(fd, &status) != 0 || offset % PAGE != 0 || offset > (uint64_t)status.st_size ||
        lent->size > (uint64_t)status.st_size - offset)
        return EINVAL;
    page = status.st_blksize > PAGE ? (uint64_t)status.st_blksize : PAGE;
    before = offset % page;
    lent->mapped_size = (size_t)((before + lent->size + page - 1) / page * page);
    lent->mapped = mmap(NULL, lent->mapped_size, protection, MAP_SHARED, fd, (off_t)(offset - before));
    if (lent->mapped == MAP_FAILED) {
        lent->mapped = NULL;
        return errno;
    }
    lent->va = lent->mapped + before;
    return 0;
}

/* It goes through all of them: it is for a fault, after which the connection ends. */
const struct lent *memory_at(const struct server *server, const void *address)
{
    for (const struct lent *lent = first(server); lent != NULL; lent = next(server, lent))
        if (lent->va != NULL && (uintptr_t)address - (uintptr_t)lent->mapped < lent->mapped_size)
            return lent;
    return NULL;
}

static int insert(struct server *server, const struct lent *lent)
{
    struct lent *entry = malloc(sizeof *entry);

    if (entry == NULL)
        return ENOMEM;
    *entry = *lent;
    entry->range.first = lent->address;
    entry->range.last = lent->address + (lent->size - 1);
    chalk_range_add(&server->lent, &entry->range);
    server->lent_count++;
    changed(server);
    return 0;
}

static int lend(struct server *server, const struct vfio_user_dma_map *map, int fd)
{
    struct lent lent = {.address = map->address, .size = map->size, .flags = map->flags, .fd = -1};
    int error = 0;

    if (map->size == 0 || (map->address | map->size) % PAGE != 0 ||
        map->address + (map->size - 1) < map->address || map->size > PTRDIFF_MAX ||
        (map->flags & ~(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE)) != 0)
        return EINVAL;
    if (find(server, map->address, map->address + (map->size - 1)) != NULL)
        return EEXIST;
    if (server->lent_count == MAPS_MAX)
        return ENOSPC;
    if (fd >= 0 && !server->options.copies)
        error = map_file(&lent, map->offset, fd);
    if (error == 0 && lent.va != NULL && server->model->script != NULL)
        lent.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (error == 0)
        error = insert(server, &lent);
    if (error != 0 && lent.va != NULL)
        munmap(lent.mapped, lent.mapped_size);
    if (error != 0 && lent.fd >= 0)
        close(lent.fd);
    return error;
}

int memory_lend(struct server *server, const struct vfio_user_dma_map *map, int fd)
{
    int error = lend(server, map, fd);

    if (fd >= 0)
        close(fd); /* what is mapped holds on to the file */
    return error;
}

static void forget(struct server *server, struct lent *lent)
{
    chalk_range_remove(&server->lent, &lent->range);
    server->lent_count--;
    if (lent->va != NULL)
        munmap(lent->mapped, lent->mapped_size);
    if (lent->fd >= 0)
        close(lent->fd);
    free(lent);
}

/* As Linux's VFIO: QEMU's client returns large ranges, whatever it has lent there. */
int memory_return(struct server *server, uint64_t address, uint64_t *size)
{
    uint64_t last = address + (*size - 1), returned = 0;
    struct lent *lent;

    if (*size == 0 || last < address)
        return EINVAL;
    lent = find(server, address, last);
    if (lent != NULL && lent->range.first < address)
        return EINVAL;
    lent = find(server, last, last);
    if (lent != NULL && lent->range.last > last)
        return EINVAL;
    while ((lent = find(server, address, last)) != NULL) {
        returned += lent->size;
        forget(server, lent);
    }
    *size = returned;
    changed(server);
    return 0;
}

void memory_return_all(struct server *server)
{
    struct lent *lent;

    while ((lent = first(server)) != NULL)
        forget(server, lent);
    changed(server);
}

bool memory_shrink(struct server *server)
{
    bool any = false;

    for (struct lent *lent = first(server); lent != NULL; lent = next(server, lent)) {
        if (lent->fd < 0 || ftruncate(lent->fd, 0) != 0)
            continue;
        munmap(lent->mapped,
               lent->mapped_size); /* or we would be the ones to meet pages that there are not */
        lent->va = NULL;
        any = true;
    }
    changed(server);
    return any;
}

/* ---- reach it ---- */

static const struct lent *reached(struct server *server, uint64_t address, uint32_t needed)
{
    const struct lent *lent = server->lent_last;

    if (!pci_masters(&server->model->config))
        return NULL;
    if (lent == NULL || address - lent->address >= lent->size) {
        lent = find(server, address, address);
        if (lent == NULL)
            return NULL;
        server->lent_last = lent;
    }
    return (lent->flags & needed) == needed ? lent : NULL;
}

static struct server *server_of(struct world *world)
{
    return (struct server *)(void *)world;
}

_Static_assert(REACH_READ == VFIO_USER_DMA_READABLE && REACH_WRITE == VFIO_USER_DMA_WRITEABLE,
               "one set of flags");

static void *view(struct world *world, uint64_t address, size_t size, unsigned reach)
{
    struct server *server = server_of(world);
    const struct lent *lent = reached(server, address, reach);

    if (lent == NULL || lent->va == NULL || size > lent->size - (address - lent->address))
        return NULL;
    return lent->va + (address - lent->address);
}

/* ---- by messages ---- */

/* Puts aside a command of the client's until ours is answered. */
static int put_aside(struct server *server, const struct vfio_user_header *header,
                     const struct descriptors *descriptors, uint64_t deadline)
{
    size_t size = header->size - sizeof *header;
    struct waiting *waiting, **link = &server->waiting;
    int error;

    if (header->size < sizeof *header || size > BODY_MAX ||
        server->waiting_size + sizeof *waiting + size > WAITING_MAX)
        return -EPROTO;
    waiting = malloc(sizeof *waiting + size);
    if (waiting == NULL)
        return -ENOMEM;
    *waiting = (struct waiting){.header = *header, .descriptors = *descriptors};
    while (*link != NULL)
        link = &(*link)->next;
    *link = waiting;
    server->waiting_size += sizeof *waiting + size;
    error = message_receive_bytes(server->client, waiting->body, size, deadline);
    return error;
}

/* Waits for the answer to our command, with `size` bytes behind its access structure. */
static int receive_answer(struct server *server, uint16_t command, void *bytes, size_t size,
                          uint64_t deadline)
{
    int socket = server->twin >= 0 ? server->twin : server->client;
    struct vfio_user_dma_access access;
    struct vfio_user_header header;
    struct descriptors descriptors;
    int error;

    for (;;) {
        error = message_receive(socket, &header, &descriptors, deadline);
        if (error != 0)
            return error;
        if ((header.flags & VFIO_USER_TYPE) == VFIO_USER_REPLY || server->twin >= 0)
            break;
        error = put_aside(server, &header, &descriptors, deadline);
        if (error != 0)
            return error;
    }
    message_drop(&descriptors);
    if (header.id != server->id || header.command != command)
        return -EPROTO;
    if ((header.flags & VFIO_USER_ERROR) != 0 && header.size == sizeof header)
        return -EFAULT;
    if (header.size != sizeof header + sizeof access + size)
        return -EPROTO;
    error = message_receive_bytes(socket, &access, sizeof access, deadline);
    return error != 0 ? error : message_receive_bytes(socket, bytes, size, deadline);
}

static bool copy_by_message(struct server *server, uint64_t address, void *bytes, size_t size, bool to_memory)
{
    struct vfio_user_dma_access access = {.address = address, .count = size};
    struct vfio_user_header header = {.id = ++server->id,
                                      .command = to_memory ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ};
    const struct iovec parts[] = {{&access, sizeof access}, {bytes, to_memory ? size : 0}};
    int socket = server->twin >= 0 ? server->twin : server->client;
    uint64_t deadline = chalk_deadline(COPY_PATIENCE);
    int error;

    if (server->client < 0)
        return false;
    server->world.slow = true;
    error = message_send(socket, &header, parts, 2, NULL, 0, deadline);
    if (error == 0)
        error = receive_answer(server, header.command, bytes, to_memory ? 0 : size, deadline);
    if (error != 0 && error != -EFAULT) {
        server->broken = error; /* the stream is lost; the loop sees it */
        close(server->client);
        server->client = -1;
    }
    return error == 0;
}

static bool copy(struct world *world, uint64_t address, void *bytes, size_t size, bool to_memory)
{
    struct server *server = server_of(world);
    char *at = bytes;

    while (size > 0) {
        const struct lent *lent = reached(server, address, to_memory ? REACH_WRITE : REACH_READ);
        size_t piece = size;

        if (lent == NULL)
            return false;
        if (piece > lent->size - (address - lent->address))
            piece = (size_t)(lent->size - (address - lent->address));
        if (lent->va != NULL) {
            char *va = lent->va + (address - lent->address);

            memcpy(to_memory ? va : at, to_memory ? at : va, piece);
        } else {
            if (piece > COPY_MAX)
                piece = COPY_MAX;
            if (piece > server->client_data_max)
                piece = server->client_data_max;
            if (!copy_by_message(server, address, at, piece, to_memory))
                return false;
        }
        address += piece;
        at += piece;
        size -= piece;
    }
    return true;
}

/* ---- and the rest of the world ---- */

static void interrupt(struct world *world, unsigned vector)
{
    struct server *server = server_of(world);

    if (vector < SERVER_VECTORS && server->vectors[vector] >= 0 && pci_masters(&server->model->config))
        eventfds_signal(server, server->vectors[vector]);
}

static void pin(struct world *world, bool high)
{
    struct server *server = server_of(world);

    server->pin_high = high;
    commands_pin(server);
}

static uint64_t now(struct world *world)
{
    (void)world;
    return chalk_ticks_to_ns(chalk_ticks());
}

/* ---- where it may not ---- */

static bool tries(struct server *server, uint64_t address, bool to_memory)
{
    char bytes[16] = "not lent to you";

    return copy_by_message(server, address, bytes, sizeof bytes, to_memory);
}

/* Around each piece that was lent, into those that may only be read, and at both ends of all addresses. */
static bool trespass(struct world *world)
{
    struct server *server = server_of(world);
    bool let = tries(server, UINT64_MAX - 7, true);

    let |= first(server) == NULL && tries(server, 0, true);
    for (const struct lent *lent = first(server), *after; lent != NULL; lent = after) {
        const uint64_t address = lent->address, end = address + lent->size;
        const bool read_only = (lent->flags & VFIO_USER_DMA_WRITEABLE) == 0;
        const bool begins = address == 0 || find(server, address - 1, address - 1) == NULL;

        after = next(server, lent);
        if (after == NULL || after->address != end)
            let |= tries(server, end - 8, false) || tries(server, end - 8, true) || tries(server, end, true);
        let |= begins && tries(server, address - 8, true);
        let |= read_only && tries(server, address, true);
    }
    return let;
}

const struct world_ops server_world_ops = {view, copy, interrupt, pin, now, trespass};
