/* SPDX-License-Identifier: BSD-2-Clause */
/* chalk-model: a device in a process, for any program that speaks vfio-user. */
#define _GNU_SOURCE
#include "edu.h"
#include "nvme.h"
#include "server.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chalk/hosted.h>

#include "tools/nvme/options.h"

static const char *socket_path, *backing = "ram", *second_backing = "ram", *serial = "chalk", *script_path;
static uint64_t size, second_size, block_size = 512, second_block_size = 512, processor = UINT64_MAX;
static uint64_t zone_size, zone_capacity, open_zones, active_zones;
static uint64_t spare;
static bool detached, spin, copies, single, once;
static struct script script;

static const struct option options[] = {
    {"socket", OPTION_WORD, &socket_path, 0, 0, NULL, "PATH",
     "listen there; clients name the device vfio-user:PATH"},
    {"size", OPTION_NUMBER, &size, 4096, 1ull << 50, NULL, "BYTES",
     "nvme: of the disk; without, that of its file"},
    {"block-size", OPTION_NUMBER, &block_size, 512, 4096, NULL, "BYTES", "512 or 4096"},
    {"backing", OPTION_WORD, &backing, 0, 0, NULL, "null|ram|file:PATH",
     "where its bytes are; null: nowhere, and what is read is what was in the buffer"},
    {"size2", OPTION_NUMBER, &second_size, 4096, 1ull << 50, NULL, "BYTES", "nvme: of a second namespace"},
    {"block-size2", OPTION_NUMBER, &second_block_size, 512, 4096, NULL, "BYTES", "512 or 4096"},
    {"backing2", OPTION_WORD, &second_backing, 0, 0, NULL, "null|ram|file:PATH", "where its bytes are"},
    {"detached2", OPTION_FLAG, &detached, 0, 0, NULL, NULL, "it is not attached to the controller at first"},
    {"spare", OPTION_NUMBER, &spare, 4096, 1ull << 50, NULL, "BYTES",
     "nvme: from which namespaces can be created, in memory"},
    {"zone-size", OPTION_NUMBER, &zone_size, 512, 1ull << 40, NULL, "BYTES",
     "the (first) namespace has zones of this size"},
    {"zone-capacity", OPTION_NUMBER, &zone_capacity, 512, 1ull << 40, NULL, "BYTES",
     "of each, so much can be written; all of it if absent"},
    {"open-zones", OPTION_NUMBER, &open_zones, 1, UINT32_MAX - 1, NULL, "N",
     "so many can be open at once; all if absent"},
    {"active-zones", OPTION_NUMBER, &active_zones, 1, UINT32_MAX - 1, NULL, "N",
     "so many open or begun; all if absent"},
    {"serial", OPTION_WORD, &serial, 0, 0, NULL, "TEXT", "nvme: its serial number"},
    {"poll", OPTION_FLAG, &spin, 0, 0, NULL, NULL,
     "look at doorbells all the time: fast, and takes a processor of its own"},
    {"processor", OPTION_NUMBER, &processor, 0, CPU_SETSIZE - 1, NULL, "N", "run on that one"},
    {"copy", OPTION_FLAG, &copies, 0, 0, NULL, NULL,
     "reach memory by messages only, as a client on another machine wants"},
    {"single", OPTION_FLAG, &single, 0, 0, NULL, NULL, "offer no twin socket"},
    {"once", OPTION_FLAG, &once, 0, 0, NULL, NULL, "end when the first client has gone"},
    {"script", OPTION_WORD, &script_path, 0, 0, NULL, "FILE", "misbehave as it says: docs/models.md"},
};

static const struct command command = {
    .name = "chalk-model",
    .summary = "serves a device model to programs that speak vfio-user",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .operand = "MODEL",
    .operand_help = "nvme or edu",
};

static bool add_namespace(struct nvme_namespace *ns, const char *where, uint64_t bytes, uint64_t block)
{
    if (block != 512 && block != 4096) {
        complain("a block has 512 or 4096 bytes, not %llu", (unsigned long long)block);
        return false;
    }
    if (bytes == 0 && strncmp(where, "file:", 5) != 0) {
        complain("--size is missing: how large is the disk? For example: --size 1G");
        return false;
    }
    if (bytes % block != 0) {
        complain("%llu bytes are no whole blocks of %llu", (unsigned long long)bytes,
                 (unsigned long long)block);
        return false;
    }
    if (store_open(where, bytes, &ns->store) != 0)
        return false;
    ns->shift = block == 512 ? 9 : 12;
    ns->blocks = store_size(ns->store) >> ns->shift;
    ns->attached = true;
    if (ns->blocks != 0)
        return true;
    complain("%s is too short for a disk", where);
    return false;
}

