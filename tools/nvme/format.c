/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-format: gives a namespace another format of its blocks, which destroys what it holds.
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

/* Finds the format with blocks of `size` bytes and no metadata, or number `index`. Returns false if there is
 * none (logged). */
static bool choose(const struct chalk_nvme_namespace *ns, uint64_t size, uint64_t index, uint8_t *format)
{
    if (index != UINT64_MAX) {
        if (index < ns->format_count && ns->formats[index].block_size != 0) {
            *format = (uint8_t)index;
            return true;
        }
        complain("--format %" PRIu64 ": namespace %" PRIu32 " has no such format; nvme-identify lists them",
                 index, ns->nsid);
        return false;
    }
    for (unsigned i = 0; i < ns->format_count; i++)
        if (ns->formats[i].block_size == size && ns->formats[i].metadata_size == 0) {
            *format = (uint8_t)i;
            return true;
        }
    complain("--block-size %" PRIu64 ": namespace %" PRIu32 " has no such format; nvme-identify lists them",
             size, ns->nsid);
    return false;
}

static enum chalk_nvme_erase parse_erase(const char *text)
{
    return strcmp(text, "data") == 0  ? CHALK_NVME_ERASE_DATA
           : strcmp(text, "key") == 0 ? CHALK_NVME_ERASE_KEY
                                      : CHALK_NVME_ERASE_NONE;
}

/* Asks for consent, where more is destroyed than what was named. */
static bool may_format_all(const struct session *session, const struct chalk_nvme_format *format, bool all)
{
    const struct chalk_nvme_info *info = chalk_nvme_get_info(session->nvme);

    if (all || info->namespace_count == 1 ||
        !(info->formats_all || (info->erases_all && format->erase != CHALK_NVME_ERASE_NONE)))
        return true;
    complain("%s formats all of its namespaces at once, and not only namespace %" PRIu32
             "; add --all-namespaces if that is meant",
             session->bus.name, session->ns.nsid);
    return false;
}

static void print_text(const struct chalk_nvme_namespace *ns)
{
    printf("namespace %" PRIu32 ": format %u, %" PRIu64 " blocks of %" PRIu32 " bytes", ns->nsid, ns->format,
           ns->size, ns->block_size);
    if (ns->metadata_size != 0)
        printf(" and %u of metadata", ns->metadata_size);
    printf("\n");
}

static void print_json(const struct chalk_nvme_namespace *ns)
{
    json_open_object(NULL);
    json_put_number("namespace", ns->nsid);
    json_put_number("format", ns->format);
    json_put_number("blocks", ns->size);
    json_put_number("block_size", ns->block_size);
    json_put_number("metadata_size", ns->metadata_size);
    json_close();
}

static int run(struct session *session, const struct chalk_nvme_format *format, bool json)
{
    const uint32_t nsid = session->ns.nsid;
    const struct chalk_nvme_command command = chalk_nvme_encode_format(nsid, format);
    struct chalk_nvme_answer answer;
    int error = chalk_nvme_run(session->nvme, &command, NULL, 0, &answer);

    if (error == 0 && !session_find_namespace(session, nsid))
        return EXIT_BAD;
    if (error != 0) {
        complain("formatting namespace %" PRIu32 " of %s failed: %s", nsid, session->bus.name,
                 answer.status != 0 ? chalk_nvme_status_name(answer.status) : chalk_error_name(error));
        return EXIT_BAD;
    }
    (json ? print_json : print_text)(&session->ns);
    return EXIT_GOOD;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    struct session session;
    const char *erase = "none";
    uint64_t nsid = 0, index = UINT64_MAX, size = 0, protection = 0;
    bool first = false, extended = false, overwrite = false, all = false, json = false;
    const struct option options[] = {
        {"namespace", OPTION_NUMBER, &nsid, 1, UINT32_MAX - 1, NULL, "N",
         "identifier of the namespace; the first one if absent"},
        {"block-size", OPTION_NUMBER, &size, 1, 1u << 30, NULL, "BYTES",
         "the format with blocks of this size and no metadata"},
        {"format", OPTION_NUMBER, &index, 0, 63, NULL, "N",
         "the format with this number; nvme-identify lists them"},
        {"protection", OPTION_NUMBER, &protection, 0, 3, NULL, "TYPE",
         "type of end-to-end protection; 0, none, if absent"},
        {"protection-first", OPTION_FLAG, &first, 0, 0, NULL, NULL,
         "protection information is in the metadata's first bytes"},
        {"extended", OPTION_FLAG, &extended, 0, 0, NULL, NULL,
         "metadata follows each block's data, not in a buffer of its own"},
        {"erase", OPTION_WORD, &erase, 0, 0, "none|data|key", NULL,
         "how to erase the old data; none if absent"},
        {"overwrite", OPTION_FLAG, &overwrite, 0, 0, NULL, NULL, "yes, destroy what the namespace holds"},
        {"all-namespaces", OPTION_FLAG, &all, 0, 0, NULL, NULL,
         "and those of all other namespaces, if the controller can only format all at once"},
        {"json", OPTION_FLAG, &json, 0, 0, NULL, NULL, "the new format as one line of JSON"},
    };
    const struct command command = {
        .name = "nvme-format",
        .summary = "Formats a namespace: sets its block size, and destroys what it holds.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    struct chalk_nvme_format format = {0};
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if ((size != 0) == (index != UINT64_MAX)) {
        complain("give --block-size BYTES or --format N, and not both");
        return EXIT_USAGE;
    }
    format.erase = parse_erase(erase);
    format.protection = (uint8_t)protection;
    format.protection_first = first;
    format.extended = extended;
    if (!session_open(&session, &wanted))
        return session_failed();
    status = EXIT_USAGE;
    if (!session_find_namespace(&session, (uint32_t)nsid)) {
        status = EXIT_BAD;
    } else if (choose(&session.ns, size, index, &format.format) &&
               session_may_write(&session, 0, session.ns.size, overwrite) &&
               may_format_all(&session, &format, all)) {
        status = run(&session, &format, json);
    }
    session_close(&session);
    return status;
}
