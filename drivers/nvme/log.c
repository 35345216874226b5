/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log pages [Base 5.16.1]: read a page of memory at a time, and parsed from the copy of it.
 */
#include "nvme.h"
#include "structures.h"
#include <string.h>

int chalk_nvme_read_log(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page, void *data)
{
    struct chalk_nvme_log_page piece = *page;

    if (page->size == 0 || page->size % 4 != 0 || page->offset % 4 != 0 || page->specific > 0x7f)
        return chalk_nvme_wrong_call(
            nvme, "chalk_nvme_read_log",
            "size or offset is not a multiple of 4, size is 0, or specific is beyond 127");
    if (!nvme->log_offsets && (page->offset != 0 || page->size > nvme->info.page_size))
        return -ENOTSUP; /* it would give the first bytes each time */
    for (uint32_t done = 0; done < page->size; done += piece.size) {
        struct chalk_nvme_command command;
        int error;

        piece.offset = page->offset + done;
        piece.size = page->size - done;
        if (piece.size > nvme->info.page_size) {
            piece.size = nvme->info.page_size;
            piece.keep_event = true;
        } else {
            piece.keep_event = page->keep_event;
        }
        command = chalk_nvme_encode_get_log(&piece);
        error = chalk_nvme_run(nvme, &command, (char *)data + done, piece.size, NULL);
        if (error != 0)
            return error;
    }
    return 0;
}

/* The first `size` bytes of one of the controller's logs, in nvme->identity. */
static int fetch(struct chalk_nvme *nvme, uint8_t log, uint32_t size, enum chalk_nvme_command_set csi)
{
    const struct chalk_nvme_log_page page = {.log = log, .nsid = CHALK_NVME_ALL, .size = size, .csi = csi};

    return chalk_nvme_read_log(nvme, &page, nvme->identity);
}

/* Fewer may have been logged than there is room for: the others are zeros [Base 5.16.1.2]. */
unsigned chalk_nvme_parse_errors(const void *log, struct chalk_nvme_error *errors, unsigned most)
{
    const struct nvme_error_entry *entries = log;
    unsigned count = 0;

    for (; count < most && entries[count].count != 0; count++)
        errors[count] = (struct chalk_nvme_error){
            .number = entries[count].count,
            .queue = entries[count].sqid,
            .command = entries[count].cid,
            .status = entries[count].status >> 1,
            .location = entries[count].location,
            .lba = entries[count].lba,
            .nsid = entries[count].nsid,
        };
    return count;
}

int chalk_nvme_read_errors(struct chalk_nvme *nvme, struct chalk_nvme_error *errors, unsigned *count)
{
    const size_t size = sizeof(struct nvme_error_entry);
    unsigned most = *count < sizeof nvme->identity / size ? *count : (unsigned)(sizeof nvme->identity / size);
    int error;

    *count = 0;
    if (most > nvme->error_entries)
        most = nvme->error_entries;
    if (most == 0)
        return 0;
    error = fetch(nvme, CHALK_NVME_LOG_ERRORS, (uint32_t)(most * size), CHALK_NVME_CSI_NVM);
    if (error == 0)
        *count = chalk_nvme_parse_errors(nvme->identity, errors, most);
    return error;
}

static uint64_t narrow(const uint64_t words[2])
{
    return words[1] == 0 ? words[0] : UINT64_MAX;
}

void chalk_nvme_parse_health(const void *log, struct chalk_nvme_health *health)
{
    const struct nvme_health *page = log;

    *health = (struct chalk_nvme_health){
        .critical_warning = page->critical_warning,
        .temperature = (uint16_t)(page->temperature[1] << 8 | page->temperature[0]),
        .spare = page->spare,
        .spare_threshold = page->spare_threshold,
        .used = page->used,
        .units_read = narrow(page->units_read),
        .units_written = narrow(page->units_written),
        .reads = narrow(page->reads),
        .writes = narrow(page->writes),
        .busy_minutes = narrow(page->busy),
        .power_cycles = narrow(page->power_cycles),
        .power_hours = narrow(page->power_hours),
        .unsafe_shutdowns = narrow(page->unsafe_shutdowns),
        .media_errors = narrow(page->media_errors),
        .errors = narrow(page->errors),
        .warning_minutes = page->warning_minutes,
        .critical_minutes = page->critical_minutes,
    };
    memcpy(health->sensors, page->sensors, sizeof health->sensors);
}

int chalk_nvme_read_health(struct chalk_nvme *nvme, struct chalk_nvme_health *health)
{
    int error = fetch(nvme, CHALK_NVME_LOG_HEALTH, sizeof(struct nvme_health), CHALK_NVME_CSI_NVM);

    if (error == 0)
        chalk_nvme_parse_health(nvme->identity, health);
    return error;
}

