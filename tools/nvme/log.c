/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-log: a log page of an NVMe controller, in words; any other, byte for byte; or what the controller
 * reports of its own accord, as it comes.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme_admin.h>

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "session.h"

#define KELVIN 273

static void print_count(const char *name, uint64_t count, const char *unit)
{
    if (count == UINT64_MAX)
        printf("  %-22s more than 64 bits hold%s\n", name, unit);
    else
        printf("  %-22s %" PRIu64 "%s\n", name, count, unit);
}

static int print_health(struct chalk_nvme *nvme)
{
    static const char *const warnings[] = {"spare capacity is low",
                                           "temperature is out of bounds",
                                           "reliability is degraded",
                                           "the medium is read-only",
                                           "the volatile memory's backup has failed",
                                           "persistent memory is read-only"};
    struct chalk_nvme_health health;
    int error = chalk_nvme_read_health(nvme, &health);

    if (error != 0)
        return error;
    printf("Health\n");
    for (unsigned i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++)
        if ((health.critical_warning >> i & 1) != 0)
            printf("  warning                %s\n", warnings[i]);
    printf("  temperature            %d degrees Celsius\n", health.temperature - KELVIN);
    for (unsigned i = 0; i < 8; i++)
        if (health.sensors[i] != 0)
            printf("  sensor %u               %d degrees Celsius\n", i + 1, health.sensors[i] - KELVIN);
    printf("  spare                  %u%%, threshold %u%%\n", health.spare, health.spare_threshold);
    printf("  used                   %u%%\n", health.used);
    print_count("read", health.units_read, " times 512000 bytes");
    print_count("written", health.units_written, " times 512000 bytes");
    print_count("read commands", health.reads, "");
    print_count("write commands", health.writes, "");
    print_count("busy", health.busy_minutes, " minutes");
    print_count("power cycles", health.power_cycles, "");
    print_count("power on", health.power_hours, " hours");
    print_count("unsafe shutdowns", health.unsafe_shutdowns, "");
    print_count("media errors", health.media_errors, "");
    print_count("error log entries", health.errors, "");
    printf("  too hot                %" PRIu32 " minutes, critically %" PRIu32 "\n", health.warning_minutes,
           health.critical_minutes);
    return 0;
}

static int print_errors(struct chalk_nvme *nvme)
{
    struct chalk_nvme_error errors[64];
    unsigned count = sizeof(errors) / sizeof(errors[0]);
    int error = chalk_nvme_read_errors(nvme, errors, &count);

    if (error != 0)
        return error;
    printf("Errors, %u\n", count);
    for (unsigned i = 0; i < count; i++)
        printf("  number %" PRIu64 ": queue %u, command 0x%04x, namespace %" PRIu32 ", block %" PRIu64
               ": %s (status 0x%03x)\n",
               errors[i].number, errors[i].queue, errors[i].command, errors[i].nsid, errors[i].lba,
               chalk_nvme_status_name(errors[i].status), errors[i].status & 0x7ff);
    return 0;
}

static int print_firmware(struct chalk_nvme *nvme)
{
    struct chalk_nvme_firmware firmware;
    int error = chalk_nvme_read_firmware(nvme, &firmware);

    if (error != 0)
        return error;
    printf("Firmware\n");
    for (unsigned i = 0; i < 7; i++)
        if (firmware.revisions[i][0] != '\0' || firmware.active == i + 1)
            printf("  slot %u  %-8s%s%s\n", i + 1, firmware.revisions[i],
                   firmware.active == i + 1 ? "  <- in use" : "",
                   firmware.next == i + 1 ? "  <- after the next reset" : "");
    return 0;
}

static int print_changed(struct chalk_nvme *nvme)
{
    static uint32_t nsids[1024];
    unsigned count;
    int error = chalk_nvme_read_changed(nvme, nsids, &count);

    if (error != 0)
        return error;
    if (count == UINT_MAX) {
        printf("Changed namespaces, more than can be listed\n");
        return 0;
    }
    printf("Changed namespaces, %u\n", count);
    for (unsigned i = 0; i < count; i++)
        printf("  %" PRIu32 "\n", nsids[i]);
    return 0;
}

