/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A life of an NVMe controller, from probe to close, with I/O, resets, events and removal as the input says;
 * and what the controller answers, that comes from the input, too: see answers.h.
 *
 * The input begins with {setup, setup, depth, steps}, then so many steps of two bytes each, then answers.
 *
 * Whatever they are: every call returns within its deadlines, and says what went wrong if it could not begin;
 * each request is called back once, before its queue is closed; lists ascend, counts are within their arrays;
 * the program touches nothing that is lent; all memory comes back, and the device does no DMA. If no answer
 * was a lie, the driver does nothing that a controller may not be asked for.
 */
#include "answers.h"

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/nvme_admin.h>
#include <chalk/nvme_zns.h>
#include <drivers/nvme/nvme.h>
#include <drivers/nvme/structures.h>
#include <stdlib.h>
#include <string.h>
#include <unit/nvme_model.h>

#define QUEUES   2
#define REQUESTS 6
#define PAGES    8 /* of data for a request, and one of metadata */
#define STEPS    48
#define TIMEOUT  CHALK_S /* of requests, and of admin commands */

/*
 * The longest that a call may take. A reset waits for CSTS thrice as long as CAP.TO says, perhaps by both
 * ways; then there are settings to be made, a command each; and as often as it may be tried.
 */
#define READY_MAX  (128 * CHALK_S)
#define LONGEST    ((NVME_STRIKES + 1) * (6 * READY_MAX + 32 * TIMEOUT) + 2 * NAMESPACES * TIMEOUT)
#define NAMESPACES 1024 /* that are looked for one by one, each perhaps in a list, too */

enum { /* setup, first byte */
       INTERRUPTS = 0x01,
       SGL = 0x02,
       SHADOW = 0x04,
       CMB = 0x08,
       METADATA = 0x10,
       COMMAND_SETS = 0x20,
       END = 6, /* shift: enum answers_end */
};
enum { /* second byte */
       COALESCE = 0x01,
       NO_FUNCTION_RESET = 0x02,
       ZEROES_WHEN_GONE = 0x04,
       NO_LIST = 0x08,
       SGL_DWORDS = 0x10,
       HOLD = 0x20,
};

static struct nvme_model *model;
static struct chalk_nvme *nvme;
static struct chalk_memory *memory;
static struct chalk_domain *domain;
static struct chalk_block_queue *queues[QUEUES];
static struct chalk_nvme_request requests[REQUESTS];
static struct chalk_dma data[REQUESTS], metadata[REQUESTS], pieces[REQUESTS][PAGES];
static struct chalk_dma scratch;                   /* for zones */
static struct chalk_block_queue *owners[REQUESTS]; /* NULL: it is not in flight */
static unsigned char setup, setup_more, depth;

/* ---- requests -------------------------------------------------------------------------------------- */

static void done(struct chalk_block_request *request, int status)
{
    size_t i = (size_t)((struct chalk_nvme_request *)request - requests);

    REQUIRE(owners[i] != NULL && status <= 0);
    owners[i] = NULL;
}

static bool flies(const struct chalk_block_queue *queue)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        if (owners[i] == queue)
            return true;
    return false;
}

/* Data in one piece, or in one a page, of which the first does not begin with its page. */
static uint16_t lay(unsigned i, size_t size, bool scattered)
{
    size_t at = scattered ? 1024 : 0;
    uint16_t count = 0;

    for (size_t end = at + size; at < end; count++) {
        size_t piece = scattered ? CHALK_PAGE - at % CHALK_PAGE : size;

        piece = piece < end - at ? piece : end - at;
        pieces[i][count] = (struct chalk_dma){(char *)data[i].va + at, data[i].iova + at, piece};
        at += piece;
    }
    return count;
}

