/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NVMe commands beyond reading and writing, on QEMU's controller: through the admin queue and through an I/O
 * queue. Its first namespace, of 512-byte blocks, is written to; its second one is formatted. With the
 * argument "attach" instead: the second one is not attached at first, and comes and goes; with "virtual": the
 * controller has two virtual functions.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme_admin.h>

#include <string.h>

#include "nvme_device.h"

#define BLOCK 512u

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
    struct chalk_dma buffer; /* eight pages */
};

static struct chalk_dma piece(const struct world *w, size_t offset, size_t size)
{
    return (struct chalk_dma){(char *)w->buffer.va + offset, w->buffer.iova + offset, size};
}

/* ---- admin ----------------------------------------------------------------------------------------- */

static void raw(struct world *w)
{
    const struct chalk_nvme_command identify =
        chalk_nvme_encode_identify(CHALK_NVME_CNS_CONTROLLER, 0, 0, CHALK_NVME_CSI_NVM);
    const struct chalk_nvme_command unknown = {.opcode = 0xfd};
    const struct chalk_dma halves[] = {piece(w, 4096 + 2048, 2048), piece(w, 0, 2048)};
    static unsigned char id[CHALK_NVME_IDENTIFY_SIZE];
    struct chalk_nvme_answer answer;

    expect_result(chalk_nvme_run(w->nvme, &identify, id, sizeof(id), &answer), 0,
                  "identifying the controller");
    expect(id[0] == 0x36 && id[1] == 0x1b, "it is QEMU's");
    memset(w->buffer.va, 0, 2 * 4096);
    expect_result(chalk_nvme_run_segments(w->nvme, &identify, halves, 2, NULL), 0, "into two segments");
    expect(memcmp(halves[0].va, id, 2048) == 0 && memcmp(halves[1].va, id + 2048, 2048) == 0,
           "which then hold the same");
    expect_result(chalk_nvme_run(w->nvme, &identify, id, 2, NULL), -EINVAL, "into two bytes");
    expect_result(chalk_nvme_run(w->nvme, &unknown, NULL, 0, &answer), -ENOTSUP,
                  "a command that there is not");
    expect((answer.status & 0x7ff) == 0x001, "is refused as an invalid opcode");
}

static void lists(struct world *w)
{
    static uint32_t nsids[1024];
    struct chalk_nvme_identifiers ids;
    unsigned count;

    expect_result(chalk_nvme_list_namespaces(w->nvme, false, 0, nsids, &count), 0, "listing namespaces");
    expect(count == 2 && nsids[0] == 1 && nsids[1] == 2, "finds two");
    expect_result(chalk_nvme_list_namespaces(w->nvme, true, 1, nsids, &count), 0,
                  "listing those allocated above the first");
    expect(count == 1 && nsids[0] == 2, "finds one");
    expect_result(chalk_nvme_get_identifiers(w->nvme, 1, &ids), 0, "the first one's identifiers");
    expect(ids.csi == CHALK_NVME_CSI_NVM, "it belongs to the NVM command set");
    expect_result(chalk_nvme_get_identifiers(w->nvme, 77, &ids), -EINVAL, "those of one that there is not");
}