static void print_effect(const char *kind, unsigned opcode, uint32_t effect)
{
    static const char *const alone[] = {"", ", alone in its namespace", ", alone on the controller"};

    if ((effect & CHALK_NVME_EFFECT_SUPPORTED) == 0)
        return;
    printf("  %s %02x%s%s%s%s%s\n", kind, opcode,
           (effect & CHALK_NVME_EFFECT_BLOCKS) != 0 ? ", changes blocks" : "",
           (effect & CHALK_NVME_EFFECT_NAMESPACE) != 0 ? ", changes namespaces" : "",
           (effect & CHALK_NVME_EFFECT_INVENTORY) != 0 ? ", changes which namespaces there are" : "",
           (effect & CHALK_NVME_EFFECT_CONTROLLER) != 0 ? ", changes the controller" : "",
           CHALK_NVME_EFFECT_ALONE(effect) <= 2 ? alone[CHALK_NVME_EFFECT_ALONE(effect)] : ", alone");
}

static int print_effects(struct chalk_nvme *nvme)
{
    static struct chalk_nvme_effects effects;
    int error = chalk_nvme_read_effects(nvme, CHALK_NVME_CSI_NVM, &effects);

    if (error != 0)
        return error;
    printf("Commands that it has, and what they change\n");
    for (unsigned i = 0; i < 256; i++)
        print_effect("admin", i, effects.admin[i]);
    for (unsigned i = 0; i < 256; i++)
        print_effect("I/O  ", i, effects.io[i]);
    return 0;
}

static int print_self_tests(struct chalk_nvme *nvme)
{
    struct chalk_nvme_self_tests tests;
    int error = chalk_nvme_read_self_tests(nvme, &tests);

    if (error != 0)
        return error;
    printf("Self-tests, %u\n", tests.count);
    if (tests.running != 0)
        printf("  test %u is under way, %u%%\n", tests.running, tests.progress);
    for (unsigned i = 0; i < tests.count; i++)
        printf("  test %u at %" PRIu64 " hours: %s (result %u)\n", tests.results[i].test,
               tests.results[i].power_hours, tests.results[i].result == 0 ? "passed" : "not passed",
               tests.results[i].result);
    return 0;
}

static int print_sanitize(struct chalk_nvme *nvme)
{
    static const char *const states[] = {"never sanitized", "done", "under way", "failed",
                                         "done, not deallocated"};
    struct chalk_nvme_sanitize_status status;
    int error = chalk_nvme_read_sanitize(nvme, &status);

    if (error != 0)
        return error;
    printf("Sanitize\n  state                  %s\n",
           status.state < sizeof(states) / sizeof(states[0]) ? states[status.state] : "unknown");
    printf("  progress               %u%%\n", status.progress * 100u / 65536);
    printf("  nothing written since  %s\n", status.erased ? "yes" : "no");
    return 0;
}

static int print_bytes(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page)
{
    unsigned char *data = malloc(page->size);
    int error;

    if (!data)
        return -ENOMEM;
    error = chalk_nvme_read_log(nvme, page, data);
    for (uint32_t i = 0; error == 0 && i < page->size; i++)
        printf("%s%02x%s", i % 16 == 0 ? "  " : " ", data[i],
               i % 16 == 15 || i + 1 == page->size ? "\n" : "");
    free(data);
    return error;
}

static const struct {
    const char *name;
    int (*print)(struct chalk_nvme *);
} logs[] = {
    {"health", print_health},     {"errors", print_errors},   {"firmware", print_firmware},
    {"changed", print_changed},   {"effects", print_effects}, {"self-tests", print_self_tests},
    {"sanitize", print_sanitize},
};

static int print_log(struct chalk_nvme *nvme, const char *name)
{
    for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++)
        if (strcmp(logs[i].name, name) == 0)
            return logs[i].print(nvme);
    return -EINVAL;
}

/* ---- events ---------------------------------------------------------------------------------------- */

static void print_event(const struct chalk_nvme_event *event)
{
    printf("  %s", chalk_nvme_event_name(event));
    if (event->error != 0)
        printf("; its log page 0x%02x is not to be had: %s", event->log, chalk_error_name(event->error));
    else if (event->log == CHALK_NVME_LOG_HEALTH)
        printf(": %d degrees Celsius, spare %u%%", event->health.temperature - KELVIN, event->health.spare);
    else if (event->log == CHALK_NVME_LOG_ERRORS && event->count != 0)
        printf(": queue %u, command 0x%04x: %s", event->errors[0].queue, event->errors[0].command,
               chalk_nvme_status_name(event->errors[0].status));
    else if (event->log == CHALK_NVME_LOG_CHANGED && event->count == UINT_MAX)
        printf(": more than can be listed");
    else if (event->log == CHALK_NVME_LOG_CHANGED)
        for (unsigned i = 0; i < event->count; i++)
            printf("%s %" PRIu32, i == 0 ? ":" : ",", event->changed[i]);
    else
        printf(" (type %u, 0x%02x, log page 0x%02x)", event->type, event->what, event->log);
    printf("\n");
    fflush(stdout);
}

