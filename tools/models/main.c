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
#include <unistd.h>

#include <chalk/hosted.h>
#include <chalk/log.h>

#include "hosted/cgroup.h"
#include "hosted/output.h"
#include "tools/nvme/json.h"
#include "tools/nvme/options.h"

static const char *socket_path, *backing = "ram", *second_backing = "ram", *serial = "chalk", *script_path;
static uint64_t size, second_size, block_size = 512, second_block_size = 512, processor = UINT64_MAX;
static uint64_t zone_size, zone_capacity, open_zones, active_zones;
static uint64_t spare;
static bool detached, spin, copies, single, once, json;
static struct script script;

static const struct option options[] = {
    {"socket", OPTION_WORD, &socket_path, 0, 0, NULL, "PATH",
     "where to listen; clients name the device vfio-user:PATH"},
    {"size", OPTION_NUMBER, &size, 4096, 1ull << 50, NULL, "BYTES",
     "nvme: size of the disk; if absent, that of its file"},
    {"block-size", OPTION_NUMBER, &block_size, 512, 4096, NULL, "BYTES",
     "of the disk, 512 or 4096; 512 if absent"},
    {"backing", OPTION_WORD, &backing, 0, 0, NULL, "null|ram|file:PATH|raw:PATH",
     "where its data is; null: nowhere, and reads leave the buffer as it was; raw: a file whatever its first "
     "bytes say"},
    {"size2", OPTION_NUMBER, &second_size, 4096, 1ull << 50, NULL, "BYTES",
     "nvme: size of a second namespace"},
    {"block-size2", OPTION_NUMBER, &second_block_size, 512, 4096, NULL, "BYTES",
     "of the disk, 512 or 4096; 512 if absent"},
    {"backing2", OPTION_WORD, &second_backing, 0, 0, NULL, "null|ram|file:PATH|raw:PATH",
     "where the second namespace's data is"},
    {"detached2", OPTION_FLAG, &detached, 0, 0, NULL, NULL,
     "the second namespace is not attached to the controller at first"},
    {"spare", OPTION_NUMBER, &spare, 4096, 1ull << 50, NULL, "BYTES",
     "nvme: memory for namespaces that clients create"},
    {"zone-size", OPTION_NUMBER, &zone_size, 512, 1ull << 40, NULL, "BYTES",
     "the first namespace has zones of this size"},
    {"zone-capacity", OPTION_NUMBER, &zone_capacity, 512, 1ull << 40, NULL, "BYTES",
     "what can be written of each zone; all of it if absent"},
    {"open-zones", OPTION_NUMBER, &open_zones, 1, UINT32_MAX - 1, NULL, "N",
     "zones that can be open at once; all if absent"},
    {"active-zones", OPTION_NUMBER, &active_zones, 1, UINT32_MAX - 1, NULL, "N",
     "zones that can be active at once; all if absent"},
    {"serial", OPTION_WORD, &serial, 0, 0, NULL, "TEXT", "nvme: serial number; chalk if absent"},
    {"poll", OPTION_FLAG, &spin, 0, 0, NULL, NULL,
     "poll the doorbells: fast, and takes a processor of its own"},
    {"processor", OPTION_NUMBER, &processor, 0, CPU_SETSIZE - 1, NULL, "N", "run on this processor"},
    {"copy", OPTION_FLAG, &copies, 0, 0, NULL, NULL, "reach the client's memory by messages only"},
    {"single", OPTION_FLAG, &single, 0, 0, NULL, NULL, "offer no twin socket"},
    {"once", OPTION_FLAG, &once, 0, 0, NULL, NULL, "end when the first client has gone"},
    {"json", OPTION_FLAG, &json, 0, 0, NULL, NULL, "print the address as one line of JSON, with the process"},
    {"script", OPTION_WORD, &script_path, 0, 0, NULL, "FILE", "misbehave as the script says: docs/models.md"},
};

static const struct command command = {
    .name = "chalk-model",
    .summary = "Serves a model of a device to programs that speak vfio-user.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .operand = "MODEL",
    .operand_help = "nvme or edu",
    .environment =
        "  CHALK_LOG=LEVEL              error, warning, info or trace: the least important messages to "
        "show\n",
};

/* ---- what cannot be meant ---- */

static bool is_edu(const char *name)
{
    return strcmp(name, "edu") == 0;
}

/* Every model has these: the server's, and --script. The others describe a disk. */
static const char *const of_all_models[] = {"socket", "poll", "processor", "copy",
                                            "single", "once", "json",      "script"};