static void features_and_logs(struct world *w)
{
    const struct chalk_nvme_command timestamp =
        chalk_nvme_encode_get_feature(CHALK_NVME_FEATURE_TIMESTAMP, CHALK_NVME_FEATURE_CURRENT, 0, 0);
    static struct chalk_nvme_effects effects;
    struct chalk_nvme_health health;
    struct chalk_nvme_firmware firmware;
    unsigned char now[8];
    uint32_t value = 77;

    expect_result(chalk_nvme_set_feature(w->nvme, CHALK_NVME_FEATURE_WRITE_CACHE, false, 0, 0), 0,
                  "turning the write cache off");
    expect_result(chalk_nvme_get_feature(w->nvme, CHALK_NVME_FEATURE_WRITE_CACHE, CHALK_NVME_FEATURE_CURRENT,
                                         0, &value),
                  0, "asking for it");
    expect(value == 0, "it is off");
    expect_result(
        chalk_nvme_set_feature(w->nvme, CHALK_NVME_FEATURE_WRITE_CACHE, false, 0, CHALK_NVME_WRITE_CACHE_ON),
        0, "turning it on");
    expect_result(chalk_nvme_set_feature(w->nvme, CHALK_NVME_FEATURE_COALESCING, false, 0, 1), -EINVAL,
                  "changing what cannot be changed");
    expect_result(chalk_nvme_run(w->nvme, &timestamp, now, sizeof(now), NULL), 0, "a feature with data");
    expect_result(chalk_nvme_read_health(w->nvme, &health), 0, "the health log");
    expect(health.temperature == 323 && health.critical_warning == 0, "all is well, at 50 degrees");
    expect_result(chalk_nvme_read_firmware(w->nvme, &firmware), 0, "the firmware log");
    expect(firmware.active == 1 && strcmp(firmware.revisions[0], "1.0") == 0, "1.0 is in the first slot");
    expect_result(chalk_nvme_read_effects(w->nvme, CHALK_NVME_CSI_NVM, &effects), 0, "the effects log");
    expect((effects.io[0x01] & CHALK_NVME_EFFECT_BLOCKS) != 0, "writing changes blocks");
    expect((effects.admin[0x84] & CHALK_NVME_EFFECT_SUPPORTED) == 0, "there is no sanitize");
}

static void absent(struct world *w)
{
    const struct chalk_nvme_sanitize sanitize = {.action = CHALK_NVME_SANITIZE_CRYPTO_ERASE};
    const struct chalk_nvme_new_namespace ns = {.size = 100, .capacity = 100};
    const struct chalk_nvme_command commands[] = {
        chalk_nvme_encode_sanitize(&sanitize),
        chalk_nvme_encode_self_test(0, CHALK_NVME_SELF_TEST_SHORT),
        chalk_nvme_encode_firmware_commit(1, CHALK_NVME_FIRMWARE_REPLACE),
    };
    static const unsigned char image[8192];
    uint32_t nsid;
    bool refused = true;

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        refused &= chalk_nvme_run(w->nvme, &commands[i], NULL, 0, NULL) == -ENOTSUP;
    expect(refused, "sanitize, self-test and firmware commit are not supported");
    expect_result(chalk_nvme_download_firmware(w->nvme, image, sizeof(image)), -ENOTSUP, "firmware");
    expect_result(chalk_nvme_create_namespace(w->nvme, &ns, &nsid), -ENOTSUP, "a new namespace");
}

static void format(struct world *w)
{
    const struct chalk_nvme_format small = {.format = 0}, wrong = {.format = 9};
    const struct chalk_nvme_command commands[] = {chalk_nvme_encode_format(2, &small),
                                                  chalk_nvme_encode_format(2, &wrong)};
    struct chalk_nvme_namespace ns;

    expect_result(chalk_nvme_run(w->nvme, &commands[0], NULL, 0, NULL), 0, "formatting the second namespace");
    expect_result(chalk_nvme_next_namespace(w->nvme, 1, &ns), 0, "looking at it");
    expect(ns.block_size == 512 && ns.format == 0, "its blocks have 512 bytes now");
    expect_result(chalk_nvme_run(w->nvme, &commands[1], NULL, 0, NULL), -EINVAL,
                  "formatting it in a way that there is not");
}

/* ---- I/O ------------------------------------------------------------------------------------------- */

static int run_io(struct world *w, const struct chalk_nvme_command *command, const struct chalk_dma *data,
                  uint16_t *status)
{
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = data, .segment_count = data != NULL},
        .command = *command,
    };
    int error = chalk_block_do(w->queue, &request.block, chalk_deadline(20 * CHALK_S));

    *status = request.status & 0x7ff;
    return error;
}