static void submit(struct chalk_block_queue *queue, uint8_t how)
{
    static const uint8_t counts[] = {1, 8, 24, 56};
    const struct chalk_block_info *info = &queue->info;
    uint32_t count = counts[how >> 3 & 3];
    unsigned i = 0;

    while (i < REQUESTS && owners[i] != NULL)
        i++;
    if (i == REQUESTS)
        return;
    if (info->block_size > (PAGES - 1) * CHALK_PAGE / count)
        count = info->block_size > CHALK_PAGE ? 1 : CHALK_PAGE / info->block_size;
    if (info->metadata_size != 0 && count > CHALK_PAGE / info->metadata_size)
        count = CHALK_PAGE / info->metadata_size;
    requests[i] = (struct chalk_nvme_request){
        .block = {.op = how % 8,
                  .flags = how >> 5 & 3,
                  .lba = how >> 7,
                  .count = how % 8 == CHALK_BLOCK_FLUSH ? 0 : count,
                  .segments = pieces[i],
                  .metadata = &metadata[i],
                  .done = done},
        .command = {.opcode = (how & 8) != 0 ? NVME_FLUSH : MODEL_VENDOR, .nsid = 1},
    };
    metadata[i].size = (size_t)count * info->metadata_size;
    switch (how % 8) {
    case CHALK_BLOCK_READ:
    case CHALK_BLOCK_WRITE:
    case CHALK_BLOCK_COMPARE:
        if ((uint64_t)count * info->block_size > (PAGES - 1) * CHALK_PAGE)
            return;
        requests[i].block.segment_count = lay(i, (size_t)count * info->block_size, (how & 0x20) != 0);
        break;
    case CHALK_BLOCK_DRIVER:
        requests[i].block.segment_count = (how & 8) != 0 ? 0 : lay(i, 64, false);
    }
    owners[i] = queue;
    struct chalk_block_request *request = &requests[i].block;
    int taken = chalk_block_submit(queue, &request, 1);

    REQUIRE(taken == 1 || taken < 0);
    if (taken != 1)
        owners[i] = NULL;
}

/* Until every request is back, or asleep for them. Says whether the queue is still good for something. */
static bool poll(struct chalk_block_queue *queue, unsigned max, bool drain)
{
    int polled;

    chalk_block_kick(queue);
    do {
        struct chalk_core_info core;
        uint32_t seen;

        chalk_core_get_info(0, &core);
        seen = atomic_load(core.events);
        polled = chalk_block_poll(queue, max);
        REQUIRE(polled >= 0 || !flies(queue));
        if (polled == 0 && drain && flies(queue)) {
            if (queue->may_wait)
                chalk_core_wait(0, seen, chalk_deadline(TIMEOUT / NVME_SWEEPS));
            else
                (void)chalk_ticks();
        }
    } while (drain && flies(queue));
    return polled >= 0;
}

/* ---- what is asked of the controller ----------------------------------------------------------------- */

static void open_queue(unsigned i, uint8_t how)
{
    const struct chalk_nvme_queue_options options = {
        .nsid = 1 + (how >> 7),
        .depth = depth,
        .interrupts = (setup & INTERRUPTS) != 0 ? how >> 1 & 3 : CHALK_NVME_POLLED,
        .patience_ns = 1,
        .prompt = (how & 8) != 0,
        .protection = (how >> 4 & 3) % 3,
        .pages_only = (how & 0x40) != 0,
        .timeout_ns = TIMEOUT,
    };

    if (queues[i] != NULL)
        return;
    if (chalk_nvme_queue_open(nvme, &options, &queues[i]) != 0)
        queues[i] = NULL;
    else
        REQUIRE(queues[i]->info.block_size >= 512 && queues[i]->info.depth <= (depth != 0 ? depth : 128));
}

static void close_queue(unsigned i)
{
    if (queues[i] == NULL)
        return;
    chalk_nvme_queue_close(queues[i]);
    REQUIRE(!flies(queues[i]));
    queues[i] = NULL;
}

static void look_at_namespaces(unsigned most)
{
    struct chalk_nvme_namespace ns = {0};

    for (unsigned i = 0; i <= most; i++) {
        uint32_t after = ns.nsid;

        answers_limit(LONGEST);
        if (chalk_nvme_next_namespace(nvme, after, &ns) != 0)
            break;
        REQUIRE(ns.nsid > after && ns.block_size >= 512 && ns.format < ns.format_count &&
                ns.format_count <= 64);
    }
}

static void list(uint8_t how)
{
    static uint32_t nsids[1024];
    static uint16_t controllers[2047];
    static struct chalk_nvme_secondary secondaries[127];
    struct chalk_nvme_identifiers ids;
    unsigned count;

    if (how % 4 == 0 && chalk_nvme_list_namespaces(nvme, how & 8, how >> 4, nsids, &count) == 0) {
        REQUIRE(count <= 1024);
        for (unsigned i = 1; i < count; i++)
            REQUIRE(nsids[i] > nsids[i - 1]);
    } else if (how % 4 == 1 && chalk_nvme_list_controllers(nvme, how >> 3 & 1, 0, controllers, &count) == 0) {
        REQUIRE(count <= 2047);
        for (unsigned i = 1; i < count; i++)
            REQUIRE(controllers[i] > controllers[i - 1]);
    } else if (how % 4 == 2 && chalk_nvme_list_secondaries(nvme, secondaries, &count) == 0) {
        REQUIRE(count <= 127);
    } else if (how % 4 == 3) {
        (void)chalk_nvme_get_identifiers(nvme, 1, &ids);
    }
}

