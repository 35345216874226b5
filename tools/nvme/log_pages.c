/* SPDX-License-Identifier: BSD-2-Clause */
/* See log_pages.h. A page is read whole before anything of it is printed. */
#include "log_pages.h"

#include <chalk/error.h>

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- health ---------------------------------------------------------------------------------------- */

static const char *const warnings[] = {"spare capacity is low",
                                       "temperature is out of bounds",
                                       "reliability is degraded",
                                       "the medium is read-only",
                                       "the volatile memory's backup has failed",
                                       "persistent memory is read-only"};

static void print_count(const char *name, uint64_t count, const char *unit)
{
    if (count == UINT64_MAX)
        printf("  %-22s more than 64 bits hold%s\n", name, unit);
    else
        printf("  %-22s %" PRIu64 "%s\n", name, count, unit);
}

static void print_health_text(const struct chalk_nvme_health *health)
{
    printf("Health\n");
    for (unsigned i = 0; i < COUNT_OF(warnings); i++)
        if ((health->critical_warning >> i & 1) != 0)
            printf("  warning                %s\n", warnings[i]);
    printf("  temperature            %d degrees Celsius\n", health->temperature - LOG_KELVIN);
    for (unsigned i = 0; i < 8; i++)
        if (health->sensors[i] != 0)
            printf("  sensor %u               %d degrees Celsius\n", i + 1, health->sensors[i] - LOG_KELVIN);
    printf("  spare                  %u%%, threshold %u%%\n", health->spare, health->spare_threshold);
    printf("  used                   %u%%\n", health->used);
    print_count("read", health->units_read, " times 512000 bytes");
    print_count("written", health->units_written, " times 512000 bytes");
    print_count("read commands", health->reads, "");
    print_count("write commands", health->writes, "");
    print_count("busy", health->busy_minutes, " minutes");
    print_count("power cycles", health->power_cycles, "");
    print_count("power on", health->power_hours, " hours");
    print_count("unsafe shutdowns", health->unsafe_shutdowns, "");
    print_count("media errors", health->media_errors, "");
    print_count("error log entries", health->errors, "");
    printf("  too hot                %" PRIu32 " minutes, critically %" PRIu32 "\n", health->warning_minutes,
           health->critical_minutes);
}

static void print_health_json(const struct chalk_nvme_health *health)
{
    json_open_object(NULL);
    json_put_text("log", "health");
    json_open_list("warnings");
    for (unsigned i = 0; i < COUNT_OF(warnings); i++)
        if ((health->critical_warning >> i & 1) != 0)
            json_put_text(NULL, warnings[i]);
    json_close();
    json_put_signed("temperature_celsius", health->temperature - LOG_KELVIN);
    json_open_list("sensors_celsius");
    for (unsigned i = 0; i < 8; i++)
        if (health->sensors[i] != 0)
            json_put_signed(NULL, health->sensors[i] - LOG_KELVIN);
    json_close();
    json_put_number("spare_percent", health->spare);
    json_put_number("spare_threshold_percent", health->spare_threshold);
    json_put_number("used_percent", health->used);
    json_put_number("units_read", health->units_read);
    json_put_number("units_written", health->units_written);
    json_put_number("reads", health->reads);
    json_put_number("writes", health->writes);
    json_put_number("busy_minutes", health->busy_minutes);
    json_put_number("power_cycles", health->power_cycles);
    json_put_number("power_hours", health->power_hours);
    json_put_number("unsafe_shutdowns", health->unsafe_shutdowns);
    json_put_number("media_errors", health->media_errors);
    json_put_number("errors", health->errors);
    json_put_number("warning_minutes", health->warning_minutes);
    json_put_number("critical_minutes", health->critical_minutes);
    json_close();
}

static int print_health(struct chalk_nvme *nvme, bool json)
{
    struct chalk_nvme_health health;
    int error = chalk_nvme_read_health(nvme, &health);

    if (error == 0)
        (json ? print_health_json : print_health_text)(&health);
    return error;
}

/* ---- errors ---------------------------------------------------------------------------------------- */

static void print_errors_json(const struct chalk_nvme_error *errors, unsigned count)
{
    json_open_object(NULL);
    json_put_text("log", "errors");
    json_open_list("errors");
    for (unsigned i = 0; i < count; i++) {
        json_open_object(NULL);
        json_put_number("number", errors[i].number);
        json_put_number("queue", errors[i].queue);
        json_put_number("command", errors[i].command);
        json_put_number("namespace", errors[i].nsid);
        json_put_number("lba", errors[i].lba);
        json_put_number("status", errors[i].status & 0x7ff);
        json_put_text("meaning", chalk_nvme_status_name(errors[i].status));
        json_close();
    }
    json_close();
    json_close();
}

