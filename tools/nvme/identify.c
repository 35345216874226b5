/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-identify: what a controller and its namespaces say they are. What it prints depends on the device
 * alone, so the same device gives the same text in every world; where it is plugged in is shown by --verbose.
 */
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <inttypes.h>
#include <stdio.h>

#include "json.h"
#include "options.h"
#include "session.h"

/* "512 bytes", "64 MiB", "1.5 GiB": exact below 1 KiB, else to a tenth. */
static const char *size_text(uint64_t bytes, char text[48])
{
    static const char units[] = "KMGTPE";
    unsigned unit = 0;

    if (bytes < 1024) {
        snprintf(text, 48, "%" PRIu64 " bytes", bytes);
        return text;
    }
    while (unit + 1 < sizeof(units) - 1 && bytes >> (10 * (unit + 2)) != 0)
        unit++;

    uint64_t one = 1ull << (10 * (unit + 1));
    uint64_t tenths = (bytes % one) * 10 / one;

    if (tenths != 0)
        snprintf(text, 48, "%" PRIu64 ".%" PRIu64 " %ciB", bytes / one, tenths, units[unit]);
    else
        snprintf(text, 48, "%" PRIu64 " %ciB", bytes / one, units[unit]);
    return text;
}

/* What it has of the program's kind of memory. Most have none. */
static void print_own_memory(const struct chalk_nvme_info *info)
{
    static const char *const uses[] = {"submission queues", "completion queues", "lists", "data to read",
                                       "data to write"};
    const char *separator = ", for ";
    char text[48];

    if (info->controller_memory.size != 0) {
        printf("  own memory       %s", size_text(info->controller_memory.size, text));
        for (unsigned i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
            if (info->controller_memory.uses >> i & 1) {
                printf("%s%s", separator, uses[i]);
                separator = ", ";
            }
        printf("\n");
    }
    if (info->persistent_memory)
        printf("  and a region of persistent memory\n");
}

static void print_controller(const struct session *session, bool verbose)
{
    const struct chalk_nvme_info *info = chalk_nvme_get_info(session->nvme);
    char text[48];

    printf("Controller\n");
    if (verbose) {
        const struct chalk_bus_info *bus = &session->bus;

        printf("  address          %s\n", bus->name);
        printf("  bound to         %s\n", bus->bound_to[0] ? bus->bound_to : "nothing");
        if (bus->node != 0)
            printf("  NUMA node        %d\n", CHALK_NODE_NUMBER(bus->node));
        else
            printf("  NUMA node        unknown\n");
        printf("  vectors in use   %u\n", info->vectors);
    }
    printf("  model            %s\n", info->model);
    printf("  serial number    %s\n", info->serial);
    printf("  firmware         %s\n", info->firmware);
    printf("  vendor           %04x, subsystem %04x\n", info->vendor, info->subsystem_vendor);
    printf("  controller id    %u\n", info->controller_id);
    printf("  NVMe version     %u.%u.%u\n", info->version >> 16, info->version >> 8 & 0xff,
           info->version & 0xff);
    printf("  namespaces       up to %" PRIu32 "\n", info->namespace_count);
    printf("  largest transfer %s\n", size_text(info->max_transfer, text));
    printf("  page size        %s\n", size_text(info->page_size, text));
    printf("  queue entries    up to %u\n", info->max_queue_entries);
    printf("  doorbell stride  %" PRIu32 " bytes\n", info->doorbell_stride);
    printf("  write cache      %s\n",
           info->volatile_cache ? "volatile: flush for durability" : "none that is volatile");
    print_own_memory(info);
}

static void print_namespace(const struct chalk_nvme_namespace *ns)
{
    char text[48];
    unsigned formats = sizeof(ns->formats) / sizeof(ns->formats[0]);

    printf("\nNamespace %" PRIu32 "\n", ns->nsid);
    printf("  size             %" PRIu64 " blocks", ns->size);
    if (ns->size <= UINT64_MAX / (ns->block_size ? ns->block_size : 1))
        printf(", %s", size_text(ns->size * ns->block_size, text));
    printf("\n");
    printf("  capacity         %" PRIu64 " blocks\n", ns->capacity);
    printf("  used             %" PRIu64 " blocks\n", ns->used);
    if (ns->format_count < formats)
        formats = ns->format_count;
    for (unsigned i = 0; i < formats; i++) {
        printf("  format %2u        %" PRIu32 " bytes a block", i, ns->formats[i].block_size);
        if (ns->formats[i].metadata_size != 0)
            printf(" and %u of metadata", ns->formats[i].metadata_size);
        printf("%s\n", i == ns->format ? "  <- in use" : "");
    }
}

/* ---- --json, under the names that the specification has for the fields -------------------------------- */

static void print_json_controller(const struct session *session)
{
    const struct chalk_nvme_info *info = chalk_nvme_get_info(session->nvme);

    json_open_object(NULL);
    json_put_text("address", session->bus.name);
    json_put_number("vid", info->vendor);
    json_put_number("ssvid", info->subsystem_vendor);
    json_put_text("sn", info->serial);
    json_put_text("mn", info->model);
    json_put_text("fr", info->firmware);
    json_put_number("cntlid", info->controller_id);
    json_put_number("ver", info->version);
    json_put_number("oncs", info->optional_commands);
    json_put_number("nn", info->namespace_count);
    json_put_number("vwc", info->volatile_cache);
    json_put_number("max_transfer", info->max_transfer);
    json_put_number("page_size", info->page_size);
    json_put_number("queue_entries", info->max_queue_entries);
    json_put_number("controller_memory", info->controller_memory.size);
    json_open_list("namespaces");
}

static void print_json_namespace(const struct chalk_nvme_namespace *ns)
{
    json_open_object(NULL);
    json_put_number("nsid", ns->nsid);
    json_put_number("nsze", ns->size);
    json_put_number("ncap", ns->capacity);
    json_put_number("nuse", ns->used);
    json_put_number("format", ns->format);
    json_open_list("formats");
    for (unsigned i = 0; i < ns->format_count; i++) {
        json_open_object(NULL);
        json_put_number("block_size", ns->formats[i].block_size);
        json_put_number("metadata_size", ns->formats[i].metadata_size);
        json_close();
    }
    json_close();
    json_close();
}

int chalk_main(int argc, char *argv[])
{
    bool verbose = false, json = false;
    struct session_options wanted = {0};
    struct session session;
    const struct option options[] = {
        {.name = "verbose",
         .kind = OPTION_FLAG,
         .value = &verbose,
         .help = "also show where the controller is attached"},
        {.name = "json",
         .kind = OPTION_FLAG,
         .value = &json,
         .help = "one line of JSON, under the specification's names"},
    };
    const struct command command = {
        .name = "nvme-identify",
        .summary = "Shows what an NVMe controller and its namespaces are. Reads only.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (!session_open(&session, &wanted))
        return session_failed();

    struct chalk_nvme_namespace ns = {0}; /* the last one seen */
    int error;

    if (json)
        print_json_controller(&session);
    else
        print_controller(&session, verbose);
    for (uint32_t after = 0;
         (error = chalk_nvme_next_namespace(session.nvme, after, &ns)) == 0 && !chalk_exit_requested();
         after = ns.nsid) {
        if (json)
            print_json_namespace(&ns);
        else
            print_namespace(&ns);
    }
    if (json) {
        json_close();
        json_close();
    }
    if (error == 0) {
        status = EXIT_INTERRUPTED;
    } else if (error == -ENOENT) {
        status = EXIT_GOOD;
    } else {
        complain("cannot identify the namespace after %" PRIu32 ": %s", ns.nsid, chalk_error_name(error));
        status = EXIT_BAD;
    }
    session_close(&session);
    return status;
}
