/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-features: what an NVMe controller can be told to do differently; and telling it.
 */
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme_admin.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "session.h"

#define KELVIN 273

static const struct {
    const char *name;
    enum chalk_nvme_feature feature;
} features[] = {
    {"arbitration", CHALK_NVME_FEATURE_ARBITRATION},
    {"power", CHALK_NVME_FEATURE_POWER},
    {"temperature", CHALK_NVME_FEATURE_TEMPERATURE},
    {"error-recovery", CHALK_NVME_FEATURE_ERROR_RECOVERY},
    {"write-cache", CHALK_NVME_FEATURE_WRITE_CACHE},
    {"queues", CHALK_NVME_FEATURE_QUEUES},
    {"coalescing", CHALK_NVME_FEATURE_COALESCING},
    {"vector", CHALK_NVME_FEATURE_VECTOR},
    {"atomicity", CHALK_NVME_FEATURE_ATOMICITY},
    {"events", CHALK_NVME_FEATURE_EVENTS},
    {"power-transition", CHALK_NVME_FEATURE_POWER_TRANSITION},
    {"host-memory", CHALK_NVME_FEATURE_HOST_MEMORY},
    {"timestamp", CHALK_NVME_FEATURE_TIMESTAMP},
    {"keep-alive", CHALK_NVME_FEATURE_KEEP_ALIVE},
    {"thermal", CHALK_NVME_FEATURE_THERMAL},
    {"idle-power", CHALK_NVME_FEATURE_IDLE_POWER},
    {"host-behaviour", CHALK_NVME_FEATURE_HOST_BEHAVIOUR},
    {"command-sets", CHALK_NVME_FEATURE_COMMAND_SETS},
    {"write-protection", CHALK_NVME_FEATURE_WRITE_PROTECTION},
};

#define FEATURES (sizeof(features) / sizeof(features[0]))

/* What a value means, for those where that is worth a word. */
static void print_meaning(uint8_t feature, uint32_t value)
{
    switch (feature) {
    case CHALK_NVME_FEATURE_ARBITRATION:
        if (CHALK_NVME_ARBITRATION_BURST(value) == 7)
            printf(", as many commands of a queue in a row as there are");
        else
            printf(", up to %u commands of a queue in a row", 1u << CHALK_NVME_ARBITRATION_BURST(value));
        break;
    case CHALK_NVME_FEATURE_TEMPERATURE:
        printf(", warns from %d degrees Celsius on", (int)(value & 0xffff) - KELVIN);
        break;
    case CHALK_NVME_FEATURE_WRITE_CACHE:
        printf(", %s", (value & CHALK_NVME_WRITE_CACHE_ON) != 0 ? "on" : "off");
        break;
    case CHALK_NVME_FEATURE_QUEUES:
        printf(", %" PRIu32 " for commands and %" PRIu32 " for completions", (value & 0xffff) + 1,
               (value >> 16) + 1);
        break;
    case CHALK_NVME_FEATURE_COALESCING:
        printf(", an interrupt after %" PRIu32 " completions or %" PRIu32 " us",
               CHALK_NVME_COALESCING_ENTRIES(value), CHALK_NVME_COALESCING_TIME(value) * 100);
        break;
    default:
        break;
    }
    printf("\n");
}

static const char *name_of(uint8_t feature)
{
    for (size_t i = 0; i < FEATURES; i++)
        if (features[i].feature == feature)
            return features[i].name;
    return "feature";
}

static void print_text(uint8_t feature, uint32_t value, uint32_t can)
{
    printf("%02x %-17s%s%s 0x%08" PRIx32, feature, name_of(feature),
           (can & CHALK_NVME_FEATURE_CAN_CHANGE) != 0 ? " changeable" : "           ",
           (can & CHALK_NVME_FEATURE_CAN_SAVE) != 0 ? " saveable" : "         ", value);
    print_meaning(feature, value);
}

static void print_json(uint8_t feature, uint32_t value, uint32_t can)
{
    json_open_object(NULL);
    json_put_number("id", feature);
    json_put_text("name", name_of(feature));
    json_put_number("value", value);
    json_put_boolean("changeable", (can & CHALK_NVME_FEATURE_CAN_CHANGE) != 0);
    json_put_boolean("saveable", (can & CHALK_NVME_FEATURE_CAN_SAVE) != 0);
    json_close();
}

static int print_feature(struct chalk_nvme *nvme, uint8_t feature, enum chalk_nvme_feature_select select,
                         uint32_t nsid, bool json)
{
    uint32_t value, can = 0;
    int error = chalk_nvme_get_feature(nvme, feature, select, nsid, &value);

    if (error != 0)
        return error;
    /* A controller that does not support SEL answers with the value: then neither is shown [Base 5.15]. */
    if (chalk_nvme_get_feature(nvme, feature, CHALK_NVME_FEATURE_SUPPORTED, nsid, &can) != 0 || can > 7)
        can = 0;
    (json ? print_json : print_text)(feature, value, can);
    return 0;
}

