/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands from their parameters: see <chalk/nvme_command.h>. Pure, one function a command; tests/system
 * compares what they make with what nvme-cli sends for the same parameters.
 */
#include "structures.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/nvme_command.h>
#include <string.h>

_Static_assert(sizeof(struct chalk_nvme_range) == 16, "NVM 3.2.3: a range is 16 bytes");
_Static_assert(sizeof(struct chalk_nvme_source) == 32, "NVM 3.2.2: a source range of format 0 is 32 bytes");

/* A count or size less one, as most fields have it; `most` is the field's. */
static uint32_t less_one(uint64_t count, uint64_t most)
{
    chalk_assert(count != 0 && count <= most);
    return (uint32_t)(count - 1);
}

static uint32_t dwords(uint64_t bytes)
{
    chalk_assert(bytes % 4 == 0);
    return (uint32_t)(bytes / 4);
}

struct chalk_nvme_command chalk_nvme_encode_identify(enum chalk_nvme_cns cns, uint32_t nsid,
                                                     uint16_t controller, enum chalk_nvme_command_set csi)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_IDENTIFY,
        .nsid = nsid,
        .cdw10 = (uint32_t)controller << 16 | (uint32_t)cns,
        .cdw11 = (uint32_t)csi << 24,
    };
}

struct chalk_nvme_command chalk_nvme_encode_get_feature(uint8_t feature,
                                                        enum chalk_nvme_feature_select select, uint32_t nsid,
                                                        uint32_t dword11)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_GET_FEATURES,
        .nsid = nsid,
        .cdw10 = (uint32_t)select << 8 | feature,
        .cdw11 = dword11,
    };
}

struct chalk_nvme_command chalk_nvme_encode_set_feature(uint8_t feature, bool save, uint32_t nsid,
                                                        uint32_t value)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_SET_FEATURES,
        .nsid = nsid,
        .cdw10 = (uint32_t)save << 31 | feature,
        .cdw11 = value,
    };
}

struct chalk_nvme_command chalk_nvme_encode_get_log(const struct chalk_nvme_log_page *page)
{
    uint32_t last = less_one(dwords(page->size), UINT32_MAX);

    chalk_assert(page->specific < 0x80 && page->offset % 4 == 0);
    return (struct chalk_nvme_command){
        .opcode = NVME_GET_LOG_PAGE,
        .nsid = page->nsid,
        .cdw10 = last << 16 | (uint32_t)page->keep_event << 15 | (uint32_t)page->specific << 8 | page->log,
        .cdw11 = (uint32_t)page->subject << 16 | last >> 16,
        .cdw12 = (uint32_t)page->offset,
        .cdw13 = (uint32_t)(page->offset >> 32),
        .cdw14 = (uint32_t)page->csi << 24,
    };
}

/* ---- namespaces ------------------------------------------------------------------------------------ */

struct chalk_nvme_command chalk_nvme_encode_format(uint32_t nsid, const struct chalk_nvme_format *format)
{
    chalk_assert(format->format < NVME_FORMATS && format->protection <= 3);
    return (struct chalk_nvme_command){
        .opcode = NVME_FORMAT,
        .nsid = nsid,
        .cdw10 = (uint32_t)format->format >> 4 << 12 | (uint32_t)format->erase << 9 |
                 (uint32_t)format->protection_first << 8 | (uint32_t)format->protection << 5 |
                 (uint32_t)format->extended << 4 | (format->format & 0xf),
        .timeout_ns = 3600 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_create_namespace(enum chalk_nvme_command_set csi)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_NAMESPACE_MANAGEMENT,
        .cdw10 = 0, /* SEL: create */
        .cdw11 = (uint32_t)csi << 24,
        .timeout_ns = 60 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_delete_namespace(uint32_t nsid)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_NAMESPACE_MANAGEMENT,
        .nsid = nsid,
        .cdw10 = 1, /* SEL: delete */
        .timeout_ns = 60 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_attach_namespace(uint32_t nsid, bool attach)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_NAMESPACE_ATTACHMENT,
        .nsid = nsid,
        .cdw10 = attach ? 0 : 1, /* SEL */
        .timeout_ns = 60 * CHALK_S,
    };
}

void chalk_nvme_encode_new_namespace(const struct chalk_nvme_new_namespace *wanted, void *data)
{
    struct nvme_identify_namespace ns = {
        .nsze = wanted->size,
        .ncap = wanted->capacity,
        .flbas = (uint8_t)((wanted->format >> 4) << 5 | (wanted->format & 0xf)),
    };

    chalk_assert(wanted->format < NVME_FORMATS && wanted->protection <= 3);
    memcpy(data, &ns, sizeof ns);
    ((uint8_t *)data)[NVME_NAMESPACE_DPS] = wanted->protection;
    ((uint8_t *)data)[NVME_NAMESPACE_NMIC] = wanted->shared;
}

bool chalk_nvme_encode_controller_list(const uint16_t *controllers, unsigned count, void *data)
{
    uint16_t number = (uint16_t)count;

    if (count > NVME_CONTROLLERS_LISTED)
        return false;
    memset(data, 0, CHALK_NVME_IDENTIFY_SIZE);
    memcpy(data, &number, sizeof number);
    memcpy((char *)data + sizeof number, controllers, count * sizeof *controllers);
    return true;
}

/* ---- firmware, self-test, sanitize, security ------------------------------------------------------- */

