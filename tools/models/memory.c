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

/* The first that ends above `address`. */
static unsigned find(const struct server *server, uint64_t address)
{
    unsigned low = 0, high = server->lent_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const struct lent *lent = &server->lent[middle];

        if (lent->address + (lent->size - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void changed(struct server *server)
{
    server->world.generation++;
    server->lent_last = 0;
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

const struct lent *memory_at(const struct server *server, const void *address)
{
    for (unsigned i = 0; i < server->lent_count; i++) {
        const struct lent *lent = &server->lent[i];

        if (lent->va != NULL && (uintptr_t)address - (uintptr_t)lent->mapped < lent->mapped_size)
            return lent;
    }
    return NULL;
}

static int insert(struct server *server, unsigned at, const struct lent *lent)
{
    if (server->lent_count == server->lent_room) {
        unsigned room = server->lent_room != 0 ? 2 * server->lent_room : 16;
        struct lent *grown = realloc(server->lent, room * sizeof *grown);

        if (grown == NULL)
            return ENOMEM;
        server->lent = grown;
        server->lent_room = room;
    }
    memmove(server->lent + at + 1, server->lent + at, (server->lent_count - at) * sizeof *lent);
    server->lent[at] = *lent;
    server->lent_count++;
    changed(server);
    return 0;
}

static int lend(struct server *server, const struct vfio_user_dma_map *map, int fd)
{
    struct lent lent = {.address = map->address, .size = map->size, .flags = map->flags, .fd = -1};
    unsigned at = find(server, map->address);
    int error = 0;

    if (map->size == 0 || (map->address | map->size) % PAGE != 0 ||
        map->address + (map->size - 1) < map->address || map->size > PTRDIFF_MAX ||
        (map->flags & ~(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE)) != 0)
        return EINVAL;
    if (at < server->lent_count && server->lent[at].address <= map->address + (map->size - 1))
        return EEXIST;
    if (server->lent_count == MAPS_MAX)
        return ENOSPC;
    if (fd >= 0 && !server->options.copies)
        error = map_file(&lent, map->offset, fd);
    if (error == 0 && lent.va != NULL && server->model->script != NULL)
        lent.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (error == 0)
        error = insert(server, at, &lent);
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

static void forget(const struct lent *lent)
{
    if (lent->va != NULL)
        munmap(lent->mapped, lent->mapped_size);
    if (lent->fd >= 0)
        close(lent->fd);
}

/* As Linux's VFIO: QEMU's client returns large ranges, whatever it has lent there. */
int memory_return(struct server *server, uint64_t address, uint64_t *size)
{
    unsigned first = find(server, address), end = first;
    uint64_t last = address + (*size - 1), returned = 0;

    if (*size == 0 || last < address)
        return EINVAL;
    for (; end < server->lent_count && server->lent[end].address <= last; end++) {
        const struct lent *lent = &server->lent[end];

        if (lent->address < address || lent->address + (lent->size - 1) > last)
            return EINVAL;
        returned += lent->size;
    }
    for (unsigned i = first; i < end; i++)
        forget(&server->lent[i]);
    memmove(&server->lent[first], &server->lent[end], (server->lent_count - end) * sizeof *server->lent);
    server->lent_count -= end - first;
    *size = returned;
    changed(server);
    return 0;
}

void memory_return_all(struct server *server)
{
    for (unsigned i = 0; i < server->lent_count; i++)
        forget(&server->lent[i]);
    server->lent_count = 0;
    changed(server);
    free(server->lent);
    server->lent = NULL;
    server->lent_room = 0;
}

bool memory_shrink(struct server *server)
{
    bool any = false;

    for (unsigned i = 0; i < server->lent_count; i++) {
        struct lent *lent = &server->lent[i];

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
    const struct lent *lent;

    if (!pci_masters(&server->model->config))
        return NULL;
    if (server->lent_last >= server->lent_count ||
        address - server->lent[server->lent_last].address >= server->lent[server->lent_last].size) {
        unsigned at = find(server, address);

        if (at == server->lent_count || address < server->lent[at].address)
            return NULL;
        server->lent_last = at;
    }
    lent = &server->lent[server->lent_last];
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

    let |= find(server, 0) == server->lent_count && tries(server, 0, true);
    for (unsigned i = 0; i < server->lent_count; i++) {
        const struct lent lent = server->lent[i];
        uint64_t end = lent.address + lent.size;
        bool last = i + 1 == server->lent_count || server->lent[i + 1].address != end;
        bool first = i == 0 || server->lent[i - 1].address + server->lent[i - 1].size != lent.address;

        let |= last &&
               (tries(server, end - 8, false) || tries(server, end - 8, true) || tries(server, end, true));
        let |= first && tries(server, lent.address - 8, true);
        let |= (lent.flags & VFIO_USER_DMA_WRITEABLE) == 0 && tries(server, lent.address, true);
    }
    return let;
}

const struct world_ops server_world_ops = {view, copy, interrupt, pin, now, trespass};