static bool add_zones(struct nvme_namespace *ns)
{
    if (zone_size == 0)
        return true;
    ns->zone_size = zone_size >> ns->shift;
    ns->zone_capacity = zone_capacity != 0 ? zone_capacity >> ns->shift : ns->zone_size;
    ns->max_open = (unsigned)open_zones;
    ns->max_active = (unsigned)active_zones;
    if (ns->max_active != 0 && (ns->max_open == 0 || ns->max_open > ns->max_active))
        ns->max_open = ns->max_active; /* what is open is active */
    if (nvme_make_zones(ns) == 0)
        return true;
    complain("--zone-size %llu, --zone-capacity %llu: zones are whole blocks, the disk has at least one of "
             "them, and "
             "their capacity is no more than their size",
             (unsigned long long)zone_size, (unsigned long long)zone_capacity);
    return false;
}

static bool read_script(const struct script_names *names)
{
    static char text[1 << 16];
    FILE *file = fopen(script_path, "r");
    char message[1024];
    size_t length;

    if (file == NULL) {
        complain("%s: %s", script_path, strerror(errno));
        return false;
    }
    length = fread(text, 1, sizeof text, file);
    fclose(file);
    if (length == sizeof text) {
        complain("%s: more than a script: it may have 64 KiB", script_path);
        return false;
    }
    if (script_parse(&script, names, script_path, text, length, message, sizeof message) == 0)
        return true;
    complain("%s", message);
    return false;
}

static int serve(struct server *server, struct model *model)
{
    int error;

    if (script_path != NULL) {
        if (!read_script(model->class->names))
            return EXIT_USAGE;
        model->script = &script;
    }
    printf("vfio-user:%s\n", socket_path); /* whoever waits for it can go on */
    fflush(stdout);
    error = server_run(server, model, chalk_exit_requested);
    if (error != 0)
        complain("cannot serve: %s", strerror(-error));
    if (script.trespassed) {
        complain("was let into memory that nobody lent it");
        return EXIT_BAD;
    }
    return error == 0 ? EXIT_GOOD : EXIT_BAD;
}

static int serve_nvme(struct server *server)
{
    static struct nvme_model nvme;
    int status = EXIT_USAGE;

    nvme.serial = serial;
    if (add_namespace(&nvme.namespaces[0], backing, size, block_size) && add_zones(&nvme.namespaces[0]) &&
        (second_size == 0 ||
         add_namespace(&nvme.namespaces[1], second_backing, second_size, second_block_size))) {
        nvme.namespaces[1].attached &= !detached;
        nvme.spare = spare;
        nvme_model_init(&nvme, server_world(server));
        status = serve(server, &nvme.model);
        nvme_model_end(&nvme);
    }
    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        store_close(nvme.namespaces[i].store);
    return status;
}

static int serve_edu(struct server *server)
{
    static struct edu_model edu;

    edu_model_init(&edu, server_world(server));
    return serve(server, &edu.model);
}

static void pin(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        complain("cannot run on processor %llu: %s", (unsigned long long)processor, strerror(errno));
}

int main(int argc, char *argv[])
{
    struct server *server;
    const char *name;
    int status;

    if (!options_parse(&command, argc, argv, &name, &status))
        return status;
    if (name == NULL || (strcmp(name, "nvme") != 0 && strcmp(name, "edu") != 0)) {
        complain("%s%sname a model: nvme or edu", name != NULL ? name : "", name != NULL ? " is none; " : "");
        return EXIT_USAGE;
    }
    if (socket_path == NULL) {
        complain("--socket is missing: where shall clients connect? For example: --socket /tmp/disk");
        return EXIT_USAGE;
    }
    if (chalk_start(&(struct chalk_start_options){.handle_signals = true}) != 0)
        return EXIT_BAD;
    if (processor != UINT64_MAX)
        pin();
    status = EXIT_BAD;
    if (server_open(
            &(struct server_options){
                .path = socket_path, .spin = spin, .copies = copies, .single = single, .once = once},
            &server) == 0) {
        status = strcmp(name, "nvme") == 0 ? serve_nvme(server) : serve_edu(server);
        server_close(server);
    }
    chalk_stop();
    return status;
}