/* For so many seconds, or until so many were told. */
static int print_events(const struct session *session, uint64_t seconds, uint64_t count)
{
    static struct chalk_nvme_event event;
    uint64_t deadline = chalk_deadline(seconds * CHALK_S), told = 0;
    uint64_t rest = chalk_nvme_get_info(session->nvme)->vectors != 0 ? 100 * CHALK_MS : CHALK_MS;
    int error = chalk_nvme_watch(session->nvme, CHALK_NVME_WATCH_ALL);

    if (error == 0)
        printf("Events\n");
    while (error == 0 && told < count && !chalk_expired(deadline) && !chalk_exit_requested()) {
        uint32_t seen = atomic_load(session->events);

        error = chalk_nvme_next_event(session->nvme, &event);
        if (error == 0) {
            print_event(&event);
            told++;
        } else if (error == -EAGAIN) {
            chalk_core_wait(0, seen, chalk_deadline(rest));
            error = 0;
        }
    }
    if (error == 0)
        printf("  %" PRIu64 " in all\n", told);
    return error;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    struct session session;
    const char *name = NULL;
    uint64_t page = UINT64_MAX, size = 0, offset = 0, specific = 0, nsid = UINT64_MAX;
    uint64_t seconds = 0, count = 0;
    const struct option options[] = {
        {"log", OPTION_WORD, &name, 0, 0, "health|errors|firmware|changed|effects|self-tests|sanitize",
         "NAME", "which; health if absent"},
        {"page", OPTION_NUMBER, &page, 0, 255, NULL, "ID", "any log page by its identifier, as bytes"},
        {"size", OPTION_NUMBER, &size, 4, 1u << 20, NULL, "BYTES",
         "of --page, a multiple of 4; 512 if absent"},
        {"offset", OPTION_NUMBER, &offset, 0, UINT64_MAX, NULL, "BYTES",
         "where in it to begin, a multiple of 4"},
        {"specific", OPTION_NUMBER, &specific, 0, 127, NULL, "N", "its log specific parameter"},
        {"namespace", OPTION_NUMBER, &nsid, 0, UINT32_MAX, NULL, "N",
         "whose --page; the controller's if absent"},
        {"watch", OPTION_NUMBER, &seconds, 1, 1u << 30, NULL, "SECONDS",
         "what the controller reports of its own accord, as it comes"},
        {"count", OPTION_NUMBER, &count, 1, UINT64_MAX, NULL, "N", "ends --watch after so many"},
    };
    const struct command command = {
        .name = "nvme-log",
        .summary = "Shows a log page of an NVMe controller, or its events. Reads only; but what was told "
                   "once is not "
                   "told again.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = "PCI address of the controller; the first one on the bus if absent",
    };
    int status, error;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if ((name != NULL) + (page != UINT64_MAX) + (seconds != 0) > 1) {
        complain("--log, --page and --watch: give only one of them");
        return EXIT_USAGE;
    }
    if (page == UINT64_MAX && (size != 0 || offset != 0 || specific != 0 || nsid != UINT64_MAX)) {
        complain("--size, --offset, --specific and --namespace: only with --page");
        return EXIT_USAGE;
    }
    if (count != 0 && seconds == 0) {
        complain("--count: only with --watch");
        return EXIT_USAGE;
    }
    if (size % 4 != 0 || offset % 4 != 0) {
        complain("--%s %" PRIu64 ": not a multiple of 4", size % 4 != 0 ? "size" : "offset",
                 size % 4 != 0 ? size : offset);
        return EXIT_USAGE;
    }
    wanted.interrupts = seconds != 0;
    if (!session_open(&session, &wanted))
        return EXIT_BAD;
    if (seconds != 0) {
        error = print_events(&session, seconds, count != 0 ? count : UINT64_MAX);
    } else if (page != UINT64_MAX) {
        const struct chalk_nvme_log_page wanted_page = {
            .log = (uint8_t)page,
            .specific = (uint8_t)specific,
            .nsid = nsid != UINT64_MAX ? (uint32_t)nsid : CHALK_NVME_ALL,
            .offset = offset,
            .size = size != 0 ? (uint32_t)size : 512,
        };

        error = print_bytes(session.nvme, &wanted_page);
    } else {
        error = print_log(session.nvme, name ? name : "health");
    }
    if (error != 0)
        complain("%s does not give this %s: %s", session.bus.name, seconds != 0 ? "kind of news" : "log page",
                 chalk_error_name(error));
    session_close(&session);
    return error == 0 ? EXIT_GOOD : EXIT_BAD;
}
