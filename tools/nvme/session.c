/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening an NVMe namespace takes six objects; each is given back by session_close() if it is there. The
 * platform and the driver log why something failed; here it is only said what could not be done for it.
 */
#include "session.h"

#include <chalk/arena.h>
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/error.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static bool find_controller(struct session *session, const char *address)
{
    if (address) {
        /* Not necessarily on the bus: hosted, "vfio-user:PATH" is a name too. Opening it decides. */
        if (strlen(address) >= sizeof(session->bus.name)) {
            complain("'%.40s...' is too long for the name of a device: a PCI address looks like "
                     "0000:00:04.0, and the "
                     "path of a socket has at most 107 characters",
                     address);
            return false;
        }
        if (chalk_bus_lookup(address, &session->bus) != 0)
            memcpy(session->bus.name, address, strlen(address) + 1);
        return true;
    }
    if (chalk_bus_find(CHALK_CLASS_NVME, &session->bus) == 0)
        return true;
    complain(
        "no NVMe controller on the bus: name one, by its PCI address or as vfio-user:SOCKET, or attach one "
        "(tools/vm and tools/metal: --device nvme:FILE)");
    return false;
}

/* The driver's, whatever is asked for: struct chalk_nvme_queue_options. */
#define DEPTH_MAX 4095u

static size_t depth_of(const struct session_options *options)
{
    return options->depth < DEPTH_MAX ? options->depth : DEPTH_MAX;
}

static size_t queue_count(const struct session_options *options)
{
    return options->queues > 1 ? options->queues : 1;
}

/* Shared memory that is left for the program's requests, if they are small. */
#define SMALL ((size_t)512 << 10)

/* Shared memory for both queues and a PRP list page a request. */
static size_t shared_size(const struct session_options *options)
{
    size_t entries = depth_of(options) + 1;
    size_t queue = entries * (64 + 16) + 4 * CHALK_PAGE + entries * CHALK_PAGE;

    return ((size_t)1 << 20) + queue_count(options) * queue;
}

bool session_find_namespace(struct session *session, uint32_t nsid)
{
    const char *address = session->bus.name;
    int error = chalk_nvme_next_namespace(session->nvme, nsid ? nsid - 1 : 0, &session->ns);

    if (error == 0 && (nsid == 0 || session->ns.nsid == nsid))
        return true;
    if (error == 0 || (error == -ENOENT && nsid != 0))
        complain("%s has no namespace %" PRIu32 "; nvme-identify lists those there are", address, nsid);
    else if (error == -ENOENT)
        complain("%s has no active namespace that can be used; create and attach one: nvme create-ns, nvme "
                 "attach-ns",
                 address);
    else
        complain("cannot list the namespaces of %s: %s", address, chalk_error_name(error));
    return false;
}

bool session_open(struct session *session, const struct session_options *options)
{
    const struct chalk_memory_options memory = {
        .private_size = ((size_t)1 << 20) + queue_count(options) * depth_of(options) * 256,
        .shared_size = shared_size(options),
    };
    struct chalk_core_info core;
    int error;

    memset(session, 0, sizeof(*session));
    if (chalk_core_get_info(0, &core) == 0)
        session->events = core.events;
    if (!find_controller(session, options->address))
        return false;

    const char *address = session->bus.name;

    if ((error = chalk_device_open(address, &session->domain, &session->device)) != 0) {
        complain("cannot open %s: %s", address, chalk_error_name(error));
        goto failed;
    }
    if ((error = chalk_memory_create(&memory, &session->memory)) != 0) {
        complain("cannot claim %zu KiB of memory for devices: %s", memory.shared_size >> 10,
                 chalk_error_name(error));
        goto failed;
    }
    if ((error = chalk_memory_share(session->memory, session->domain)) != 0) {
        complain("cannot share memory with %s: %s", address, chalk_error_name(error));
        goto failed;
    }
    session->shared = true;

    const struct chalk_nvme_options controller = {
        .memory = session->memory,
        .domain = session->domain,
        .interrupts = options->interrupts != CHALK_NVME_POLLED,
        .coalesce = options->coalesce,
        .coalesce_us = options->coalesce_us,
        .controller_memory = options->controller_memory,
        .shadow_doorbells = options->shadow_doorbells,
        .timeout_ns = options->timeout_ns,
        .name = address,
    };

    if ((error = chalk_nvme_open(session->device, &controller, &session->nvme)) != 0) {
        complain("cannot bring up the controller at %s: %s", address, chalk_error_name(error));
        goto failed;
    }
    if (options->depth == 0)
        return true;
    if (!session_find_namespace(session, options->nsid))
        goto failed;
    if (options->queues != 0)
        return true;

    const struct chalk_nvme_queue_options queue = {
        .nsid = session->ns.nsid,
        .depth = options->depth,
        .interrupts = options->interrupts,
        .timeout_ns = options->timeout_ns,
    };

    if ((error = chalk_nvme_queue_open(session->nvme, &queue, &session->queue)) == 0)
        return true;
    complain("cannot open a queue on namespace %" PRIu32 " of %s: %s", session->ns.nsid, address,
             chalk_error_name(error));
failed:
    session_close(session);
    return false;
}

