/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device in another process, as a transport: each question of VFIO is a message. Memory goes to the other
 * side by descriptor, so that its DMA is a load or a store; interrupts come back through eventfds, and
 * registers that it shares are mapped.
 */
#define _GNU_SOURCE
#include "../memory.h"
#include "../state.h"
#include "book.h"
#include "patience.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/log.h>

/* Of a description of a region: a hundred areas. */
#define REGION_ROOM 4096u

/* For everything but a reset, which has a deadline of its own. */
static uint64_t patience(const struct chalk_device *device)
{
    return chalk_deadline(peer_patience(device->peer));
}

static int ask(struct chalk_device *device, struct question *question)
{
    return peer_ask(device->peer, question, patience(device));
}

/* ---- memory ---- */

static int ask_to_map(struct chalk_device *device, const struct vfio_user_dma_map *map, int fd)
{
    struct vfio_user_dma_map sent = *map;

    return ask(device, &(struct question){
                           .command = VFIO_USER_DMA_MAP,
                           .parts = {{&sent, sizeof sent}},
                           .fds = &fd,
                           .fd_count = fd >= 0,
                       });
}

static int map_for(struct chalk_device *device, const struct mapping *mapping)
{
    struct vfio_user_dma_map map = {
        .argsz = sizeof map,
        .flags = ((mapping->protection & CHALK_DEVICE_READS) != 0 ? VFIO_USER_DMA_READABLE : 0u) |
                 ((mapping->protection & CHALK_DEVICE_WRITES) != 0 ? VFIO_USER_DMA_WRITEABLE : 0u),
        .address = mapping->iova,
        .size = mapping->size,
    };
    int fd = mapping->by_file ? hosted_memory_file(mapping->va, &map.offset) : -1;
    int error = 0;

    peer_lock(device->peer);
    if (device->book != NULL)
        error = book_add_map(device->book, &map, fd); /* first: what the process has mapped is recorded */
    if (error == 0) {
        error = ask_to_map(device, &map, fd);
        if (error != 0 && device->book != NULL)
            book_remove_map(device->book, map.address);
    }
    peer_unlock(device->peer);
    if (error != 0 && !peer_gone(device->peer))
        chalk_log(CHALK_ERROR, "%s: %zu KiB cannot be mapped at device address 0x%llx: %s", device->name,
                  mapping->size / 1024, (unsigned long long)mapping->iova, strerror(-error));
    return error;
}

/* A process that does not do it has lost its device. What it has mapped, nobody can take away. */
static void unmap_for(struct chalk_device *device, const struct mapping *mapping)
{
    struct vfio_user_dma_unmap unmap = {
        .argsz = sizeof unmap, .address = mapping->iova, .size = mapping->size};
    int error;

    peer_lock(device->peer);
    error = ask(device, &(struct question){
                            .command = VFIO_USER_DMA_UNMAP,
                            .parts = {{&unmap, sizeof unmap}},
                            .reply = {{&unmap, sizeof unmap}},
                        });
    if (device->book != NULL)
        book_remove_map(device->book, mapping->iova);
    peer_unlock(device->peer);
    if (error != 0 && !peer_gone(device->peer))
        peer_give_up(device->peer, "it does not unmap memory");
}

static int map(struct chalk_domain *domain, const struct mapping *mapping)
{
    int error = 0;

    for (struct chalk_device *device = domain->members; device != NULL; device = device->next_member) {
        if (domain->mapping_count >= peer_max_maps(device->peer)) {
            chalk_log(CHALK_ERROR,
                      "%s: all %zu mappings that its process takes are in use: map larger pieces",
                      device->name, domain->mapping_count);
            error = -ENOSPC;
        } else {
            error = map_for(device, mapping);
        }
        if (error != 0) {
            for (struct chalk_device *undo = domain->members; undo != device; undo = undo->next_member)
                unmap_for(undo, mapping);
            return error;
        }
    }
    return 0;
}