static void print_errors_text(const struct chalk_nvme_error *errors, unsigned count)
{
    printf("Errors, %u\n", count);
    for (unsigned i = 0; i < count; i++)
        printf("  number %" PRIu64 ": queue %u, command 0x%04x, namespace %" PRIu32 ", block %" PRIu64
               ": %s (status 0x%03x)\n",
               errors[i].number, errors[i].queue, errors[i].command, errors[i].nsid, errors[i].lba,
               chalk_nvme_status_name(errors[i].status), errors[i].status & 0x7ff);
}

static int print_errors(struct chalk_nvme *nvme, bool json)
{
    struct chalk_nvme_error errors[64];
    unsigned count = COUNT_OF(errors);
    int error = chalk_nvme_read_errors(nvme, errors, &count);

    if (error == 0)
        (json ? print_errors_json : print_errors_text)(errors, count);
    return error;
}

/* ---- firmware -------------------------------------------------------------------------------------- */

static void print_firmware_text(const struct chalk_nvme_firmware *firmware)
{
    printf("Firmware\n");
    for (unsigned i = 0; i < 7; i++)
        if (firmware->revisions[i][0] != '\0' || firmware->active == i + 1)
            printf("  slot %u  %-8s%s%s\n", i + 1, firmware->revisions[i],
                   firmware->active == i + 1 ? "  <- in use" : "",
                   firmware->next == i + 1 ? "  <- after the next reset" : "");
}

static void print_firmware_json(const struct chalk_nvme_firmware *firmware)
{
    json_open_object(NULL);
    json_put_text("log", "firmware");
    json_put_number("active", firmware->active);
    json_put_number("next", firmware->next);
    json_open_list("revisions"); /* of slots 1 to 7 */
    for (unsigned i = 0; i < 7; i++)
        json_put_text(NULL, firmware->revisions[i]);
    json_close();
    json_close();
}

static int print_firmware(struct chalk_nvme *nvme, bool json)
{
    struct chalk_nvme_firmware firmware;
    int error = chalk_nvme_read_firmware(nvme, &firmware);

    if (error == 0)
        (json ? print_firmware_json : print_firmware_text)(&firmware);
    return error;
}

/* ---- changed namespaces ---------------------------------------------------------------------------- */

static void print_changed_text(const uint32_t *nsids, unsigned count)
{
    if (count == UINT_MAX) {
        printf("Changed namespaces, more than can be listed\n");
        return;
    }
    printf("Changed namespaces, %u\n", count);
    for (unsigned i = 0; i < count; i++)
        printf("  %" PRIu32 "\n", nsids[i]);
}

static void print_changed_json(const uint32_t *nsids, unsigned count)
{
    json_open_object(NULL);
    json_put_text("log", "changed");
    json_put_boolean("complete", count != UINT_MAX);
    json_open_list("namespaces");
    for (unsigned i = 0; count != UINT_MAX && i < count; i++)
        json_put_number(NULL, nsids[i]);
    json_close();
    json_close();
}

static int print_changed(struct chalk_nvme *nvme, bool json)
{
    static uint32_t nsids[1024];
    unsigned count;
    int error = chalk_nvme_read_changed(nvme, nsids, &count);

    if (error == 0)
        (json ? print_changed_json : print_changed_text)(nsids, count);
    return error;
}

/* ---- effects of commands --------------------------------------------------------------------------- */

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

static void print_effects_text(const struct chalk_nvme_effects *effects)
{
    printf("Supported commands, and what they change\n");
    for (unsigned i = 0; i < 256; i++)
        print_effect("admin", i, effects->admin[i]);
    for (unsigned i = 0; i < 256; i++)
        print_effect("I/O  ", i, effects->io[i]);
}

static void print_json_effects(const char *name, const uint32_t effects[256])
{
    json_open_list(name);
    for (unsigned i = 0; i < 256; i++) {
        if ((effects[i] & CHALK_NVME_EFFECT_SUPPORTED) == 0)
            continue;
        json_open_object(NULL);
        json_put_number("opcode", i);
        json_put_boolean("changes_blocks", (effects[i] & CHALK_NVME_EFFECT_BLOCKS) != 0);
        json_put_boolean("changes_namespaces", (effects[i] & CHALK_NVME_EFFECT_NAMESPACE) != 0);
        json_put_boolean("changes_inventory", (effects[i] & CHALK_NVME_EFFECT_INVENTORY) != 0);
        json_put_boolean("changes_controller", (effects[i] & CHALK_NVME_EFFECT_CONTROLLER) != 0);
        json_put_number("alone", CHALK_NVME_EFFECT_ALONE(effects[i]));
        json_close();
    }
    json_close();
}

static void print_effects_json(const struct chalk_nvme_effects *effects)
{
    json_open_object(NULL);
    json_put_text("log", "effects");
    print_json_effects("admin", effects->admin);
    print_json_effects("io", effects->io);
    json_close();
}