static bool is_of_all_models(const char *name)
{
    for (size_t i = 0; i < sizeof of_all_models / sizeof of_all_models[0]; i++)
        if (strcmp(of_all_models[i], name) == 0)
            return true;
    return false;
}

static bool has_second(void)
{
    return second_size != 0 || store_is_file(second_backing);
}

/* An option that says more of what another one makes. */
static bool needs(const char *name, bool there, const char *other)
{
    if (there || !options_given(&command, name))
        return true;
    complain("--%s: only with %s", name, other);
    return false;
}

/* Its field has 20 bytes of ASCII, and ends with spaces [Base 5.17.2.1, SN]. */
static bool check_serial(void)
{
    size_t length = strlen(serial);

    for (size_t i = 0; i < length; i++)
        if (serial[i] < ' ' || serial[i] > '~') {
            complain("--serial: only printable ASCII characters");
            return false;
        }
    if (length <= 20)
        return true;
    complain("--serial %s: at most 20 characters", serial);
    return false;
}

/* Whether the model that was named can do all that the options say. */
static bool check_options(const char *name)
{
    for (size_t i = 0; is_edu(name) && i < command.option_count; i++)
        if (!is_of_all_models(options[i].name) && options_given(&command, options[i].name)) {
            complain("--%s: it describes a disk, and %s is none: only with nvme", options[i].name, name);
            return false;
        }
    if (!needs("detached2", has_second(), "a second namespace: --size2 or --backing2 file:PATH") ||
        !needs("block-size2", has_second(), "a second namespace: --size2 or --backing2 file:PATH") ||
        !needs("backing2", has_second(), "a second namespace: --size2") ||
        !needs("zone-capacity", zone_size != 0, "--zone-size") ||
        !needs("open-zones", zone_size != 0, "--zone-size") ||
        !needs("active-zones", zone_size != 0, "--zone-size"))
        return false;
    if (!check_serial())
        return false;
    if (active_zones == 0 || open_zones <= active_zones)
        return true;
    complain("--open-zones %llu: more than --active-zones %llu, and what is open is active",
             (unsigned long long)open_zones, (unsigned long long)active_zones);
    return false;
}

/* ---- the disk ---- */

/* The second namespace's options have a 2 behind their names: `more`. */
static bool add_namespace(struct nvme_namespace *ns, const char *where, uint64_t bytes, uint64_t block,
                          const char *more)
{
    if (block != 512 && block != 4096) {
        complain("--block-size%s %llu: must be 512 or 4096", more, (unsigned long long)block);
        return false;
    }
    if (bytes == 0 && !store_is_file(where)) {
        complain("--size%s is missing: the size of the disk, for example --size%s 1G", more, more);
        return false;
    }
    if (bytes % block != 0) {
        complain("--size%s %llu: not a multiple of the block size, %llu", more, (unsigned long long)bytes,
                 (unsigned long long)block);
        return false;
    }
    if (store_open(where, bytes, &ns->store) != 0)
        return false;
    if (store_size(ns->store) == 0 || store_size(ns->store) % block != 0) {
        complain("%s: its %llu bytes are not a whole number of blocks of %llu bytes, at least one: is it a "
                 "disk image?",
                 where, (unsigned long long)store_size(ns->store), (unsigned long long)block);
        return false;
    }
    ns->shift = block == 512 ? 9 : 12;
    ns->blocks = store_size(ns->store) >> ns->shift;
    ns->attached = true;
    return true;
}

static uint64_t in_memory(const char *where, uint64_t bytes)
{
    return strcmp(where, "ram") == 0 ? bytes : 0;
}

/*
 * A disk in memory takes a page when it is first written, so it may be larger than memory: most tests write
 * little. But beyond a control group's limit Linux ends the process, and the disk is lost; that is said at
 * the start, as it cannot be when it happens.
 */
static void warn_of_limit(void)
{
    uint64_t most = in_memory(backing, size) + in_memory(second_backing, second_size) + spare;
    struct cgroup_room room;

    hosted_cgroup_memory("/proc/self", &room);
    if (most > room.bytes)
        chalk_log(
            CHALK_WARNING,
            "disks of %llu KiB are in memory, and a control group of this process allows %llu KiB more: "
            "beyond that\n  Linux ends it, and they are lost; --backing file:PATH keeps them, or raise %s",
            (unsigned long long)most / 1024, (unsigned long long)room.bytes / 1024, room.limit);
}

