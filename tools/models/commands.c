/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's commands, each checked as if somebody wanted to break in. */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/log.h>

#include "hosted/vfio_user/json.h"

#define PATIENCE (5 * CHALK_S)
#define PAGE     4096

/* A command, and the answer to it. */
struct command {
    struct vfio_user_header header;
    char *body; /* `size` bytes; the answer is written over them, and there is room for BODY_MAX */
    size_t size;
    struct descriptors descriptors;
    size_t answer;
    int fd; /* that goes with the answer; -1 */
};

/* Each of these returns 0, an errno value for the client, or less than 0 to end the connection. */

static int version(struct server *server, struct command *command)
{
    struct vfio_user_version *version = (void *)command->body;
    char *text = command->body + sizeof *version;
    bool twin = false;
    int pair[2];

    if (server->agreed || command->size < sizeof *version || version->major != VFIO_USER_MAJOR)
        return -EPROTO;
    server->client_data_max = VFIO_USER_DATA_MAX;
    if (command->size > sizeof *version) {
        if (command->body[command->size - 1] != '\0' || !json_valid(text))
            return -EPROTO;
        json_number(text, "capabilities.max_data_xfer_size", &server->client_data_max);
        json_boolean(text, "capabilities.twin_socket.supported", &twin);
    }
    if (server->client_data_max == 0)
        return -EPROTO;
    if (server->client_data_max > VFIO_USER_DATA_MAX)
        server->client_data_max = VFIO_USER_DATA_MAX;
    if (version->minor > VFIO_USER_MINOR)
        version->minor = VFIO_USER_MINOR;
    if (twin && !server->options.single && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        server->twin = pair[0];
        command->fd = pair[1];
    }
    command->answer =
        sizeof *version + 1 +
        (size_t)sprintf(text, "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u%s}}",
                        MESSAGE_FDS, VFIO_USER_DATA_MAX,
                        command->fd >= 0 ? ",\"twin_socket\":{\"supported\":true,\"fd_index\":0}" : "");
    server->agreed = true;
    return 0;
}

static int dma_map(struct server *server, struct command *command)
{
    struct vfio_user_dma_map map;

    if (command->size < sizeof map)
        return EINVAL;
    memcpy(&map, command->body, sizeof map);
    if (map.argsz < sizeof map)
        return EINVAL;
    return memory_lend(server, &map, message_take(&command->descriptors, 0));
}

static int return_range(struct server *server, struct command *command, struct vfio_user_dma_unmap unmap)
{
    int error = memory_return(server, unmap.address, &unmap.size);

    memcpy(command->body, &unmap, sizeof unmap); /* with how much was returned */
    return error;
}

static int dma_unmap(struct server *server, struct command *command)
{
    struct vfio_user_dma_unmap unmap;

    if (command->size < sizeof unmap)
        return EINVAL;
    memcpy(&unmap, command->body, sizeof unmap);
    if (unmap.argsz < sizeof unmap)
        return EINVAL;
    command->answer = sizeof unmap;
    if (unmap.flags != VFIO_DMA_UNMAP_FLAG_ALL)
        return unmap.flags != 0 ? EINVAL : return_range(server, command, unmap);
    if (unmap.address != 0 || unmap.size != 0) /* there is nothing else but all */
        return EINVAL;
    memory_return_all(server);
    return 0;
}

static int get_info(struct server *server, struct command *command)
{
    struct vfio_user_device_info *info = (void *)command->body;

    (void)server;
    if (command->size < sizeof *info || info->argsz < sizeof *info)
        return EINVAL;
    *info = (struct vfio_user_device_info){
        .argsz = sizeof *info,
        .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
        .num_regions = VFIO_PCI_NUM_REGIONS,
        .num_irqs = VFIO_PCI_NUM_IRQS,
    };
    command->answer = sizeof *info;
    return 0;
}

/* ---- regions ---- */

static uint64_t region_size(const struct server *server, uint32_t index)
{
    return index < MODEL_BARS                      ? server->model->class->bars[index].size
           : index == VFIO_PCI_CONFIG_REGION_INDEX ? PCI_SPACE
                                                   : 0;
}

/* What of the region can be mapped follows its description: struct vfio_region_info_cap_sparse_mmap, with one
 * area. */