int session_failed(void)
{
    return chalk_exit_requested() ? EXIT_INTERRUPTED : EXIT_BAD;
}

/* ---- memory of the program ---- */

struct session_buffers {
    struct session_buffers *next;
    struct chalk_arena *arena;
    void *va;
};

static int claim(const struct session *session, size_t size, size_t align, struct chalk_arena **arena)
{
    const struct chalk_arena_options options = {
        .size = align > CHALK_PAGE ? size + align : size,
        .name = "requests",
    };
    int error = chalk_arena_create(&options, arena);

    if (error != 0)
        return error;
    error = chalk_arena_share(*arena, session->domain, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES);
    if (error != 0)
        chalk_arena_destroy(*arena);
    return error;
}

int session_get_buffers(struct session *session, size_t size, size_t align, struct chalk_dma *buffers)
{
    struct session_buffers *made;
    int error;

    if (size <= SMALL && chalk_dma_get(session->memory, size, align, buffers) == 0)
        return 0;
    made = malloc(sizeof(*made));
    error = made ? claim(session, size, align, &made->arena) : -ENOMEM;

    if (error != 0) {
        free(made);
        return error;
    }
    made->next = session->buffers;
    session->buffers = made;
    error = chalk_arena_get(made->arena, size, align, buffers);
    made->va = error == 0 ? buffers->va : NULL;
    return error;
}

static void give_back(const struct session *session, struct session_buffers *buffers)
{
    chalk_arena_unshare(buffers->arena, session->domain);
    chalk_arena_destroy(buffers->arena);
    free(buffers);
}

void session_put_buffers(struct session *session, const struct chalk_dma *buffers)
{
    struct session_buffers **link = &session->buffers, *found;

    while (*link && (*link)->va != buffers->va)
        link = &(*link)->next;
    found = *link;
    if (!found) {
        chalk_dma_put(session->memory, buffers);
        return;
    }
    *link = found->next;
    give_back(session, found);
}

/* Less than this is the heap's: no limit is so low that it matters. */
#define LARGE ((size_t)64 << 10)

struct session_memory {
    struct session_memory *next;
    struct chalk_claim claim; /* its size is 0: from the heap */
    void *va;
};

/* Not an arena, which may lie in a file that a device's process gets: pointers are in here. */
static bool fill(struct session_memory *made, size_t size)
{
    *made = (struct session_memory){.next = NULL};
    if (size < LARGE) {
        made->va = calloc(1, size);
    } else if (chalk_claim_memory(size, 0, UINT64_MAX, "tables", &made->claim) == 0) {
        made->va = made->claim.va;
        memset(made->va, 0, size);
    }
    return made->va;
}

void *session_get_memory(struct session *session, size_t count, size_t size)
{
    struct session_memory *made = malloc(sizeof(*made));
    size_t bytes;

    if (!made || __builtin_mul_overflow(count, size, &bytes) || !fill(made, bytes)) {
        free(made);
        return NULL;
    }
    made->next = session->private;
    session->private = made;
    return made->va;
}

void session_put_memory(struct session *session, const void *va)
{
    struct session_memory **link, *found;

    if (!va)
        return;
    for (link = &session->private; (*link)->va != va; link = &(*link)->next)
        ;
    found = *link;
    *link = found->next;
    if (found->claim.size != 0)
        chalk_claim_release(&found->claim);
    else
        free(found->va);
    free(found);
}

/* ---- the end ---- */

void session_close(struct session *session)
{
    struct session_buffers *buffers;

    if (session->queue)
        chalk_nvme_queue_close(session->queue);
    if (session->nvme)
        chalk_nvme_close(session->nvme);
    while ((buffers = session->buffers) != NULL) {
        session->buffers = buffers->next;
        give_back(session, buffers);
    }
    while (session->private)
        session_put_memory(session, session->private->va);
    if (session->shared)
        chalk_memory_unshare(session->memory, session->domain);
    if (session->device)
        chalk_device_close(session->device);
    if (session->memory)
        chalk_memory_destroy(session->memory);
    memset(session, 0, sizeof(*session));
}

bool session_has_plain_blocks(const struct session *session)
{
    const struct chalk_nvme_namespace *ns = &session->ns;

    if (ns->metadata_size == 0)
        return true;
    complain("namespace %" PRIu32
             " of %s has %u bytes of metadata with each block, which this program cannot "
             "write; a format without metadata destroys its data: nvme-format --block-size %" PRIu32,
             ns->nsid, session->bus.name, ns->metadata_size, ns->block_size);
    return false;
}

bool session_may_write(const struct session *session, uint64_t start, uint64_t blocks, bool overwrite)
{
    const struct chalk_nvme_info *info = chalk_nvme_get_info(session->nvme);

    if (overwrite)
        return true;
    complain("this destroys blocks %" PRIu64 " to %" PRIu64 " of namespace %" PRIu32
             " of %s (%s, serial number %s); "
             "add --overwrite if that is meant",
             start, start + blocks - 1, session->ns.nsid, session->bus.name, info->model, info->serial);
    return false;
}

void session_rest(const struct session *session, uint32_t seen)
{
    if (session->queue->may_wait)
        chalk_core_wait(0, seen, chalk_deadline(100 * CHALK_MS));
    else
        chalk_pause();
}
