/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-zns: the zones of a zoned namespace: listed, opened, closed, finished, reset, appended to.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme_zns.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "pattern.h"
#include "session.h"

#define BUFFER ((size_t)64 << 10) /* bytes, for reports and appended blocks */

struct zns {
    struct session session;
    struct chalk_nvme_zoned zoned;
    struct chalk_dma buffer, data;   /* all of it, and what is appended */
    struct chalk_block_request read; /* if it is late it is under way until the queue is closed */
    struct chalk_nvme_zone *zones;
    bool json;
    struct {
        uint32_t blocks; /* 0: nothing was appended */
        uint64_t zone, lba;
    } appended;
};

static uint64_t soon(void)
{
    return chalk_deadline(30 * CHALK_S);
}

static void print_limit(const char *what, uint32_t limit)
{
    if (limit == UINT32_MAX)
        printf(", any number of them %s", what);
    else
        printf(", at most %" PRIu32 " %s", limit, what);
}

static void print_text(const struct zns *z, unsigned count)
{
    if (z->appended.blocks != 0)
        printf("appended %" PRIu32 " blocks to zone %" PRIu64 ": they are at block %" PRIu64
               "\nread back: the same\n",
               z->appended.blocks, z->appended.zone, z->appended.lba);
    printf("namespace %" PRIu32 ": %" PRIu64 " zones of %" PRIu64 " blocks", z->session.ns.nsid,
           z->zoned.zone_count, z->zoned.zone_size);
    print_limit("open", z->zoned.max_open);
    print_limit("active", z->zoned.max_active);
    printf("; appends of up to %" PRIu32 " bytes\n", z->zoned.max_append);
    for (unsigned i = 0; i < count; i++) {
        const struct chalk_nvme_zone *zone = &z->zones[i];

        printf("  zone %4" PRIu64 "  from block %8" PRIu64 ", %" PRIu64 " of %" PRIu64 " written, %s\n",
               zone->start / z->zoned.zone_size, zone->start, zone->write_pointer - zone->start,
               zone->capacity, chalk_nvme_zone_state_name(zone->state));
    }
}

static void print_json_limit(const char *name, uint32_t limit)
{
    if (limit == UINT32_MAX)
        json_put_null(name);
    else
        json_put_number(name, limit);
}

static void print_json(const struct zns *z, unsigned count)
{
    json_open_object(NULL);
    json_put_number("namespace", z->session.ns.nsid);
    json_put_number("zone_count", z->zoned.zone_count);
    json_put_number("zone_size", z->zoned.zone_size);
    print_json_limit("max_open", z->zoned.max_open);
    print_json_limit("max_active", z->zoned.max_active);
    json_put_number("max_append", z->zoned.max_append);
    if (z->appended.blocks != 0) {
        json_open_object("appended");
        json_put_number("zone", z->appended.zone);
        json_put_number("blocks", z->appended.blocks);
        json_put_number("lba", z->appended.lba);
        json_close();
    }
    json_open_list("zones");
    for (unsigned i = 0; i < count; i++) {
        const struct chalk_nvme_zone *zone = &z->zones[i];

        json_open_object(NULL);
        json_put_number("zone", zone->start / z->zoned.zone_size);
        json_put_number("start", zone->start);
        json_put_number("capacity", zone->capacity);
        json_put_number("written", zone->write_pointer - zone->start);
        json_put_text("state", chalk_nvme_zone_state_name(zone->state));
        json_close();
    }
    json_close();
    json_close();
}

/* Lists up to `most` zones, from number `first` on. */
static int list(struct zns *z, uint64_t first, uint64_t most)
{
    unsigned count = most < z->zoned.zone_count ? (unsigned)most : (unsigned)z->zoned.zone_count;
    int error = chalk_nvme_report_zones(z->session.queue, &z->zoned, first * z->zoned.zone_size, &z->buffer,
                                        z->zones, &count, soon());

    if (error != 0) {
        complain("cannot list the zones of namespace %" PRIu32 " of %s: %s", z->session.ns.nsid,
                 z->session.bus.name, chalk_error_name(error));
        return EXIT_BAD;
    }
    (z->json ? print_json : print_text)(z, count);
    return EXIT_GOOD;
}

static const struct {
    const char *name;
    enum chalk_nvme_zone_action action;
} actions[] = {
    {"open", CHALK_NVME_ZONE_OPEN},       {"close", CHALK_NVME_ZONE_CLOSE},
    {"finish", CHALK_NVME_ZONE_FINISH},   {"reset", CHALK_NVME_ZONE_RESET},
    {"offline", CHALK_NVME_ZONE_OFFLINE},
};

static int act(struct zns *z, const char *name, uint64_t zone, bool all)
{
    enum chalk_nvme_zone_action action = CHALK_NVME_ZONE_OPEN;
    int error;

    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(actions[i].name, name) == 0)
            action = actions[i].action;
    error = chalk_nvme_do_zone(z->session.queue, zone * z->zoned.zone_size, action, all, soon());
    if (error == 0)
        return EXIT_GOOD;
    if (all)
        complain("%s of all zones failed: %s", name, chalk_error_name(error));
    else
        complain("%s of zone %" PRIu64 " failed: %s", name, zone, chalk_error_name(error));
    return EXIT_BAD;
}

