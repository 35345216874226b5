/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that a controller tells of itself is what the input says: identify structures, lists, log pages,
 * features, reports of zones, results. Nothing is overrun, what is handed on keeps its promises, and all
 * memory comes back.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/nvme_admin.h>
#include <chalk/nvme_zns.h>
#include <drivers/nvme/structures.h>
#include <stdlib.h>
#include <string.h>
#include <unit/nvme_model.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t input_size, used;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t next(void)
{
    return input_size != 0 ? input[used++ % input_size] : 0;
}

/* A right report of zones of 512 blocks, 16 in all, from the one of `lba` on. */
static void report(uint8_t *answer, size_t size, uint64_t lba)
{
    uint64_t count = lba / 512 < 16 ? 16 - lba / 512 : 0;

    memcpy(answer, &count, sizeof count);
    for (size_t i = 0; i < count && 64 * (i + 2) <= size; i++) {
        struct nvme_zone zone = {.type = NVME_ZONE_SEQUENTIAL, .state = 2 << 4, .capacity = 500};

        zone.start = (lba / 512 + i) * 512;
        zone.write_pointer = zone.start + i;
        memcpy(answer + 64 * (i + 1), &zone, sizeof zone);
    }
}

/* Answers from the input: at times a whole page of it, else a few bytes somewhere in zeros. */
static bool lie(struct nvme_model *model, unsigned id, const struct nvme_command *command, uint16_t *status,
                uint64_t *result)
{
    static uint8_t answer[64 << 10];
    uint8_t opcode = command->cdw0 & 0xff, how = next();
    size_t size = 4096;

    if (opcode == NVME_CREATE_CQ || opcode == NVME_CREATE_SQ || opcode == NVME_DELETE_CQ ||
        opcode == NVME_DELETE_SQ)
        return false;
    if (opcode == NVME_SET_FEATURES && command->cdw10 == NVME_FEATURE_QUEUES)
        return false;
    if (id == 0 && opcode == NVME_IDENTIFY && (how & 0xc0) != 0)
        return false; /* mostly the truth: or nothing would ever be opened */
    *status = (how & 0x30) == 0x30 ? (uint16_t)(next() << 4 | next() >> 4) & 0x7ff : 0;
    *result = (uint64_t)next() << 56 | next();
    if (*status != 0 || (opcode & 2) == 0 || command->prp1 == 0)
        return true;
    memset(answer, 0, sizeof answer);
    if (opcode == NVME_GET_LOG_PAGE) /* a log page says its size; so does a report of zones */
        size = ((size_t)(command->cdw11 & 0xffff) << 16 | command->cdw10 >> 16) * 4 + 4;
    else if (opcode == NVME_ZONE_RECEIVE)
        size = (size_t)command->cdw12 * 4 + 4;
    if (size > sizeof answer)
        size = sizeof answer;
    if (opcode == NVME_GET_FEATURES)
        return true; /* nowhere is data of features asked for */
    if (opcode == NVME_ZONE_RECEIVE)
        report(answer, size, command->slba);
    if ((how & 1) != 0)
        for (size_t i = 0; i < size; i++)
            answer[i] = next();
    else
        for (unsigned i = 0; i < (how >> 2 & 3u) * 5; i++) {
            size_t at = (size_t)(next() << 8 | next()) % size;

            answer[(how & 2) != 0 ? at % 256 : at] = next();
        }
    model_transfer(model, command, answer, size, true);
    return true;
}

static void ask_for_lists(struct chalk_nvme *nvme)
{
    static uint32_t nsids[1024];
    static uint16_t controllers[2047];
    static struct chalk_nvme_secondary secondaries[127];
    struct chalk_nvme_identifiers ids;
    struct chalk_nvme_namespace ns = {0};
    unsigned count;

    if (chalk_nvme_list_namespaces(nvme, next() & 1, next() & 1, nsids, &count) == 0) {
        require(count <= 1024);
        for (unsigned i = 1; i < count; i++)
            require(nsids[i] > nsids[i - 1]);
    }
    if (chalk_nvme_list_controllers(nvme, next() & 1, 0, controllers, &count) == 0) {
        require(count <= 2047);
        for (unsigned i = 1; i < count; i++)
            require(controllers[i] > controllers[i - 1]);
    }
    if (chalk_nvme_list_secondaries(nvme, secondaries, &count) == 0)
        require(count <= 127);
    (void)chalk_nvme_get_identifiers(nvme, 1, &ids);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t after = ns.nsid;

        if (chalk_nvme_next_namespace(nvme, after, &ns) != 0)
            break;
        require(ns.nsid > after && ns.block_size >= 512 && ns.format < ns.format_count &&
                ns.format_count <= 64);
    }
}