static int print_effects(struct chalk_nvme *nvme, bool json)
{
    static struct chalk_nvme_effects effects;
    int error = chalk_nvme_read_effects(nvme, CHALK_NVME_CSI_NVM, &effects);

    if (error == 0)
        (json ? print_effects_json : print_effects_text)(&effects);
    return error;
}

/* ---- self-tests ------------------------------------------------------------------------------------ */

static void print_self_tests_text(const struct chalk_nvme_self_tests *tests)
{
    printf("Self-tests, %u\n", tests->count);
    if (tests->running != 0)
        printf("  test %u is under way, %u%%\n", tests->running, tests->progress);
    for (unsigned i = 0; i < tests->count; i++)
        printf("  test %u at %" PRIu64 " hours: %s (result %u)\n", tests->results[i].test,
               tests->results[i].power_hours, tests->results[i].result == 0 ? "passed" : "not passed",
               tests->results[i].result);
}

static void print_self_tests_json(const struct chalk_nvme_self_tests *tests)
{
    json_open_object(NULL);
    json_put_text("log", "self-tests");
    json_put_number("running", tests->running);
    json_put_number("progress_percent", tests->progress);
    json_open_list("results");
    for (unsigned i = 0; i < tests->count; i++) {
        json_open_object(NULL);
        json_put_number("test", tests->results[i].test);
        json_put_number("power_hours", tests->results[i].power_hours);
        json_put_number("result", tests->results[i].result);
        json_close();
    }
    json_close();
    json_close();
}

static int print_self_tests(struct chalk_nvme *nvme, bool json)
{
    struct chalk_nvme_self_tests tests;
    int error = chalk_nvme_read_self_tests(nvme, &tests);

    if (error == 0)
        (json ? print_self_tests_json : print_self_tests_text)(&tests);
    return error;
}

/* ---- sanitize -------------------------------------------------------------------------------------- */

static const char *sanitize_state(uint8_t state)
{
    static const char *const states[] = {"never sanitized", "done", "under way", "failed",
                                         "done, not deallocated"};

    return state < COUNT_OF(states) ? states[state] : "unknown";
}

static void print_sanitize_text(const struct chalk_nvme_sanitize_status *status)
{
    printf("Sanitize\n  state                  %s\n", sanitize_state(status->state));
    printf("  progress               %u%%\n", status->progress * 100u / 65536);
    printf("  nothing written since  %s\n", status->erased ? "yes" : "no");
}

static void print_sanitize_json(const struct chalk_nvme_sanitize_status *status)
{
    json_open_object(NULL);
    json_put_text("log", "sanitize");
    json_put_text("state", sanitize_state(status->state));
    json_put_number("progress_percent", status->progress * 100u / 65536);
    json_put_boolean("nothing_written_since", status->erased);
    json_close();
}

static int print_sanitize(struct chalk_nvme *nvme, bool json)
{
    struct chalk_nvme_sanitize_status status;
    int error = chalk_nvme_read_sanitize(nvme, &status);

    if (error == 0)
        (json ? print_sanitize_json : print_sanitize_text)(&status);
    return error;
}

/* ---- any ------------------------------------------------------------------------------------------- */

static void print_page_text(const struct chalk_nvme_log_page *page, const unsigned char *data)
{
    for (uint32_t i = 0; i < page->size; i++)
        printf("%s%02x%s", i % 16 == 0 ? "  " : " ", data[i],
               i % 16 == 15 || i + 1 == page->size ? "\n" : "");
}

static void print_page_json(const struct chalk_nvme_log_page *page, const unsigned char *data)
{
    json_open_object(NULL);
    json_put_number("page", page->log);
    json_put_number("offset", page->offset);
    json_put_number("size", page->size);
    json_put_bytes("data", data, page->size);
    json_close();
}

int log_print_bytes(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page, bool json)
{
    unsigned char *data = malloc(page->size);
    int error;

    if (!data)
        return -ENOMEM;
    error = chalk_nvme_read_log(nvme, page, data);
    if (error == 0)
        (json ? print_page_json : print_page_text)(page, data);
    free(data);
    return error;
}

int log_print(struct chalk_nvme *nvme, const char *name, bool json)
{
    static const struct {
        const char *name;
        int (*print)(struct chalk_nvme *, bool json);
    } logs[] = {
        {"health", print_health},     {"errors", print_errors},   {"firmware", print_firmware},
        {"changed", print_changed},   {"effects", print_effects}, {"self-tests", print_self_tests},
        {"sanitize", print_sanitize},
    };

    for (size_t i = 0; i < COUNT_OF(logs); i++)
        if (strcmp(logs[i].name, name) == 0)
            return logs[i].print(nvme, json);
    return -EINVAL;
}