static int transfer(struct world *w, enum chalk_block_op op, uint64_t lba, uint32_t count)
{
    const struct chalk_dma data = piece(w, 4096, count * BLOCK);
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = count, .segments = &data, .segment_count = 1};

    return chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S));
}

/* Whether block `lba` holds the byte `value`, throughout. */
static bool block_is(struct world *w, uint64_t lba, unsigned char value)
{
    const unsigned char *bytes = (const unsigned char *)w->buffer.va + 4096;

    if (transfer(w, CHALK_BLOCK_READ, lba, 1) != 0)
        return false;
    for (unsigned i = 0; i < BLOCK; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static void several_ranges(struct world *w)
{
    const struct chalk_nvme_range ranges[] = {
        {.lba = 2, .count = 1}, {.lba = 4, .count = 2}, {.lba = 9, .count = 1}};
    const struct chalk_nvme_source sources[] = {{.lba = 1, .count_less_one = 0},
                                                {.lba = 6, .count_less_one = 1}};
    const struct chalk_dma list = piece(w, 0, sizeof(ranges)), source_list = piece(w, 0, sizeof(sources));
    struct chalk_nvme_command command;
    uint16_t status;

    for (unsigned i = 0; i < 16; i++)
        memset((char *)w->buffer.va + 4096 + i * BLOCK, (int)i + 1, BLOCK);
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 0, 16), 0, "writing blocks 0 to 15");

    memcpy(w->buffer.va, sources, sizeof(sources));
    command = chalk_nvme_encode_copy(1, 100, 2);
    expect_result(run_io(w, &command, &source_list, &status), 0, "copying blocks 1, 6 and 7 to 100");
    expect(block_is(w, 100, 2) && block_is(w, 101, 7) && block_is(w, 102, 8), "they are there");

    memcpy(w->buffer.va, ranges, sizeof(ranges));
    command = chalk_nvme_encode_dataset(1, 3, CHALK_NVME_DSM_DEALLOCATE);
    expect_result(run_io(w, &command, &list, &status), 0, "deallocating blocks 2, 4, 5 and 9");
    expect(block_is(w, 1, 2) && block_is(w, 3, 4) && block_is(w, 6, 7) && block_is(w, 10, 11),
           "those between are as they were");

    command = chalk_nvme_encode_write_uncorrectable(1, 0, 1);
    expect_result(run_io(w, &command, NULL, &status), -ENOTSUP, "making a block uncorrectable");
    expect(status == 0x001, "is refused as an invalid opcode");
}

/* ---- attachment ------------------------------------------------------------------------------------ */

static bool is_listed(struct world *w, bool allocated, uint32_t nsid)
{
    static uint32_t nsids[1024];
    unsigned count;

    if (chalk_nvme_list_namespaces(w->nvme, allocated, nsid - 1, nsids, &count) != 0)
        return false;
    return count != 0 && nsids[0] == nsid;
}

static int open_second(struct world *w)
{
    int error =
        chalk_nvme_queue_open(w->nvme, &(struct chalk_nvme_queue_options){.nsid = 2, .depth = 2}, &w->queue);

    if (error == 0)
        chalk_nvme_queue_close(w->queue);
    return error;
}

static void attachment(struct world *w)
{
    static uint16_t controllers[2047];
    const uint16_t self = chalk_nvme_get_info(w->nvme)->controller_id;
    unsigned count;

    expect_result(chalk_nvme_list_controllers(w->nvme, 0, 0, controllers, &count), 0,
                  "the subsystem's controllers");
    expect(count == 1 && controllers[0] == self, "there is this one");
    expect(is_listed(w, true, 2) && !is_listed(w, false, 2),
           "the second namespace is there, but not attached");
    expect_result(open_second(w), -ENOENT, "a queue on it");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, true, &self, 1), 0, "attaching it");
    expect(is_listed(w, false, 2), "it is attached");
    expect_result(open_second(w), 0, "a queue on it");
    expect_result(chalk_nvme_list_controllers(w->nvme, 2, 0, controllers, &count), 0, "its controllers");
    expect(count == 1 && controllers[0] == self, "there is this one");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, true, &self, 1), -EEXIST, "attaching it again");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, false, &self, 1), 0, "detaching it");
    expect(!is_listed(w, false, 2), "it is not attached");
    /* Not again: QEMU 10.0 ends with an assertion then. */
}

