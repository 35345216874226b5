/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-log: a log page of an NVMe controller, in words; any other, byte for byte; or the events that the
 * controller reports, as they come.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme_admin.h>

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "log_pages.h"
#include "options.h"
#include "session.h"

/* ---- events ---------------------------------------------------------------------------------------- */

static void print_event_text(const struct chalk_nvme_event *event)
{
    printf("  %s", chalk_nvme_event_name(event));
    if (event->error != 0)
        printf("; its log page 0x%02x cannot be read: %s", event->log, chalk_error_name(event->error));
    else if (event->log == CHALK_NVME_LOG_HEALTH)
        printf(": %d degrees Celsius, spare %u%%", event->health.temperature - LOG_KELVIN,
               event->health.spare);
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
}

static void print_event_json(const struct chalk_nvme_event *event)
{
    json_open_object(NULL);
    json_put_text("event", chalk_nvme_event_name(event));
    json_put_number("type", event->type);
    json_put_number("information", event->what);
    json_put_number("page", event->log);
    if (event->error != 0) {
        json_put_text("error", chalk_error_name(event->error));
    } else if (event->log == CHALK_NVME_LOG_HEALTH) {
        json_put_signed("temperature_celsius", event->health.temperature - LOG_KELVIN);
        json_put_number("spare_percent", event->health.spare);
    } else if (event->log == CHALK_NVME_LOG_ERRORS && event->count != 0) {
        json_put_number("queue", event->errors[0].queue);
        json_put_number("command", event->errors[0].command);
        json_put_text("meaning", chalk_nvme_status_name(event->errors[0].status));
    } else if (event->log == CHALK_NVME_LOG_CHANGED) {
        json_put_boolean("complete", event->count != UINT_MAX);
        json_open_list("namespaces");
        for (unsigned i = 0; event->count != UINT_MAX && i < event->count; i++)
            json_put_number(NULL, event->changed[i]);
        json_close();
    }
    json_close();
}

static void print_total(uint64_t total, bool json)
{
    if (!json) {
        printf("  %" PRIu64 " in all\n", total);
        return;
    }
    json_open_object(NULL);
    json_put_number("events", total);
    json_close();
}

/* Prints events for `nanoseconds`, or until `count` were printed, and then how many there were. Returns the
 * exit status: of a controller that failed or is gone, EXIT_BAD. */
static int watch(const struct session *session, uint64_t nanoseconds, uint64_t count, bool json)
{
    static struct chalk_nvme_event event;
    uint64_t deadline = chalk_deadline(nanoseconds), total = 0;
    uint64_t rest = chalk_nvme_get_info(session->nvme)->vectors != 0 ? 100 * CHALK_MS : CHALK_MS;
    int error = chalk_nvme_watch(session->nvme, CHALK_NVME_WATCH_ALL);

    if (error != 0) {
        complain("%s cannot report events: %s", session->bus.name, chalk_error_name(error));
        return EXIT_BAD;
    }
    if (!json)
        printf("Events\n");
    fflush(stdout);
    while (total < count && !chalk_expired(deadline) && !chalk_exit_requested()) {
        uint32_t seen = atomic_load(session->events);

        error = chalk_nvme_next_event(session->nvme, &event);
        if (error == 0) {
            (json ? print_event_json : print_event_text)(&event);
            fflush(stdout); /* who reads them need not wait for the next one */
            total++;
        } else if (error == -EAGAIN) {
            chalk_core_wait(0, seen, chalk_deadline(rest));
        } else {
            break;
        }
    }
    print_total(total, json);
    if (error != 0 && error != -EAGAIN) {
        complain("%s reports no more events: %s", session->bus.name, chalk_error_name(error));
        return EXIT_BAD;
    }
    return total < count && chalk_exit_requested() ? EXIT_INTERRUPTED : EXIT_GOOD;
}

/* ---- options --------------------------------------------------------------------------------------- */

/* What the command line asks for. UINT64_MAX: that it does not. */
struct request {
    const char *name;
    uint64_t page, size, offset, specific, nsid;
    uint64_t nanoseconds, count; /* of --watch; 0: absent */
    bool json;
};