/* Appends blocks of nvme-verify's pattern, and reads them back from where they went. */
static int append(struct zns *z, uint64_t zone, uint32_t count)
{
    const uint32_t size = z->session.queue->info.block_size;
    const size_t bytes = (size_t)count * size;
    void *data = z->buffer.va;
    uint64_t *copy = malloc(bytes);
    int error;

    z->data = (struct chalk_dma){data, z->buffer.iova, bytes};
    z->read = (struct chalk_block_request){
        .op = CHALK_BLOCK_READ, .count = count, .segments = &z->data, .segment_count = 1};

    if (!copy) {
        complain("no memory for %" PRIu32 " blocks", count);
        return EXIT_BAD;
    }
    for (uint32_t i = 0; i < count; i++)
        pattern_fill((uint64_t *)data + i * (size_t)(size / 8), size / 8, i, 1);
    memcpy(copy, data, bytes);
    error = chalk_nvme_append(z->session.queue, &z->zoned, zone * z->zoned.zone_size, count, &z->data, 1,
                              &z->read.lba, soon());
    if (error == 0) {
        memset(data, 0, bytes);
        error = chalk_block_do(z->session.queue, &z->read, soon());
    }
    if (error != 0) {
        complain("appending %" PRIu32 " blocks to zone %" PRIu64 " failed: %s", count, zone,
                 chalk_error_name(error));
    } else if (memcmp(copy, data, bytes) != 0) {
        complain("blocks from %" PRIu64 " on are not what was appended", z->read.lba);
        error = -EIO;
    } else {
        z->appended.blocks = count;
        z->appended.zone = zone;
        z->appended.lba = z->read.lba;
    }
    free(copy);
    return error == 0 ? EXIT_GOOD : EXIT_BAD;
}

static bool prepare(struct zns *z)
{
    const uint32_t nsid = z->session.ns.nsid;
    int error = chalk_nvme_identify_zoned(z->session.nvme, nsid, &z->zoned);

    if (error != 0) {
        complain("namespace %" PRIu32 " of %s has no zones: %s", nsid, z->session.bus.name,
                 chalk_error_name(error));
        return false;
    }
    z->zones = session_get_memory(
        &z->session, z->zoned.zone_count < 65536 ? (size_t)z->zoned.zone_count : 65536, sizeof(*z->zones));
    if (!z->zones || session_get_buffers(&z->session, BUFFER, CHALK_PAGE, &z->buffer) != 0) {
        complain("no memory for a list of %" PRIu64 " zones", z->zoned.zone_count);
        return false;
    }
    return true;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {.depth = 4};
    static struct zns z;
    const char *action = NULL;
    uint64_t nsid = 0, zone = UINT64_MAX, most = 65536, blocks = 0;
    bool all = false, overwrite = false;
    const struct option options[] = {
        {"namespace", OPTION_NUMBER, &nsid, 1, UINT32_MAX - 1, NULL, "N",
         "identifier of the namespace; the first one if absent"},
        {"zone", OPTION_NUMBER, &zone, 0, UINT32_MAX, NULL, "N",
         "number of the zone; the first one if absent"},
        {"count", OPTION_NUMBER, &most, 1, 65536, NULL, "N", "how many zones to list; all if absent"},
        {"do", OPTION_WORD, &action, 0, 0, "open|close|finish|reset|offline", "ACTION",
         "open, close, finish, reset or offline, for --zone N or --all"},
        {"all", OPTION_FLAG, &all, 0, 0, NULL, NULL, "do it with all zones whose state allows it"},
        {"append", OPTION_NUMBER, &blocks, 1, 65536, NULL, "BLOCKS",
         "append so many blocks to --zone N, and read them back"},
        {"overwrite", OPTION_FLAG, &overwrite, 0, 0, NULL, NULL,
         "yes, destroy or change what the zones hold"},
        {"json", OPTION_FLAG, &z.json, 0, 0, NULL, NULL, "the zones as one line of JSON"},
    };
    const struct command command = {
        .name = "nvme-zns",
        .summary = "Lists the zones of a zoned namespace, after changing them if asked to.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if ((action && blocks) || ((action || blocks) && (zone != UINT64_MAX) == all) || (blocks && all)) {
        complain("give --do with --zone or --all, or --append with --zone, or neither");
        return EXIT_USAGE;
    }
    wanted.nsid = (uint32_t)nsid;
    if (!session_open(&z.session, &wanted))
        return session_failed();
    status = EXIT_BAD;
    if (prepare(&z)) {
        uint64_t first = zone != UINT64_MAX ? zone : 0;
        uint64_t limit = z.zoned.max_append < BUFFER ? z.zoned.max_append : BUFFER;

        status = EXIT_USAGE;
        if (first >= z.zoned.zone_count)
            complain("--zone %" PRIu64 ": the last zone is %" PRIu64, first, z.zoned.zone_count - 1);
        else if (blocks * z.session.queue->info.block_size > limit)
            complain("--append %" PRIu64 ": an append has at most %" PRIu64 " bytes", blocks, limit);
        else if ((!action && !blocks) ||
                 session_may_write(&z.session, first * z.zoned.zone_size,
                                   all ? z.session.queue->info.block_count : z.zoned.zone_size, overwrite))
            status = action   ? act(&z, action, first, all)
                     : blocks ? append(&z, first, (uint32_t)blocks)
                              : EXIT_GOOD;
        if (status == EXIT_GOOD)
            status = list(&z, all ? 0 : first, most);
    }
    session_close(&z.session);
    return status;
}