/* ---- virtual functions ----------------------------------------------------------------------------- */

static int virtualize(struct world *w, uint16_t controller, enum chalk_nvme_virtual_action action,
                      uint16_t count, uint32_t *result)
{
    const struct chalk_nvme_command command =
        chalk_nvme_encode_virtualize(controller, action, CHALK_NVME_QUEUE_RESOURCES, count);
    struct chalk_nvme_answer answer;
    int error = chalk_nvme_run(w->nvme, &command, NULL, 0, &answer);

    *result = answer.result;
    return error;
}

/* Queues that the primary controller does without are given to a secondary one. */
static void virtual_functions(struct world *w)
{
    const struct chalk_nvme_options options = {.memory = w->memory, .domain = w->domain};
    static struct chalk_nvme_secondary secondaries[127];
    uint32_t result;
    unsigned count;

    expect_result(virtualize(w, 0, CHALK_NVME_PRIMARY_ALLOCATE, 0, &result), 0,
                  "leaving all flexible queues to others");
    chalk_nvme_close(w->nvme);
    w->nvme = NULL;
    if (!expect_result(chalk_nvme_open(w->device, &options, &w->nvme), 0, "opening the controller again"))
        return;
    expect_result(chalk_nvme_list_secondaries(w->nvme, secondaries, &count), 0, "the secondary controllers");
    expect(count == 2 && secondaries[0].controller == 1 && !secondaries[0].online &&
               secondaries[0].queues == 0,
           "there are two, off line and without queues");
    expect_result(virtualize(w, 1, CHALK_NVME_SECONDARY_ASSIGN, 2, &result), 0,
                  "giving the first two queues");
    expect(result == 2, "it has two");
    expect(chalk_nvme_list_secondaries(w->nvme, secondaries, &count) == 0 && secondaries[0].queues == 2,
           "and is listed with them");
    expect_result(virtualize(w, 1, CHALK_NVME_SECONDARY_ASSIGN, 100, &result), -EINVAL,
                  "giving it a hundred");
}

static void on_controller(struct world *w)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 8};

    raw(w);
    lists(w);
    features_and_logs(w);
    absent(w);
    format(w);
    if (expect_result(chalk_nvme_queue_open(w->nvme, &options, &w->queue), 0, "a queue")) {
        several_ranges(w);
        chalk_nvme_queue_close(w->queue);
    }
}

int chalk_main(int argc, char *argv[])
{
    struct world w = {0};

    if (!open_nvme(4u << 20, &w.memory, &w.domain, &w.device))
        return 1;

    const struct chalk_nvme_options options = {.memory = w.memory, .domain = w.domain};

    if (expect_result(chalk_nvme_open(w.device, &options, &w.nvme), 0, "opening the controller")) {
        if (expect_result(chalk_dma_get(w.memory, 8 * CHALK_PAGE, CHALK_PAGE, &w.buffer), 0, "a buffer")) {
            if (argc > 1 && strcmp(argv[1], "attach") == 0)
                attachment(&w);
            else if (argc > 1 && strcmp(argv[1], "virtual") == 0)
                virtual_functions(&w);
            else
                on_controller(&w);
            chalk_dma_put(w.memory, &w.buffer);
        }
        if (w.nvme != NULL)
            chalk_nvme_close(w.nvme);
    }
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}
