/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running admin commands that carry data: see <chalk/nvme_admin.h>.
 *
 * Data of up to a page goes through the controller's answer page; more through memory that is taken for the
 * while, its PRP list in that page. When chalk_nvme_admin() returns the controller no longer reaches either,
 * also after a failure, so both can be given back.
 */
#include "nvme.h"
#include "prp.h"
#include "structures.h"
#include <chalk/nvme_admin.h>
#include <string.h>

struct nvme_command chalk_nvme_assemble(const struct chalk_nvme_command *command)
{
    return (struct nvme_command){
        .cdw0 = command->opcode,
        .nsid = command->nsid,
        .cdw2 = command->cdw2,
        .cdw3 = command->cdw3,
        .cdw10 = command->cdw10,
        .cdw11 = command->cdw11,
        .cdw12 = command->cdw12,
        .cdw13 = command->cdw13,
        .cdw14 = command->cdw14,
        .cdw15 = command->cdw15,
    };
}

/* A refusal is the caller's to handle, and not logged. */
static int execute(struct chalk_nvme *nvme, const struct chalk_nvme_command *command, struct nvme_prp prp,
                   struct chalk_nvme_answer *answer)
{
    struct nvme_command entry = chalk_nvme_assemble(command);
    struct nvme_admin_call call = {.timeout_ns = command->timeout_ns};
    int error;

    entry.prp1 = prp.prp1;
    entry.prp2 = prp.prp2;
    error = chalk_nvme_admin_run(nvme, &call, &entry);
    if (answer != NULL)
        *answer = (struct chalk_nvme_answer){.result = call.result, .status = call.status};
    return error;
}

/* [Base 3.3.3.1: bits 1:0 of the opcode say whether data is moved] */
static int wrong_size(const struct chalk_nvme *nvme, const char *call)
{
    return chalk_nvme_wrong_call(
        nvme, call,
        "the data is not a multiple of 4 bytes, or more than max_transfer, or the opcode "
        "moves none");
}

/* Of commands that are the driver's: it keeps account of what they make, and could not of what others make.
 */
static const char *driver_does(uint8_t opcode)
{
    switch (opcode) {
    case NVME_DELETE_SQ:
    case NVME_CREATE_SQ:
    case NVME_DELETE_CQ:
    case NVME_CREATE_CQ:
        return "the opcode makes or deletes a queue: see chalk_nvme_queue_open()";
    case NVME_EVENT_REQUEST:
        return "the opcode asks for an event: see chalk_nvme_watch()";
    case NVME_DOORBELL_BUFFER:
        return "the opcode moves doorbells: see shadow_doorbells of struct chalk_nvme_options";
    default:
        return NULL;
    }
}

/* What is wrong with the call whatever its size; `missing`: there is data, and no pointer to it. */
static int check_call(const struct chalk_nvme *nvme, const char *call,
                      const struct chalk_nvme_command *command, bool missing)
{
    const char *why =
        missing ? "there is a size, and the pointer to data is NULL" : driver_does(command->opcode);

    return why != NULL ? chalk_nvme_wrong_call(nvme, call, why) : 0;
}

int chalk_nvme_run_segments(struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                            const struct chalk_dma *segments, unsigned count,
                            struct chalk_nvme_answer *answer)
{
    struct nvme_prp prp = {0, 0};
    struct nvme_data data = {.segments = segments, .count = count};
    uint64_t size = 0;
    int error = check_call(nvme, "chalk_nvme_run_segments", command, count != 0 && segments == NULL);

    if (answer != NULL)
        *answer = (struct chalk_nvme_answer){0, 0};
    if (error != 0)
        return error;
    for (unsigned i = 0; i < count; i++) {
        if (segments[i].size > nvme->info.max_transfer)
            return wrong_size(nvme, "chalk_nvme_run_segments");
        size += segments[i].size;
        chalk_grant_check(nvme->domain, segments[i].iova, segments[i].size);
    }
    if (size % 4 != 0 || size > nvme->info.max_transfer || (size != 0 && (command->opcode & 3) == 0))
        return wrong_size(nvme, "chalk_nvme_run_segments");
    error = chalk_nvme_check_unused(nvme, command, count != 0 ? segments[0].va : NULL,
                                    count != 0 ? segments[0].size : 0);
    data.bytes = size;
    if (error == 0 && size != 0)
        error = chalk_nvme_prp_list(&data, nvme->info.page_size, nvme->answer.va, nvme->answer.iova, &prp);
    return error != 0 ? error : execute(nvme, command, prp, answer);
}