struct chalk_nvme_command chalk_nvme_encode_firmware_download(uint32_t offset, uint32_t size)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_FIRMWARE_DOWNLOAD,
        .cdw10 = less_one(dwords(size), UINT32_MAX),
        .cdw11 = dwords(offset),
        .timeout_ns = 60 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_firmware_commit(uint8_t slot,
                                                            enum chalk_nvme_firmware_action action)
{
    chalk_assert(slot <= 7);
    return (struct chalk_nvme_command){
        .opcode = NVME_FIRMWARE_COMMIT,
        .cdw10 = (uint32_t)action << 3 | slot,
        .timeout_ns = 120 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_self_test(uint32_t nsid, enum chalk_nvme_self_test test)
{
    return (struct chalk_nvme_command){.opcode = NVME_SELF_TEST, .nsid = nsid, .cdw10 = (uint32_t)test};
}

struct chalk_nvme_command chalk_nvme_encode_sanitize(const struct chalk_nvme_sanitize *sanitize)
{
    chalk_assert(sanitize->passes <= 16);
    return (struct chalk_nvme_command){
        .opcode = NVME_SANITIZE,
        .cdw10 = (uint32_t)sanitize->no_deallocate << 9 | (uint32_t)sanitize->invert << 8 |
                 (sanitize->passes & 0xfu) << 4 | /* 0 is 16 */
                 (uint32_t)sanitize->unrestricted << 3 | (uint32_t)sanitize->action,
        .cdw11 = sanitize->pattern,
    };
}

static struct chalk_nvme_command security_command(uint8_t opcode, const struct chalk_nvme_security *security)
{
    return (struct chalk_nvme_command){
        .opcode = opcode,
        .nsid = security->nsid,
        .cdw10 = (uint32_t)security->protocol << 24 | (uint32_t)security->specific << 8 | security->nssf,
        .cdw11 = security->size,
        .timeout_ns = 60 * CHALK_S,
    };
}

struct chalk_nvme_command chalk_nvme_encode_security_send(const struct chalk_nvme_security *security)
{
    return security_command(NVME_SECURITY_SEND, security);
}

struct chalk_nvme_command chalk_nvme_encode_security_receive(const struct chalk_nvme_security *security)
{
    return security_command(NVME_SECURITY_RECEIVE, security);
}

struct chalk_nvme_command chalk_nvme_encode_virtualize(uint16_t controller,
                                                       enum chalk_nvme_virtual_action action,
                                                       enum chalk_nvme_resource resource, uint16_t count)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_VIRTUALIZATION,
        .cdw10 = (uint32_t)controller << 16 | (uint32_t)resource << 8 | (uint32_t)action,
        .cdw11 = count,
    };
}

/* ---- I/O ------------------------------------------------------------------------------------------- */

/* A command on blocks: the first in dwords 10 and 11. */
static struct chalk_nvme_command on_blocks(uint8_t opcode, uint32_t nsid, uint64_t lba)
{
    return (struct chalk_nvme_command){
        .opcode = opcode, .nsid = nsid, .cdw10 = (uint32_t)lba, .cdw11 = (uint32_t)(lba >> 32)};
}

struct chalk_nvme_command chalk_nvme_encode_write_uncorrectable(uint32_t nsid, uint64_t lba, uint32_t count)
{
    struct chalk_nvme_command command = on_blocks(NVME_WRITE_UNCORRECTABLE, nsid, lba);

    command.cdw12 = less_one(count, 65536);
    return command;
}

struct chalk_nvme_command chalk_nvme_encode_dataset(uint32_t nsid, unsigned ranges, uint32_t attributes)
{
    return (struct chalk_nvme_command){
        .opcode = NVME_DATASET_MANAGEMENT,
        .nsid = nsid,
        .cdw10 = less_one(ranges, CHALK_NVME_RANGES),
        .cdw11 = attributes,
    };
}

struct chalk_nvme_command chalk_nvme_encode_copy(uint32_t nsid, uint64_t lba, unsigned ranges)
{
    struct chalk_nvme_command command = on_blocks(NVME_COPY, nsid, lba);

    command.cdw12 = less_one(ranges, CHALK_NVME_RANGES); /* of descriptor format 0 */
    return command;
}

struct chalk_nvme_command chalk_nvme_encode_zone_action(uint32_t nsid, uint64_t lba,
                                                        enum chalk_nvme_zone_action action, bool all)
{
    struct chalk_nvme_command command = on_blocks(NVME_ZONE_SEND, nsid, lba);

    command.cdw13 = (uint32_t)all << 8 | (uint32_t)action;
    return command;
}

struct chalk_nvme_command chalk_nvme_encode_zone_report(uint32_t nsid, uint64_t lba, uint8_t filter,
                                                        uint32_t size)
{
    struct chalk_nvme_command command = on_blocks(NVME_ZONE_RECEIVE, nsid, lba);

    command.cdw12 = less_one(dwords(size), UINT32_MAX);
    command.cdw13 = (uint32_t)filter << 8 | NVME_ZONE_REPORT;
    return command;
}

struct chalk_nvme_command chalk_nvme_encode_zone_append(uint32_t nsid, uint64_t zone, uint32_t count)
{
    struct chalk_nvme_command command = on_blocks(NVME_ZONE_APPEND, nsid, zone);

    command.cdw12 = less_one(count, 65536);
    return command;
}