struct sparse {
    struct vfio_info_cap_header header;
    uint32_t nr_areas, reserved;
    struct vfio_region_sparse_mmap_area area;
};
_Static_assert(offsetof(struct sparse, area) == offsetof(struct vfio_region_info_cap_sparse_mmap, areas),
               "as VFIO's");

static int get_region_info(struct server *server, struct command *command)
{
    struct vfio_region_info *info = (void *)command->body;
    uint32_t room = info->argsz, index = info->index;
    struct sparse sparse = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1}, .nr_areas = 1};

    if (command->size < sizeof *info || room < sizeof *info || index >= VFIO_PCI_NUM_REGIONS)
        return EINVAL;
    *info =
        (struct vfio_region_info){.argsz = sizeof *info, .index = index, .size = region_size(server, index)};
    if (info->size != 0)
        info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    command->answer = sizeof *info;
    if (index >= MODEL_BARS || server->shared[index] < 0)
        return 0;
    info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
    info->argsz += (uint32_t)sizeof sparse;
    if (room < info->argsz) /* argsz says how much room it takes; a client may read that flag as an offset */
        return 0;
    info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
    info->cap_offset = sizeof *info;
    sparse.area.offset = server->model->class->bars[index].shared_offset;
    sparse.area.size = server->model->class->bars[index].shared_size;
    memcpy(info + 1, &sparse, sizeof sparse);
    command->answer = info->argsz;
    command->fd = dup(server->shared[index]);
    return command->fd < 0 ? errno : 0;
}

/* Of 1, 2, 4 or 8 bytes each; more than one register is read and written in pieces of the offset's alignment.
 */
static void access_bar(struct server *server, struct command *command, const struct vfio_user_access *access)
{
    char *data = command->body + sizeof *access;

    for (uint32_t done = 0, width; done < access->count; done += width) {
        uint64_t offset = access->offset + done, value = 0;

        for (width = 8; offset % width != 0 || width > access->count - done;)
            width /= 2;
        if (command->header.command == VFIO_USER_REGION_READ) {
            value = model_read(server->model, access->region, offset, width);
            memcpy(data + done, &value, width);
        } else {
            memcpy(&value, data + done, width);
            model_write(server->model, access->region, offset, width, value);
        }
    }
}

static int access_region(struct server *server, struct command *command)
{
    bool reads = command->header.command == VFIO_USER_REGION_READ;
    struct vfio_user_access access;
    uint64_t size;

    if (command->size < sizeof access)
        return EINVAL;
    memcpy(&access, command->body, sizeof access);
    size = region_size(server, access.region);
    if (access.count > VFIO_USER_DATA_MAX || access.offset > size || access.count > size - access.offset ||
        command->size != sizeof access + (reads ? 0 : access.count))
        return EINVAL;
    command->answer = sizeof access + (reads ? access.count : 0);
    if (access.region != VFIO_PCI_CONFIG_REGION_INDEX)
        access_bar(server, command, &access);
    else if (reads)
        model_read_config(server->model, (unsigned)access.offset, command->body + sizeof access,
                          access.count);
    else
        model_write_config(server->model, (unsigned)access.offset, command->body + sizeof access,
                           access.count);
    return 0;
}

/* ---- interrupts ---- */

static unsigned vector_count(const struct server *server, uint32_t index)
{
    unsigned vectors = server->model->class->vectors;

    return index == VFIO_PCI_MSIX_IRQ_INDEX ? vectors : index == VFIO_PCI_INTX_IRQ_INDEX ? vectors == 0 : 0;
}

static int get_irq_info(struct server *server, struct command *command)
{
    struct vfio_irq_info *info = (void *)command->body;
    uint32_t index = info->index;

    if (command->size < sizeof *info || info->argsz < sizeof *info || index >= VFIO_PCI_NUM_IRQS)
        return EINVAL;
    *info = (struct vfio_irq_info){
        .argsz = sizeof *info,
        .flags = VFIO_IRQ_INFO_EVENTFD |
                 (index == VFIO_PCI_INTX_IRQ_INDEX ? VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED : 0u),
        .index = index,
        .count = vector_count(server, index),
    };
    command->answer = sizeof *info;
    return 0;
}