static void ask_for_logs(struct chalk_nvme *nvme)
{
    static uint32_t nsids[1024];
    static struct chalk_nvme_effects effects;
    struct chalk_nvme_error errors[64];
    struct chalk_nvme_health health;
    struct chalk_nvme_firmware firmware;
    struct chalk_nvme_self_tests tests;
    struct chalk_nvme_sanitize_status sanitize;
    unsigned count = next() % 65;
    uint32_t value;

    if (chalk_nvme_read_errors(nvme, errors, &count) == 0)
        require(count <= 64);
    (void)chalk_nvme_read_health(nvme, &health);
    if (chalk_nvme_read_firmware(nvme, &firmware) == 0)
        for (unsigned i = 0; i < 7; i++)
            require(strlen(firmware.revisions[i]) <= 8);
    if (chalk_nvme_read_changed(nvme, nsids, &count) == 0)
        require(count <= 1024 || count == UINT32_MAX);
    (void)chalk_nvme_read_effects(nvme, CHALK_NVME_CSI_NVM, &effects);
    if (chalk_nvme_read_self_tests(nvme, &tests) == 0)
        require(tests.count <= 20);
    (void)chalk_nvme_read_sanitize(nvme, &sanitize);
    (void)chalk_nvme_get_feature(nvme, next(), CHALK_NVME_FEATURE_CURRENT, 0, &value);
}

/* Each request for one is answered at once, so that there is no end of them. */
static void ask_for_events(struct chalk_nvme *nvme)
{
    static struct chalk_nvme_event event;

    if (chalk_nvme_watch(nvme, (uint32_t)next() << 8 | next()) != 0)
        return;
    for (unsigned i = 0; i < 8; i++)
        if (chalk_nvme_next_event(nvme, &event) == 0) {
            require(chalk_nvme_event_name(&event) != NULL);
            require(event.count <= (event.log == CHALK_NVME_LOG_ERRORS ? 16 : 1024) ||
                    event.count == UINT32_MAX);
        }
}

static void ask_for_zones(struct chalk_nvme *nvme, const struct chalk_dma *buffer)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};
    struct chalk_nvme_zoned zoned = {.zone_size = 512, .zone_count = 16, .max_append = 65536};
    struct chalk_nvme_zone zones[16];
    struct chalk_block_queue *queue;
    unsigned count = 16;
    uint64_t lba, from = next() * 64ull;

    if ((next() & 1) != 0 && chalk_nvme_identify_zoned(nvme, 1, &zoned) == 0)
        require(zoned.zone_size != 0 && zoned.zone_count != 0);
    if (chalk_nvme_queue_open(nvme, &options, &queue) != 0)
        return;
    if (chalk_nvme_report_zones(queue, &zoned, from, buffer, zones, &count, chalk_deadline(CHALK_S)) == 0) {
        require(count <= 16);
        for (unsigned i = 0; i < count; i++)
            require(zones[i].capacity <= zoned.zone_size && zones[i].write_pointer >= zones[i].start &&
                    zones[i].write_pointer <= zones[i].start + zones[i].capacity &&
                    zones[i].start == from / zoned.zone_size * zoned.zone_size + i * zoned.zone_size);
    }
    if (chalk_nvme_append(queue, &zoned, 512, 1, &(struct chalk_dma){buffer->va, buffer->iova, 512}, 1, &lba,
                          chalk_deadline(CHALK_S)) == 0)
        require(lba >= 512 && lba < 512 + zoned.zone_size);
    chalk_nvme_queue_close(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct chalk_memory_options sizes = {.private_size = 64 << 10, .shared_size = 256 << 10};
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_memory *memory;
    struct chalk_memory_usage usage;
    struct nvme_model *model;
    struct chalk_nvme *nvme;
    struct chalk_dma buffer;

    fake_reset();
    fake.grow_page = CHALK_PAGE;
    fake.step = 100000000; /* so that waiting for a deadline takes few steps */
    model = model_add();
    input = data;
    input_size = size;
    used = 0;
    model->cap |= (next() & 1) != 0 ? NVME_CAP_CSS_ALL : 0;
    model->execute = lie;
    require(chalk_device_open(MODEL_NAME, &domain, &device) == 0);
    require(chalk_memory_create(&sizes, &memory) == 0 && chalk_memory_share(memory, domain) == 0);
    require(chalk_dma_get(memory, 1024 + 64, CHALK_PAGE, &buffer) == 0);
    const struct chalk_nvme_options options = {.memory = memory, .domain = domain};
    if (chalk_nvme_open(device, &options, &nvme) == 0) {
        ask_for_lists(nvme);
        ask_for_logs(nvme);
        ask_for_events(nvme);
        ask_for_zones(nvme, &buffer);
        chalk_nvme_close(nvme);
    }
    chalk_dma_put(memory, &buffer);
    chalk_memory_get_usage(memory, &usage);
    require(usage.private_used == 0 && usage.shared_used == 0);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
    return 0;
}