static void read_log(uint8_t how)
{
    static uint8_t bytes[8192];
    static uint32_t nsids[1024];
    static struct chalk_nvme_effects effects;
    struct chalk_nvme_error errors[64];
    struct chalk_nvme_health health;
    struct chalk_nvme_firmware firmware;
    struct chalk_nvme_self_tests tests;
    struct chalk_nvme_sanitize_status sanitize;
    unsigned count = 1 + how / 4;
    uint32_t value;

    switch (how % 9) {
    case 0:
        if (chalk_nvme_read_errors(nvme, errors, &count) == 0)
            REQUIRE(count <= 64);
        break;
    case 1:
        (void)chalk_nvme_read_health(nvme, &health);
        break;
    case 2:
        if (chalk_nvme_read_firmware(nvme, &firmware) == 0)
            for (unsigned i = 0; i < 7; i++)
                REQUIRE(strlen(firmware.revisions[i]) <= 8);
        break;
    case 3:
        if (chalk_nvme_read_changed(nvme, nsids, &count) == 0)
            REQUIRE(count <= 1024 || count == UINT32_MAX);
        break;
    case 4:
        (void)chalk_nvme_read_effects(nvme, CHALK_NVME_CSI_NVM, &effects);
        break;
    case 5:
        if (chalk_nvme_read_self_tests(nvme, &tests) == 0)
            REQUIRE(tests.count <= 20);
        break;
    case 6:
        (void)chalk_nvme_read_sanitize(nvme, &sanitize);
        break;
    case 7:
        (void)chalk_nvme_get_feature(nvme, how, CHALK_NVME_FEATURE_CURRENT, 0, &value);
        break;
    default:
        (void)chalk_nvme_read_log(
            nvme, &(struct chalk_nvme_log_page){.log = how, .nsid = CHALK_NVME_ALL, .size = 8192}, bytes);
    }
}

static void watch(uint8_t how)
{
    static struct chalk_nvme_event event;

    if ((how & 1) != 0) {
        (void)chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL);
    } else if (nvme->events.watched && chalk_nvme_next_event(nvme, &event) == 0) {
        REQUIRE(chalk_nvme_event_name(&event) != NULL);
        REQUIRE(event.count <= (event.log == CHALK_NVME_LOG_ERRORS ? 16 : 1024) || event.count == UINT32_MAX);
    }
}

static void use_zones(struct chalk_block_queue *queue, uint8_t how)
{
    struct chalk_nvme_zoned zoned = {.zone_size = 512, .zone_count = 16, .max_append = 65536};
    struct chalk_nvme_zone zones[16];
    unsigned count = 16;
    uint64_t lba;

    if ((how & 1) != 0 && chalk_nvme_identify_zoned(nvme, 1, &zoned) == 0)
        REQUIRE(zoned.zone_size != 0 && zoned.zone_count != 0);
    /* What ran out of time keeps its memory until the queue is closed. */
    if ((how & 2) != 0) {
        int error =
            chalk_nvme_report_zones(queue, &zoned, 0, &scratch, zones, &count, chalk_deadline(CHALK_S));

        REQUIRE(error != 0 || count <= 16);
        for (unsigned i = 0; error == 0 && i < count; i++)
            REQUIRE(zones[i].capacity <= zoned.zone_size && zones[i].write_pointer >= zones[i].start &&
                    zones[i].write_pointer <= zones[i].start + zones[i].capacity);
        if (error == -ETIMEDOUT)
            close_queue(queue == queues[1]);
    } else if (queue->info.block_size <= CHALK_PAGE && queue->info.metadata_size == 0) {
        struct chalk_dma block = {scratch.va, scratch.iova, queue->info.block_size};
        int error = chalk_nvme_append(queue, &zoned, 0, 1, &block, 1, &lba, chalk_deadline(CHALK_S));

        REQUIRE(error != 0 || lba < zoned.zone_size);
        if (error == -ETIMEDOUT)
            close_queue(queue == queues[1]);
    }
}

/* ---- what the controller does of its own accord ------------------------------------------------------- */

