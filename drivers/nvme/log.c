/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log pages [Base 5.16.1]: read a page of memory at a time, and parsed from the copy of it.
 */
#include "nvme.h"
#include "structures.h"
#include <chalk/nvme_admin.h>
#include <string.h>

int chalk_nvme_read_log(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page, void *data)
{
    struct chalk_nvme_log_page piece = *page;

    if (page->size == 0 || page->size % 4 != 0 || page->offset % 4 != 0 || page->specific > 0x7f)
        return -EINVAL;
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

int chalk_nvme_read_errors(struct chalk_nvme *nvme, struct chalk_nvme_error *errors, unsigned *count)
{
    const struct nvme_error_entry *entries = (const void *)nvme->identity;
    unsigned most = *count < sizeof nvme->identity / sizeof *entries
                        ? *count
                        : (unsigned)(sizeof nvme->identity / sizeof *entries);
    int error;

    *count = 0;
    if (most == 0)
        return 0;
    /* It may have fewer: the rest is then zeros, as chalk_nvme_run() leaves what is not answered. */
    error = fetch(nvme, CHALK_NVME_LOG_ERRORS, (uint32_t)(most * sizeof *entries), CHALK_NVME_CSI_NVM);
    if (error != 0)
        return error;
    for (unsigned i = 0; i < most && entries[i].count != 0; i++, ++*count)
        errors[i] = (struct chalk_nvme_error){
            .number = entries[i].count,
            .queue = entries[i].sqid,
            .command = entries[i].cid,
            .status = entries[i].status >> 1,
            .location = entries[i].location,
            .lba = entries[i].lba,
            .nsid = entries[i].nsid,
        };
    return 0;
}

static uint64_t narrow(const uint64_t words[2])
{
    return words[1] == 0 ? words[0] : UINT64_MAX;
}

int chalk_nvme_read_health(struct chalk_nvme *nvme, struct chalk_nvme_health *health)
{
    const struct nvme_health *log = (const void *)nvme->identity;
    int error = fetch(nvme, CHALK_NVME_LOG_HEALTH, sizeof *log, CHALK_NVME_CSI_NVM);

    if (error != 0)
        return error;
    *health = (struct chalk_nvme_health){
        .critical_warning = log->critical_warning,
        .temperature = (uint16_t)(log->temperature[1] << 8 | log->temperature[0]),
        .spare = log->spare,
        .spare_threshold = log->spare_threshold,
        .used = log->used,
        .units_read = narrow(log->units_read),
        .units_written = narrow(log->units_written),
        .reads = narrow(log->reads),
        .writes = narrow(log->writes),
        .busy_minutes = narrow(log->busy),
        .power_cycles = narrow(log->power_cycles),
        .power_hours = narrow(log->power_hours),
        .unsafe_shutdowns = narrow(log->unsafe_shutdowns),
        .media_errors = narrow(log->media_errors),
        .errors = narrow(log->errors),
        .warning_minutes = log->warning_minutes,
        .critical_minutes = log->critical_minutes,
    };
    memcpy(health->sensors, log->sensors, sizeof health->sensors);
    return 0;
}

int chalk_nvme_read_firmware(struct chalk_nvme *nvme, struct chalk_nvme_firmware *firmware)
{
    const struct nvme_firmware_slots *log = (const void *)nvme->identity;
    int error = fetch(nvme, CHALK_NVME_LOG_FIRMWARE, sizeof *log, CHALK_NVME_CSI_NVM);

    if (error != 0)
        return error;
    *firmware = (struct chalk_nvme_firmware){.active = log->afi & 7, .next = log->afi >> 4 & 7};
    for (unsigned i = 0; i < 7; i++)
        chalk_nvme_text(firmware->revisions[i], log->revisions[i], sizeof log->revisions[i]);
    return 0;
}

int chalk_nvme_read_changed(struct chalk_nvme *nvme, uint32_t nsids[NVME_NAMESPACES_LISTED], unsigned *count)
{
    int error = fetch(nvme, CHALK_NVME_LOG_CHANGED, sizeof nvme->identity, CHALK_NVME_CSI_NVM);

    *count = 0;
    if (error != 0)
        return error;
    memcpy(nsids, nvme->identity, sizeof nvme->identity);
    if (nsids[0] == NVME_CHANGED_MANY) {
        *count = UINT32_MAX;
        return 0;
    }
    while (*count < NVME_NAMESPACES_LISTED && nsids[*count] != 0)
        ++*count;
    return 0;
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

int chalk_nvme_read_sanitize(struct chalk_nvme *nvme, struct chalk_nvme_sanitize_status *status)
{
    const struct nvme_sanitize_log *log = (const void *)nvme->identity;
    int error = fetch(nvme, CHALK_NVME_LOG_SANITIZE, sizeof *log, CHALK_NVME_CSI_NVM);

    if (error != 0)
        return error;
    *status = (struct chalk_nvme_sanitize_status){
        .progress = log->progress,
        .state = log->status & 7,
        .passes = log->status >> 3 & 0x1f,
        .erased = (log->status >> 8 & 1) != 0,
        .overwrite_seconds = log->overwrite_seconds,
        .block_erase_seconds = log->block_erase_seconds,
        .crypto_erase_seconds = log->crypto_erase_seconds,
    };
    return 0;
}