void chalk_nvme_parse_firmware(const void *log, struct chalk_nvme_firmware *firmware)
{
    const struct nvme_firmware_slots *page = log;

    *firmware = (struct chalk_nvme_firmware){.active = page->afi & 7, .next = page->afi >> 4 & 7};
    for (unsigned i = 0; i < 7; i++)
        chalk_nvme_text(firmware->revisions[i], page->revisions[i], sizeof page->revisions[i]);
}

int chalk_nvme_read_firmware(struct chalk_nvme *nvme, struct chalk_nvme_firmware *firmware)
{
    int error = fetch(nvme, CHALK_NVME_LOG_FIRMWARE, sizeof(struct nvme_firmware_slots), CHALK_NVME_CSI_NVM);

    if (error == 0)
        chalk_nvme_parse_firmware(nvme->identity, firmware);
    return error;
}

unsigned chalk_nvme_parse_changed(const void *log, uint32_t nsids[NVME_NAMESPACES_LISTED])
{
    unsigned count = 0;

    memcpy(nsids, log, NVME_NAMESPACES_LISTED * sizeof *nsids);
    if (nsids[0] == NVME_CHANGED_MANY)
        return UINT32_MAX;
    while (count < NVME_NAMESPACES_LISTED && nsids[count] != 0)
        count++;
    return count;
}

int chalk_nvme_read_changed(struct chalk_nvme *nvme, uint32_t nsids[NVME_NAMESPACES_LISTED], unsigned *count)
{
    int error = fetch(nvme, CHALK_NVME_LOG_CHANGED, sizeof nvme->identity, CHALK_NVME_CSI_NVM);

    *count = error == 0 ? chalk_nvme_parse_changed(nvme->identity, nsids) : 0;
    return error;
}

int chalk_nvme_read_effects(struct chalk_nvme *nvme, enum chalk_nvme_command_set csi,
                            struct chalk_nvme_effects *effects)
{
    const struct nvme_effects *log = (const void *)nvme->identity;
    int error = fetch(nvme, CHALK_NVME_LOG_EFFECTS, sizeof *log, csi);

    if (error != 0)
        return error;
    memcpy(effects->admin, log->admin, sizeof effects->admin);
    memcpy(effects->io, log->io, sizeof effects->io);
    return 0;
}

int chalk_nvme_read_self_tests(struct chalk_nvme *nvme, struct chalk_nvme_self_tests *tests)
{
    const struct nvme_self_test_log *log = (const void *)nvme->identity;
    int error = fetch(nvme, CHALK_NVME_LOG_SELF_TEST, sizeof *log, CHALK_NVME_CSI_NVM);

    if (error != 0)
        return error;
    *tests = (struct chalk_nvme_self_tests){
        .running = log->operation & 0xf,
        .progress = log->progress & 0x7f,
    };
    for (unsigned i = 0; i < NVME_SELF_TESTS && (log->results[i].status & 0xf) != 0xf; i++, tests->count++) {
        const struct nvme_self_test_result *result = &log->results[i];
        uint8_t valid = result->valid;

        tests->results[i].test = result->status >> 4;
        tests->results[i].result = result->status & 0xf;
        tests->results[i].segment = result->segment;
        memcpy(&tests->results[i].power_hours, result->power_hours, sizeof result->power_hours);
        if ((valid & 1) != 0)
            tests->results[i].nsid = result->nsid;
        if ((valid & 2) != 0)
            memcpy(&tests->results[i].lba, result->lba, sizeof result->lba);
        if ((valid & 0xc) == 0xc)
            tests->results[i].status = (uint16_t)((result->sct & 7) << 8 | result->sc);
    }
    return 0;
}

void chalk_nvme_parse_sanitize(const void *log, struct chalk_nvme_sanitize_status *status)
{
    const struct nvme_sanitize_log *page = log;

    *status = (struct chalk_nvme_sanitize_status){
        .progress = page->progress,
        .state = page->status & 7,
        .passes = page->status >> 3 & 0x1f,
        .erased = (page->status >> 8 & 1) != 0,
        .overwrite_seconds = page->overwrite_seconds,
        .block_erase_seconds = page->block_erase_seconds,
        .crypto_erase_seconds = page->crypto_erase_seconds,
    };
}

int chalk_nvme_read_sanitize(struct chalk_nvme *nvme, struct chalk_nvme_sanitize_status *status)
{
    int error = fetch(nvme, CHALK_NVME_LOG_SANITIZE, sizeof(struct nvme_sanitize_log), CHALK_NVME_CSI_NVM);

    if (error == 0)
        chalk_nvme_parse_sanitize(nvme->identity, status);
    return error;
}