static void unplug(void)
{
    model_unplug(model);
}

static void interrupt(unsigned vector)
{
    fake_interrupt(model->device, vector % FAKE_VECTORS);
}

/* Commands that the model does not know end well, mostly with data of zeroes: what is in it the input says.
 */
static bool execute(struct nvme_model *m, unsigned id, const struct nvme_command *command, uint16_t *status,
                    uint64_t *result)
{
    uint8_t opcode = command->cdw0 & 0xff, cns = command->cdw10 & 0xff;

    *status = 0;
    *result = 0;
    if (id == 0 && opcode == NVME_IDENTIFY && cns == CHALK_NVME_CNS_COMMAND_SETS)
        model_transfer(m, command, (uint64_t[512]){1u << CHALK_NVME_CSI_NVM | 1u << CHALK_NVME_CSI_ZONED},
                       4096, true);
    if (id != 0)
        return opcode == NVME_ZONE_RECEIVE || opcode == NVME_ZONE_SEND || opcode == NVME_ZONE_APPEND;
    return (opcode == NVME_SET_FEATURES && command->cdw10 == NVME_FEATURE_COMMAND_SETS) ||
           opcode == NVME_GET_LOG_PAGE || opcode == NVME_GET_FEATURES ||
           (opcode == NVME_IDENTIFY && cns > CHALK_NVME_CNS_ACTIVE);
}

static int no_reset(struct fake_device *device)
{
    (void)device;
    return -ETIMEDOUT;
}

static void misbehave(uint8_t how)
{
    answers_lies++;
    switch (how % 12) {
    case 0:
        unplug();
        break;
    case 1:
        model->csts |= NVME_CSTS_CFS;
        break;
    case 2:
        model->mute_until_reset = true;
        break;
    case 3:
        model->mute = true;
        break;
    case 4:
        model->never_idle = true;
        break;
    case 5:
        model->never_ready = true;
        break;
    case 6:
        model->lose = how / 12;
        break;
    case 7:
        model->refuse = (uint16_t)(how << 3);
        break;
    case 8:
        model->refuse_admin = (uint16_t)(how << 3);
        model->refuse_opcode = how / 12;
        break;
    case 9:
        model->aborts = true;
        break;
    case 10:
        (void)model_event(model, (uint32_t)(how / 12) << 16 | 2, how);
        break;
    default:
        model->hold_admin = true;
    }
}

/* ---- a life ---------------------------------------------------------------------------------------- */

enum {
    OPEN_QUEUE,
    CLOSE_QUEUE,
    SUBMIT,
    POLL,
    DRAIN,
    CANCEL,
    RESET,
    LOOK, /* at namespaces */
    LIST,
    READ_LOG,
    WATCH,
    ZONES,
    HOLD_BACK, /* I/O */
    RUN,
    MISBEHAVE,
    KICK,
};

static void step(uint8_t what, uint8_t how)
{
    struct chalk_block_queue *queue = queues[what >> 4 & 1];

    answers_limit(LONGEST);
    switch (what % 16) {
    case OPEN_QUEUE:
        open_queue(what >> 4 & 1, how);
        break;
    case CLOSE_QUEUE:
        close_queue(what >> 4 & 1);
        break;
    case RESET:
        (void)chalk_nvme_reset(nvme);
        break;
    case LOOK:
        look_at_namespaces(how % 8);
        break;
    case LIST:
        list(how);
        break;
    case READ_LOG:
        read_log(how);
        break;
    case WATCH:
        watch(how);
        break;
    case MISBEHAVE:
        misbehave(how);
        break;
    case HOLD_BACK:
        model->hold = (how & 1) != 0;
        break;
    case RUN:
        for (unsigned id = 1; id <= QUEUES; id++)
            model_run(model, id, 1 + how % 4);
        break;
    default:
        if (queue == NULL)
            break;
        if (what % 16 == SUBMIT)
            submit(queue, how);
        else if (what % 16 == KICK)
            chalk_block_kick(queue);
        else if (what % 16 == CANCEL && owners[how % REQUESTS] == queue)
            REQUIRE(chalk_block_cancel(queue, &requests[how % REQUESTS].block) <= 0);
        else if (what % 16 == ZONES)
            use_zones(queue, how);
        else if (what % 16 == POLL || what % 16 == DRAIN)
            (void)poll(queue, how % 4, what % 16 == DRAIN);
    }
}