void commands_pin(struct server *server)
{
    if (!server->pin_high || server->pin_masked || server->vectors[0] < 0)
        return;
    server->pin_masked = true; /* until it is unmasked: as a line that stays high would be */
    eventfds_signal(server, server->vectors[0]);
}

static void set_eventfd(struct server *server, unsigned vector, int fd)
{
    if (server->vectors[vector] >= 0)
        close(server->vectors[vector]);
    server->vectors[vector] = fd;
}

static bool all_eventfds(const struct descriptors *descriptors)
{
    for (unsigned i = 0; i < descriptors->count; i++)
        if (!eventfds_is_one(descriptors->fds[i]))
            return false;
    return true;
}

/* New eventfds for all of the vectors that are named, or none. */
static int set_eventfds(struct server *server, struct command *command, const struct vfio_irq_set *set)
{
    if ((command->descriptors.count != 0 && command->descriptors.count != set->count) ||
        !all_eventfds(&command->descriptors))
        return EINVAL;
    for (uint32_t i = 0; i < set->count; i++)
        set_eventfd(server, set->start + i, message_take(&command->descriptors, i));
    server->pin_masked = false;
    if (set->index == VFIO_PCI_INTX_IRQ_INDEX)
        commands_pin(server);
    return 0;
}

/* Whether the command is about the i-th of the vectors that it names. */
static bool concerns(const struct command *command, const struct vfio_irq_set *set, uint32_t i)
{
    return (set->flags & VFIO_IRQ_SET_DATA_NONE) != 0 || command->body[sizeof *set + i] != 0;
}

/* Without eventfds: sends interrupts, to try them; of no vectors, forgets all eventfds. */
static int trigger(struct server *server, struct command *command, const struct vfio_irq_set *set)
{
    if (set->count == 0)
        for (unsigned vector = 0; vector < vector_count(server, set->index); vector++)
            set_eventfd(server, vector, -1);
    for (uint32_t i = 0; i < set->count; i++)
        if (concerns(command, set, i) && server->vectors[set->start + i] >= 0)
            eventfds_signal(server, server->vectors[set->start + i]);
    return 0;
}

/* Of the pin alone: that is what get_irq_info() says. */
static int mask(struct server *server, struct command *command, const struct vfio_irq_set *set, bool masked)
{
    if (set->index != VFIO_PCI_INTX_IRQ_INDEX)
        return EINVAL;
    if (concerns(command, set, 0)) {
        server->pin_masked = masked;
        commands_pin(server);
    }
    return 0;
}

/*
 * Whether the command makes sense (VFIO_DEVICE_SET_IRQS in <linux/vfio.h>): one action and one sort of data,
 * which is all there, for vectors that there are. None can only be triggered without data, from the first on.
 */
static bool makes_sense(const struct server *server, const struct command *command,
                        const struct vfio_irq_set *set)
{
    uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK,
             data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    unsigned count = vector_count(server, set->index);

    if (set->argsz < sizeof *set || set->index >= VFIO_PCI_NUM_IRQS || (set->flags & ~(action | data)) != 0 ||
        action == 0 || (action & (action - 1)) != 0 || data == 0 || (data & (data - 1)) != 0)
        return false;
    if (set->count == 0)
        return action == VFIO_IRQ_SET_ACTION_TRIGGER && data == VFIO_IRQ_SET_DATA_NONE && set->start == 0;
    if (set->start > count || set->count > count - set->start)
        return false;
    if (data == VFIO_IRQ_SET_DATA_EVENTFD)
        return action == VFIO_IRQ_SET_ACTION_TRIGGER;
    return command->descriptors.count == 0 &&
           (data == VFIO_IRQ_SET_DATA_NONE || command->size - sizeof *set == set->count);
}