static bool add_zones(struct nvme_namespace *ns)
{
    uint64_t bytes = ns->blocks << ns->shift, block = 1ull << ns->shift;

    if (zone_size == 0)
        return true;
    if (zone_capacity == 0)
        zone_capacity = zone_size;
    if (zone_size % block != 0 || zone_capacity % block != 0 || zone_capacity > zone_size ||
        bytes % zone_size != 0) {
        complain(
            "--zone-size %llu, --zone-capacity %llu: both must be whole blocks, the capacity at most the "
            "size, and the disk, %llu bytes, whole zones",
            (unsigned long long)zone_size, (unsigned long long)zone_capacity, (unsigned long long)bytes);
        return false;
    }
    ns->zone_size = zone_size >> ns->shift;
    ns->zone_capacity = zone_capacity >> ns->shift;
    ns->max_open = (unsigned)(open_zones != 0 ? open_zones : active_zones); /* what is open is active */
    ns->max_active = (unsigned)active_zones;
    if (nvme_make_zones(ns) == 0)
        return true;
    complain("no memory for %llu zones", (unsigned long long)(bytes / zone_size));
    return false;
}

/* ---- serving it ---- */

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
    errno = 0;
    length = fread(text, 1, sizeof text, file);
    if (ferror(file)) { /* a folder can be opened, and not read */
        complain("--script %s: cannot be read: %s", script_path, strerror(errno));
        fclose(file);
        return false;
    }
    fclose(file);
    if (length == sizeof text) {
        complain("%s: too long: a script has less than 64 KiB", script_path);
        return false;
    }
    if (script_parse(&script, names, script_path, text, length, message, sizeof message) == 0)
        return true;
    complain("%s", message);
    return false;
}

static void print_address(const struct model *model)
{
    char address[sizeof "vfio-user:" + 108]; /* unix(7): with its zero, a path has 108 bytes */

    snprintf(address, sizeof address, "vfio-user:%s", socket_path);
    if (!json) {
        printf("%s\n", address);
        return;
    }
    json_open_object(NULL);
    json_put_text("model", model->class->names->device);
    json_put_text("address", address);
    json_put_number("process", (uint64_t)getpid());
    json_close();
}

static int serve(struct server *server, struct model *model)
{
    int error;

    if (script_path != NULL) {
        if (!read_script(model->class->names))
            return EXIT_USAGE;
        model->script = &script;
    }
    print_address(model); /* who waits for the model can connect from here on */
    if (hosted_output_finish(EXIT_GOOD) != EXIT_GOOD)
        return EXIT_BAD;
    error = server_run(server, model, chalk_exit_requested);
    if (error != 0)
        complain("cannot serve %s: %s", socket_path, strerror(-error));
    if (script.trespassed) {
        complain("the client's memory that it had not mapped could be reached");
        return EXIT_BAD;
    }
    return error == 0 ? EXIT_GOOD : EXIT_BAD;
}

static int serve_nvme(struct server *server)
{
    static struct nvme_model nvme;
    int status = EXIT_USAGE;

    nvme.serial = serial;
    if (add_namespace(&nvme.namespaces[0], backing, size, block_size, "") && add_zones(&nvme.namespaces[0]) &&
        (!has_second() ||
         add_namespace(&nvme.namespaces[1], second_backing, second_size, second_block_size, "2"))) {
        warn_of_limit();
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

static bool pin(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) == 0)
        return true;
    complain("--processor %llu: cannot run there: %s; those it may run on: taskset -cp $$",
             (unsigned long long)processor, strerror(errno));
    return false;
}

int main(int argc, char *argv[])
{
    struct server *server;
    const char *name;
    int status;

    hosted_output_start();
    if (!options_parse(&command, argc, argv, &name, &status))
        return hosted_output_finish(status);
    if (name == NULL || (strcmp(name, "nvme") != 0 && !is_edu(name))) {
        if (name != NULL)
            complain("%s: there is no such model; name a model: nvme or edu", name);
        else
            complain("name a model: nvme or edu");
        return EXIT_USAGE;
    }
    if (socket_path == NULL) {
        complain("--socket is missing: the path where clients connect, for example --socket /tmp/disk");
        return EXIT_USAGE;
    }
    if (!check_options(name) || (processor != UINT64_MAX && !pin()))
        return EXIT_USAGE;
    if (chalk_start(&(struct chalk_start_options){.handle_signals = true}) != 0)
        return EXIT_BAD;
    status = EXIT_BAD;
    if (server_open(
            &(struct server_options){
                .path = socket_path, .spin = spin, .copies = copies, .single = single, .once = once},
            &server) == 0) {
        status = is_edu(name) ? serve_edu(server) : serve_nvme(server);
        server_close(server);
    }
    chalk_stop();
    return status;
}