static void prepare(struct chalk_device **device)
{
    const struct chalk_memory_options sizes = {.private_size = 192 << 10, .shared_size = 512 << 10};

    model = model_add();
    model->faults = 1; /* so none is told of: after a lie there may be any */
    memset(model->disk, 0, 128 << 10);
    model->execute = execute;
    model->admin_interrupts = (setup & INTERRUPTS) != 0;
    model->controller.sgls = (setup & SGL) == 0 ? 0 : (setup_more & SGL_DWORDS) != 0 ? 2 : 1;
    model->controller.aerl = 3;
    model->controller.oaes = UINT32_MAX;
    model->cap |= (setup & COMMAND_SETS) != 0 ? NVME_CAP_CSS_ALL : 0;
    if ((setup & SHADOW) != 0)
        model->controller.oacs = NVME_OACS_DOORBELLS;
    if ((setup & METADATA) != 0) {
        model->namespaces[0].lbaf[0] |= 8;
        model->namespaces[0].dps = 1;
    }
    if ((setup & CMB) != 0) {
        model->cap |= NVME_CAP_CMBS;
        model->cmbloc = 2;
        model->cmbsz = 1 | 4 << 12;
    }
    model->no_active_list = (setup_more & NO_LIST) != 0;
    model->gone_in_zeroes = (setup_more & ZEROES_WHEN_GONE) != 0;
    model->hold = (setup_more & HOLD) != 0;
    if ((setup_more & NO_FUNCTION_RESET) != 0)
        model->device->reset = no_reset;
    domain = NULL;
    REQUIRE(chalk_device_open(MODEL_NAME, &domain, device) == 0);
    REQUIRE(chalk_memory_create(&sizes, &memory) == 0 && chalk_memory_share(memory, domain) == 0);
    REQUIRE(chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &scratch) == 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        owners[i] = NULL;
        REQUIRE(chalk_dma_get(memory, PAGES * CHALK_PAGE, CHALK_PAGE, &data[i]) == 0);
        REQUIRE(chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &metadata[i]) == 0);
    }
}

/* Everything is back, and the device does nothing any more. */
static void leave(struct chalk_device *device)
{
    struct chalk_memory_usage usage;

    chalk_dma_put(memory, &scratch);
    for (unsigned i = 0; i < REQUESTS; i++) {
        metadata[i].size = CHALK_PAGE;
        chalk_dma_put(memory, &data[i]);
        chalk_dma_put(memory, &metadata[i]);
    }
    chalk_memory_get_usage(memory, &usage);
    REQUIRE(usage.private_used == 0 && usage.shared_used == 0);
    if (answers_lies == 0) {
        REQUIRE((model->device->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER) == 0);
        REQUIRE(model->faults == 1);
    }
    for (unsigned i = 0; i < FAKE_VECTORS; i++)
        REQUIRE(model->device->vectors[i].counter == NULL);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct answers_device answers = {unplug, interrupt, NULL};
    uint8_t steps[STEPS][2];
    struct chalk_device *device;
    unsigned count;

    fake_reset();
    answers_begin(bytes, size, &answers);
    setup = answers_take();
    setup_more = answers_take();
    depth = 1 + answers_take() % 8;
    count = answers_take() % (STEPS + 1);
    for (unsigned i = 0; i < count; i++) {
        steps[i][0] = answers_take();
        steps[i][1] = answers_take();
    }
    answers_end((setup >> END) % 3);
    prepare(&device);
    const struct chalk_nvme_options options = {
        .memory = memory,
        .domain = domain,
        .interrupts = (setup & INTERRUPTS) != 0,
        .timeout_ns = TIMEOUT,
        .shadow_doorbells = (setup & SHADOW) != 0,
        .controller_memory = (setup & CMB) != 0,
        .coalesce = (setup_more & COALESCE) != 0 ? 8 : 0,
        .coalesce_us = 100,
        .name = MODEL_NAME,
    };

    answers_limit(LONGEST);
    if (chalk_nvme_open(device, &options, &nvme) == 0) {
        for (unsigned i = 0; i < count; i++)
            step(steps[i][0], steps[i][1]);
        answers_limit(QUEUES * LONGEST);
        for (unsigned i = 0; i < QUEUES; i++)
            close_queue(i);
        answers_limit(LONGEST);
        chalk_nvme_close(nvme);
    } else {
        REQUIRE(fake.console_size != 0);
        REQUIRE(answers_lies != 0);
    }
    leave(device);
    return 0;
}