static int unmap(struct chalk_domain *domain, const struct mapping *mapping)
{
    for (struct chalk_device *device = domain->members; device != NULL; device = device->next_member)
        unmap_for(device, mapping);
    return 0;
}

/* ---- life ---- */

/* Address 0 to the last: there is no IOMMU in between. */
static const struct range everything = {0, UINT64_MAX};

static int enter_domain(struct chalk_device *device, struct chalk_domain *domain)
{
    int error = 0;

    if (domain == NULL) {
        domain = hosted_domain_new(device->name, device->transport);
        error = domain != NULL ? hosted_domain_set_ranges(domain, &everything, 1) : -ENOMEM;
    }
    if (domain != NULL)
        hosted_domain_join(domain, device);
    return error;
}

/* What the others in the domain can reach, it can reach too. */
static int map_all(struct chalk_device *device)
{
    const struct chalk_ranges *mappings = &device->domain->mappings;
    int error = 0;

    for (const struct chalk_range *at = chalk_range_find(mappings, 0, UINT64_MAX); at != NULL && error == 0;
         at = chalk_range_next(mappings, at))
        error = map_for(device, (const struct mapping *)(const void *)at);
    return error;
}

static int expect_again(struct chalk_device *device);

static int open_device(struct chalk_device *device, struct chalk_domain *domain)
{
    struct vfio_user_device_info info = {.argsz = sizeof info};
    int error = enter_domain(device, domain);

    if (error == 0)
        error = peer_open(device, device->name + strlen(HOSTED_VFIO_USER), &device->peer);
    if (error != 0)
        return error;
    error = ask(device, &(struct question){
                            .command = VFIO_USER_DEVICE_GET_INFO,
                            .parts = {{&info, sizeof info}},
                            .reply = {{&info, sizeof info}},
                            .least = sizeof info,
                        });
    if (error != 0) {
        if (!peer_gone(device->peer))
            chalk_log(CHALK_ERROR, "%s cannot be opened: its process refuses to describe it: %s",
                      device->name, strerror(-error));
        return error;
    }
    if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
        chalk_log(CHALK_ERROR, "%s cannot be opened: it is not a PCI device", device->name);
        return -ENXIO;
    }
    device->has_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
    error = expect_again(device);
    return error != 0 ? error : map_all(device);
}

static void close_device(struct chalk_device *device)
{
    if (device->peer != NULL)
        peer_close(device->peer);
    device->peer = NULL;
    book_free(device->book);
    device->book = NULL;
}

/* Each process lets go of what it has mapped when its connection ends. */
static void end_domain(struct chalk_domain *domain)
{
    (void)domain;
}

static int reset(struct chalk_device *device, uint64_t deadline)
{
    return peer_ask(device->peer, &(struct question){.command = VFIO_USER_DEVICE_RESET}, deadline);
}

/* ---- regions ---- */

static int region_info(struct chalk_device *device, struct vfio_region_info *info, int *fd)
{
    struct vfio_region_info wanted = {.argsz = info->argsz, .index = info->index};
    struct descriptors descriptors = {0};
    uint32_t index = info->index;
    int error = ask(device, &(struct question){
                                .command = VFIO_USER_DEVICE_GET_REGION_INFO,
                                .parts = {{&wanted, sizeof wanted}},
                                .reply = {{info, info->argsz}},
                                .least = sizeof *info,
                                .descriptors = &descriptors,
                            });

    if (error != 0)
        return error;
    if (info->index == index)
        *fd = message_take(&descriptors, 0);
    message_drop(&descriptors);
    return info->index == index
               ? 0
               : peer_give_up(device->peer, "it described another region than it was asked for");
}