static int print_all(struct chalk_nvme *nvme, enum chalk_nvme_feature_select select, uint32_t nsid, bool json)
{
    unsigned shown = 0;

    for (size_t i = 0; i < FEATURES; i++) {
        int error = print_feature(nvme, (uint8_t)features[i].feature, select, nsid, json);

        if (error == -ETIMEDOUT || error == -ENODEV || error == -EPROTO)
            return error;
        shown += error == 0;
    }
    return shown != 0 ? 0 : -ENOTSUP;
}

/* A feature by its name, or by its identifier. */
static bool parse_feature(const char *text, uint8_t *feature)
{
    uint64_t number;

    for (size_t i = 0; i < FEATURES; i++)
        if (strcmp(features[i].name, text) == 0) {
            *feature = (uint8_t)features[i].feature;
            return true;
        }
    if (options_number(text, text + strlen(text), &number) && number <= UINT8_MAX) {
        *feature = (uint8_t)number;
        return true;
    }
    complain("--feature %s: must be an identifier up to 255 or a name that nvme-features lists", text);
    return false;
}

static enum chalk_nvme_feature_select parse_select(const char *text)
{
    return strcmp(text, "default") == 0 ? CHALK_NVME_FEATURE_DEFAULT
           : strcmp(text, "saved") == 0 ? CHALK_NVME_FEATURE_SAVED
                                        : CHALK_NVME_FEATURE_CURRENT;
}

/* The feature of that name, or all. */
static int print_features(const struct session *session, const char *name, uint8_t feature,
                          const char *select, uint32_t nsid, bool json)
{
    int error;

    if (json) {
        json_open_object(NULL);
        json_put_text("select", select);
        json_open_list("features");
    }
    error = name ? print_feature(session->nvme, feature, parse_select(select), nsid, json)
                 : print_all(session->nvme, parse_select(select), nsid, json);
    if (json) {
        json_close();
        json_close();
    }
    if (error == -EINVAL && name)
        complain("cannot read %s of %s: the controller has no such feature; nvme-features lists those it has",
                 name, session->bus.name);
    else if (error != 0)
        complain("cannot read %s of %s: %s", name ? name : "the features", session->bus.name,
                 chalk_error_name(error));
    return error;
}

static int change(struct session *session, uint8_t feature, bool save, uint32_t nsid, uint32_t value)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_set_feature(feature, save, nsid, value);
    struct chalk_nvme_answer answer;
    int error = chalk_nvme_run(session->nvme, &command, NULL, 0, &answer);

    if (error != 0)
        complain("%s refuses to set %s to 0x%08" PRIx32 ": %s", session->bus.name, name_of(feature), value,
                 answer.status != 0 ? chalk_nvme_status_name(answer.status) : chalk_error_name(error));
    return error;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    struct session session;
    const char *name = NULL, *select = "current";
    uint64_t value = UINT64_MAX, nsid = 0;
    bool save = false, json = false;
    const struct option options[] = {
        {"feature", OPTION_WORD, &name, 0, 0, NULL, "NAME",
         "one feature, by its name or identifier; all if absent"},
        {"select", OPTION_WORD, &select, 0, 0, "current|default|saved", NULL,
         "which value; current if absent"},
        {"set", OPTION_NUMBER, &value, 0, UINT32_MAX, NULL, "VALUE",
         "set the feature to this, until the next reset"},
        {"save", OPTION_FLAG, &save, 0, 0, NULL, NULL,
         "with --set: keep the value over resets and power cycles"},
        {"namespace", OPTION_NUMBER, &nsid, 0, UINT32_MAX, NULL, "N",
         "the namespace whose features these are; the controller's own if absent"},
        {"json", OPTION_FLAG, &json, 0, 0, NULL, NULL, "one line of JSON"},
    };
    const struct command command = {
        .name = "nvme-features",
        .summary = "Shows the features of an NVMe controller, or sets one of them.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    uint8_t feature = 0;
    int status, error = 0;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (name && !parse_feature(name, &feature))
        return EXIT_USAGE;
    if (value != UINT64_MAX && !name) {
        complain("--set needs --feature NAME: which feature is to be set?");
        return EXIT_USAGE;
    }
    if (save && value == UINT64_MAX) {
        complain("--save needs --set VALUE");
        return EXIT_USAGE;
    }
    if (value != UINT64_MAX && feature == CHALK_NVME_FEATURE_QUEUES) {
        complain("--feature queues cannot be set: only the driver does, when it opens the controller");
        return EXIT_USAGE;
    }
    if (!session_open(&session, &wanted))
        return session_failed();
    if (value != UINT64_MAX)
        error = change(&session, feature, save, (uint32_t)nsid, (uint32_t)value);
    if (error == 0)
        error = print_features(&session, name, feature, select, (uint32_t)nsid, json);
    session_close(&session);
    return error == 0 ? EXIT_GOOD : EXIT_BAD;
}