static bool check(const struct request *request)
{
    const bool bytes = request->page != UINT64_MAX;

    if ((request->name != NULL) + bytes + (request->nanoseconds != 0) > 1)
        complain("--log, --page and --watch: give only one of them");
    else if (!bytes && (request->size != 0 || request->offset != 0 || request->specific != 0 ||
                        request->nsid != UINT64_MAX))
        complain("--size, --offset, --specific and --namespace: only with --page");
    else if (request->count != 0 && request->nanoseconds == 0)
        complain("--count: only with --watch");
    else if (request->size % 4 != 0)
        complain("--size %" PRIu64 ": not a multiple of 4", request->size);
    else if (request->offset % 4 != 0)
        complain("--offset %" PRIu64 ": not a multiple of 4", request->offset);
    else
        return true;
    return false;
}

static int print(const struct session *session, const struct request *request)
{
    const struct chalk_nvme_log_page page = {
        .log = (uint8_t)request->page,
        .specific = (uint8_t)request->specific,
        .nsid = request->nsid != UINT64_MAX ? (uint32_t)request->nsid : CHALK_NVME_ALL,
        .offset = request->offset,
        .size = request->size != 0 ? (uint32_t)request->size : 512,
    };
    const char *name = request->name ? request->name : "health";
    int error = request->page != UINT64_MAX ? log_print_bytes(session->nvme, &page, request->json)
                                            : log_print(session->nvme, name, request->json);

    if (error == 0)
        return EXIT_GOOD;
    if (error == -EINVAL && request->offset != 0)
        complain("%s does not give %" PRIu32 " bytes at --offset %" PRIu64
                 " of log page 0x%02x: is the page that long?",
                 session->bus.name, page.size, page.offset, page.log);
    else if (request->page != UINT64_MAX)
        complain("%s does not give this log page, 0x%02x: %s", session->bus.name, page.log,
                 chalk_error_name(error));
    else
        complain("%s does not give this log page, %s: %s", session->bus.name, name, chalk_error_name(error));
    return EXIT_BAD;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    struct session session;
    struct request request = {.page = UINT64_MAX, .nsid = UINT64_MAX};
    const struct option options[] = {
        {"log", OPTION_WORD, &request.name, 0, 0, LOG_NAMES, "NAME",
         "health, errors, firmware, changed, effects, self-tests or\n"
         "                               sanitize; health if absent"},
        {"page", OPTION_NUMBER, &request.page, 0, 255, NULL, "ID",
         "any log page by its identifier, as bytes"},
        {"size", OPTION_NUMBER, &request.size, 4, 1u << 20, NULL, "BYTES",
         "of --page, a multiple of 4; 512 if absent"},
        {"offset", OPTION_NUMBER, &request.offset, 0, UINT64_MAX, NULL, "BYTES",
         "where in the page to begin, a multiple of 4"},
        {"specific", OPTION_NUMBER, &request.specific, 0, 127, NULL, "N",
         "the page's log specific parameter"},
        {"namespace", OPTION_NUMBER, &request.nsid, 0, UINT32_MAX, NULL, "N",
         "the namespace whose --page it is; the controller's if absent"},
        {"watch", OPTION_SECONDS, &request.nanoseconds, CHALK_MS, (1ull << 30) * CHALK_S, NULL, "SECONDS",
         "print events as the controller reports them"},
        {"count", OPTION_NUMBER, &request.count, 1, UINT64_MAX, NULL, "N", "end --watch after N events"},
        {"json", OPTION_FLAG, &request.json, 0, 0, NULL, NULL,
         "one line of JSON; with --watch, one for each event"},
    };
    const struct command command = {
        .name = "nvme-log",
        .summary = "Shows a log page of an NVMe controller, or its events. Reads only; but a controller\n"
                   "reports what is in the log of changed namespaces, and most events, only once.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (!check(&request))
        return EXIT_USAGE;
    wanted.interrupts = request.nanoseconds != 0;
    if (!session_open(&session, &wanted))
        return session_failed();
    if (request.nanoseconds != 0)
        status = watch(&session, request.nanoseconds, request.count != 0 ? request.count : UINT64_MAX,
                       request.json);
    else
        status = print(&session, &request);
    session_close(&session);
    return status;
}