static int move(const struct region *region, uint64_t offset, enum vfio_user_command command, void *bytes,
                size_t size)
{
    struct vfio_user_access access = {.offset = offset, .region = region->index, .count = (uint32_t)size};
    struct vfio_user_access moved;
    bool writes = command == VFIO_USER_REGION_WRITE;
    int error;

    if (size > peer_max_data(region->device->peer))
        return -EINVAL;
    error = ask(region->device, &(struct question){
                                    .command = command,
                                    .parts = {{&access, sizeof access}, {bytes, writes ? size : 0}},
                                    .reply = {{&moved, sizeof moved}, {bytes, writes ? 0 : size}},
                                    .least = sizeof moved + (writes ? 0 : size),
                                });
    if (error == 0 && moved.count != size)
        error = peer_give_up(region->device->peer, "it moved another number of bytes than was asked for");
    return error;
}

static int read_region(const struct region *region, uint64_t offset, void *bytes, size_t size)
{
    return move(region, offset, VFIO_USER_REGION_READ, bytes, size);
}

/* Registers are written without waiting, as on the bus; configuration space is not. */
static int write_region(const struct region *region, uint64_t offset, const void *bytes, size_t size)
{
    struct vfio_user_access access = {.offset = offset, .region = region->index, .count = (uint32_t)size};

    if (region->index == VFIO_PCI_CONFIG_REGION_INDEX) {
        if (region->device->book != NULL && offset == CHALK_PCI_COMMAND && size >= 2)
            memcpy(&region->device->book->command, bytes, 2);
        return move(region, offset, VFIO_USER_REGION_WRITE, (void *)(uintptr_t)bytes, size);
    }
    return peer_tell(region->device->peer,
                     &(struct question){
                         .command = VFIO_USER_REGION_WRITE,
                         .once = true,
                         .parts = {{&access, sizeof access}, {(void *)(uintptr_t)bytes, size}},
                         .reply = {{&access, sizeof access}},
                         .least = sizeof access,
                     },
                     patience(region->device));
}

/* ---- interrupts ---- */

static int irq_info(struct chalk_device *device, struct vfio_irq_info *info)
{
    return ask(device, &(struct question){
                           .command = VFIO_USER_DEVICE_GET_IRQ_INFO,
                           .parts = {{info, sizeof *info}},
                           .reply = {{info, sizeof *info}},
                           .least = sizeof *info,
                       });
}

/* `fds` are one for each of its vectors, or none. */
static int send_set(struct chalk_device *device, const struct vfio_irq_set *wanted, const int32_t *fds,
                    unsigned fd_count)
{
    struct vfio_irq_set set = *wanted;
    int error;

    set.argsz = sizeof set;
    peer_lock(device->peer);
    error = ask(device, &(struct question){
                            .command = VFIO_USER_DEVICE_SET_IRQS,
                            .parts = {{&set, sizeof set}},
                            .fds = fds,
                            .fd_count = fd_count,
                        });
    if (error == 0 && device->book != NULL && (set.flags & VFIO_IRQ_SET_ACTION_TRIGGER) != 0)
        error = book_set_irqs(device->book, &set, fd_count != 0 ? fds : NULL);
    peer_unlock(device->peer);
    return error;
}

/* There is no descriptor of -1 in a message: silence is a set of vectors without any. */
static int set_eventfds(struct chalk_device *device, const struct vfio_irq_set *set)
{
    const int32_t *fds = (const int32_t *)(const void *)set->data;
    unsigned most = peer_max_fds(device->peer);
    int error = 0;

    for (unsigned i = 0, count; i < set->count && error == 0; i += count) {
        bool silent = fds[i] < 0;
        struct vfio_irq_set run = *set;

        for (count = 1; i + count < set->count && (fds[i + count] < 0) == silent && (silent || count < most);)
            count++;
        run.start = set->start + i;
        run.count = count;
        if (!silent || device->irq_enabled) /* else it is silent already */
            error = send_set(device, &run, fds + i, silent ? 0 : count);
    }
    return error;
}