/* Through `buffer`, of which the controller knows nothing but what it needs to. */
static int run_through(struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                       const struct chalk_dma *buffer, void *data, struct chalk_nvme_answer *answer)
{
    const struct nvme_prp one_page = {buffer->iova, 0};
    int error;

    /* Cleared if not written to: an answer that never arrives is not an older one's. */
    if ((command->opcode & CHALK_NVME_TO_CONTROLLER) != 0)
        memcpy(buffer->va, data, buffer->size);
    else
        memset(buffer->va, 0, buffer->size);
    if (buffer->size <= nvme->info.page_size)
        error = execute(nvme, command, one_page, answer);
    else
        error = chalk_nvme_run_segments(nvme, command, buffer, 1, answer);
    if (error == 0 && (command->opcode & CHALK_NVME_FROM_CONTROLLER) != 0)
        chalk_dma_observe(data, buffer->va, buffer->size);
    return error;
}

int chalk_nvme_run(struct chalk_nvme *nvme, const struct chalk_nvme_command *command, void *data, size_t size,
                   struct chalk_nvme_answer *answer)
{
    struct chalk_dma buffer = {nvme->answer.va, nvme->answer.iova, size};
    int error = check_call(nvme, "chalk_nvme_run", command, size != 0 && data == NULL);

    if (answer != NULL)
        *answer = (struct chalk_nvme_answer){0, 0};
    if (error != 0)
        return error;
    if (size == 0)
        return chalk_nvme_run_segments(nvme, command, NULL, 0, answer);
    if (size % 4 != 0 || size > nvme->info.max_transfer || (command->opcode & 3) == 0)
        return wrong_size(nvme, "chalk_nvme_run");
    error = chalk_nvme_check_unused(nvme, command, data, size);
    if (error != 0)
        return error;
    if (size <= nvme->info.page_size)
        return run_through(nvme, command, &buffer, data, answer);

    error = chalk_dma_get(nvme->memory, size, nvme->info.page_size, &buffer);
    if (error != 0)
        return error;
    error = run_through(nvme, command, &(struct chalk_dma){buffer.va, buffer.iova, size}, data, answer);
    chalk_dma_put(nvme->memory, &buffer);
    return error;
}

/* ---- features -------------------------------------------------------------------------------------- */

int chalk_nvme_get_feature(struct chalk_nvme *nvme, uint8_t feature, enum chalk_nvme_feature_select select,
                           uint32_t nsid, uint32_t *value)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_get_feature(feature, select, nsid, 0);
    struct chalk_nvme_answer answer;
    int error;

    /* Some features have data, of at most a page, that is not asked for here; it needs a place all the same.
     */
    error = execute(nvme, &command, (struct nvme_prp){nvme->answer.iova, 0}, &answer);
    *value = answer.result;
    return error;
}

int chalk_nvme_set_feature(struct chalk_nvme *nvme, uint8_t feature, bool save, uint32_t nsid, uint32_t value)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_set_feature(feature, save, nsid, value);

    return chalk_nvme_run(nvme, &command, NULL, 0, NULL);
}

/* ---- namespace management, firmware ---------------------------------------------------------------- */

int chalk_nvme_create_namespace(struct chalk_nvme *nvme, const struct chalk_nvme_new_namespace *ns,
                                uint32_t *nsid)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_create_namespace(CHALK_NVME_CSI_NVM);
    struct chalk_nvme_answer answer;
    int error;

    chalk_nvme_encode_new_namespace(ns, nvme->identity);
    error = chalk_nvme_run(nvme, &command, nvme->identity, sizeof nvme->identity, &answer);
    *nsid = answer.result;
    return error;
}

int chalk_nvme_delete_namespace(struct chalk_nvme *nvme, uint32_t nsid)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_delete_namespace(nsid);

    return chalk_nvme_run(nvme, &command, NULL, 0, NULL);
}

int chalk_nvme_attach_namespace(struct chalk_nvme *nvme, uint32_t nsid, bool attach,
                                const uint16_t *controllers, unsigned count)
{
    const struct chalk_nvme_command command = chalk_nvme_encode_attach_namespace(nsid, attach);

    if (!chalk_nvme_encode_controller_list(controllers, count, nvme->identity))
        return chalk_nvme_wrong_call(nvme, "chalk_nvme_attach_namespace",
                                     "a list has at most 2047 controllers");
    return chalk_nvme_run(nvme, &command, nvme->identity, sizeof nvme->identity, NULL);
}

int chalk_nvme_download_firmware(struct chalk_nvme *nvme, const void *image, uint32_t size)
{
    uint32_t piece = nvme->info.page_size;

    if (nvme->info.firmware_piece > piece) /* every piece begins and ends at a multiple [Base 5.13] */
        piece = nvme->info.firmware_piece;
    if (size == 0 || size % 4 != 0)
        return chalk_nvme_wrong_call(nvme, "chalk_nvme_download_firmware",
                                     "size is 0, or not a multiple of 4");
    for (uint32_t at = 0; at < size; at += piece) {
        uint32_t bytes = size - at < piece ? size - at : piece;
        const struct chalk_nvme_command command = chalk_nvme_encode_firmware_download(at, bytes);
        int error = chalk_nvme_run(nvme, &command, (char *)(uintptr_t)image + at, bytes, NULL);

        if (error != 0)
            return error;
        if (size - at <= piece)
            break; /* `at` may not wrap around */
    }
    return 0;
}