static int set_irqs(struct server *server, struct command *command)
{
    struct vfio_irq_set set;

    if (command->size < sizeof set)
        return EINVAL;
    memcpy(&set, command->body, sizeof set);
    if (!makes_sense(server, command, &set))
        return EINVAL;
    if ((set.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0)
        return set_eventfds(server, command, &set);
    if ((set.flags & VFIO_IRQ_SET_ACTION_TRIGGER) != 0)
        return trigger(server, command, &set);
    return mask(server, command, &set, (set.flags & VFIO_IRQ_SET_ACTION_MASK) != 0);
}

static int reset(struct server *server, struct command *command)
{
    (void)command;
    model_reset(server->model);
    return 0;
}

/* ---- one command ---- */

static int execute(struct server *server, struct command *command)
{
    switch (command->header.command) {
    case VFIO_USER_DMA_MAP:
        return dma_map(server, command);
    case VFIO_USER_DMA_UNMAP:
        return dma_unmap(server, command);
    case VFIO_USER_DEVICE_GET_INFO:
        return get_info(server, command);
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        return get_region_info(server, command);
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        return get_irq_info(server, command);
    case VFIO_USER_DEVICE_SET_IRQS:
        return set_irqs(server, command);
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        return access_region(server, command);
    case VFIO_USER_DEVICE_RESET:
        return reset(server, command);
    default:
        return ENOTSUP;
    }
}

static int answer(struct server *server, struct command *command, int error)
{
    struct vfio_user_header header = {
        .id = command->header.id,
        .command = command->header.command,
        .flags = VFIO_USER_REPLY | (error != 0 ? VFIO_USER_ERROR : 0),
        .error = (uint32_t)error,
    };
    const struct iovec part = {command->body, error == 0 ? command->answer : 0};
    const int *fd = error == 0 && command->fd >= 0 ? &command->fd : NULL;
    const struct script_rule *rule;

    if ((command->header.flags & VFIO_USER_NO_REPLY) != 0)
        return 0;
    rule = model_event(server->model, WHEN_MESSAGE, command->header.command);
    if (rule != NULL)
        return hostile_answer(server, rule, &header, part, fd);
    return message_send(server->client, &header, &part, 1, fd, fd != NULL, chalk_deadline(PATIENCE));
}

/* The command's header, body and descriptors are there. */
static int serve(struct server *server, struct command *command)
{
    int error = command->header.command == VFIO_USER_VERSION ? version(server, command)
                : server->agreed                             ? execute(server, command)
                                                             : -EPROTO;

    if (server->client < 0) /* lost while the model did its work */
        error = server->broken;
    if (error >= 0)
        error = answer(server, command, error);
    if (command->fd >= 0)
        close(command->fd);
    message_drop(&command->descriptors);
    return error;
}

int commands_serve(struct server *server)
{
    uint64_t deadline = chalk_deadline(PATIENCE);
    struct command command = {.fd = -1};
    int error = message_receive(server->client, &command.header, &command.descriptors, deadline);

    if (error != 0)
        return error;
    command.size = command.header.size - sizeof command.header;
    if ((command.header.flags & VFIO_USER_TYPE) != 0 || command.header.size < sizeof command.header ||
        command.size > BODY_MAX)
        error = -EPROTO;
    command.body = error == 0 ? calloc(1, BODY_MAX) : NULL;
    if (error == 0 && command.body == NULL)
        error = -ENOMEM;
    if (error == 0)
        error = message_receive_bytes(server->client, command.body, command.size, deadline);
    if (error == 0)
        error = serve(server, &command);
    else
        message_drop(&command.descriptors);
    free(command.body);
    return error;
}

int commands_serve_waiting(struct server *server)
{
    int error = 0;

    while (server->waiting != NULL && error == 0) {
        struct waiting *waiting = server->waiting;
        struct command command = {.header = waiting->header,
                                  .size = waiting->header.size - sizeof waiting->header,
                                  .descriptors = waiting->descriptors,
                                  .fd = -1};

        server->waiting = waiting->next;
        server->waiting_size -= sizeof *waiting + command.size;
        command.body = calloc(1, BODY_MAX);
        if (command.body != NULL) {
            memcpy(command.body, waiting->body, command.size);
            error = serve(server, &command);
        } else {
            message_drop(&command.descriptors);
            error = -ENOMEM;
        }
        free(command.body);
        free(waiting);
    }
    return error;
}

void commands_forget(struct server *server)
{
    while (server->waiting != NULL) {
        struct waiting *waiting = server->waiting;

        server->waiting = waiting->next;
        message_drop(&waiting->descriptors);
        free(waiting);
    }
    server->waiting_size = 0;
}