static int set_irqs(struct chalk_device *device, const struct vfio_irq_set *set)
{
    return (set->flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0 ? set_eventfds(device, set)
                                                         : send_set(device, set, NULL, 0);
}

/* ---- a process that has come back ---- */

#define CLASS 0x08 /* and revision (PCI 3.0 6.2.1) */

static int read_identity(struct chalk_device *device, uint32_t identity[2])
{
    const struct region config = {.device = device, .index = VFIO_PCI_CONFIG_REGION_INDEX};
    int error = read_region(&config, 0, &identity[0], 4);

    return error != 0 ? error : read_region(&config, CLASS, &identity[1], 4);
}

/* The same region, in the file that comes with it now. */
static int restore_region(struct chalk_device *device, struct region *region)
{
    struct vfio_region_info *info = calloc(1, REGION_ROOM);
    int fd = -1, error = -ENOMEM;
    struct stat status;

    if (info != NULL) {
        info->argsz = REGION_ROOM;
        info->index = region->index;
        error = region_info(device, info, &fd);
    }
    if (error == 0 && (info->size != region->size || info->offset != region->offset))
        error = -EPROTO;
    for (unsigned i = 0; error == 0 && i < region->area_count; i++)
        if (fd < 0 || fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &status) != 0 ||
            (uint64_t)status.st_size <= region->offset + region->areas[i].last)
            error = -EPROTO;
    if (error == 0 && region->area_count != 0 && dup3(fd, region->fd, O_CLOEXEC) < 0)
        error = -errno;
    if (fd >= 0)
        close(fd);
    free(info);
    return error;
}

static int restore_irq(struct chalk_device *device, const struct book_irq *irq)
{
    struct vfio_irq_set set = {.argsz = sizeof set,
                               .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                               .index = irq->index,
                               .start = irq->vector,
                               .count = 1};

    return ask(device, &(struct question){.command = VFIO_USER_DEVICE_SET_IRQS,
                                          .parts = {{&set, sizeof set}},
                                          .fds = &irq->fd,
                                          .fd_count = 1});
}

static int restore(struct chalk_device *device)
{
    const struct region config = {.device = device, .index = VFIO_PCI_CONFIG_REGION_INDEX};
    const struct book *book = device->book;
    uint32_t identity[2];
    int error = read_identity(device, identity);

    if (error == 0 && memcmp(identity, book->identity, sizeof identity) != 0)
        error = -EPROTO;
    for (unsigned bar = 0; bar < REGION_BARS && error == 0; bar++)
        if (device->regions[bar].size != 0)
            error = restore_region(device, &device->regions[bar]);
    if (error == 0)
        error = hosted_windows_remap(device);
    for (const struct book_map *at = NULL; error == 0 && (at = book_next_map(book, at)) != NULL;)
        error = ask_to_map(device, &at->map, at->fd);
    for (const struct book_irq *at = NULL; error == 0 && (at = book_next_irq(book, at)) != NULL;)
        error = restore_irq(device, at);
    if (error != 0)
        return error;
    return move(&config, CHALK_PCI_COMMAND, VFIO_USER_REGION_WRITE, (void *)(uintptr_t)&book->command, 2);
}

/* If it is to be waited for when it ends. */
static int expect_again(struct chalk_device *device)
{
    uint64_t ns = patience_for(hosted_options()->reconnect, device->name, 0);
    int error;

    if (ns == 0)
        return 0;
    device->book = calloc(1, sizeof *device->book);
    if (device->book == NULL)
        return -ENOMEM;
    error = read_identity(device, device->book->identity);
    if (error == 0)
        peer_reconnects(device->peer, ns, restore);
    else if (!peer_gone(device->peer))
        chalk_log(CHALK_ERROR, "%s cannot be opened: its process does not say what it is: %s", device->name,
                  strerror(-error));
    return error;
}

const struct transport hosted_vfio_user = {
    .open = open_device,
    .close = close_device,
    .end_domain = end_domain,
    .region_info = region_info,
    .read = read_region,
    .write = write_region,
    .takes_files = true,
    .ports = true,      /* both are messages; and libvfio-user makes ports of what nobody calls memory */
    .tells_loss = true, /* a thread reads its socket */
    .irq_info = irq_info,
    .set_irqs = set_irqs,
    .reset = reset,
    .map = map,
    .unmap = unmap,
};
