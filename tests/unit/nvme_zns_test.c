/* SPDX-License-Identifier: BSD-2-Clause */
/* Zones as a controller that lies tells of them; and which of its command sets a controller is told to use.
 */
#include "drivers/nvme/structures.h"
#include "nvme_session.h"
#include <chalk/nvme_zns.h>

#define ZONES 4u
#define ZONE  1024u /* blocks */

static struct {
    struct nvme_zone_report head;
    struct nvme_zone zones[ZONES];
} report; /* what the controller answers, from the zone on that was asked for */
static uint64_t appended;
static uint32_t asked_for; /* bytes of a report */
static uint64_t combinations[NVME_COMBINATIONS];
static uint32_t profile; /* that was set */
static struct nvme_identify_zoned geometry;
static uint8_t csi;

static uint16_t identify(const struct nvme_command *command)
{
    uint8_t answer[4096] = {NVME_DESCRIPTOR_CSI, 1, 0, 0, csi};

    switch (command->cdw10 & 0xff) {
    case CHALK_NVME_CNS_COMMAND_SETS:
        memcpy(answer, combinations, sizeof answer);
        break;
    case CHALK_NVME_CNS_CSI_NAMESPACE:
        memcpy(answer, &geometry, sizeof answer);
        break;
    case CHALK_NVME_CNS_CSI_CONTROLLER:
        answer[0] = 3; /* ZASL: 32 KiB */
        break;
    case CHALK_NVME_CNS_DESCRIPTORS:
        break;
    default:
        return 0xffff;
    }
    model_transfer(model, command, answer, sizeof answer, true);
    return 0;
}

static bool zoned_controller(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                             uint16_t *status, uint64_t *result)
{
    unsigned skipped = (unsigned)(command->slba / ZONE);
    uint8_t answer[sizeof report] = {0};

    *status = 0;
    switch (command->cdw0 & 0xff) {
    case NVME_IDENTIFY:
        *status = identify(command);
        return *status != 0xffff;
    case NVME_SET_FEATURES:
        if (command->cdw10 != NVME_FEATURE_COMMAND_SETS)
            return false;
        profile = command->cdw11;
        return true;
    case NVME_ZONE_RECEIVE:
        if (id == 0)
            return false;
        report.head.count = report.head.count == 0 ? ZONES - skipped : report.head.count;
        memcpy(answer, &report.head, 64);
        memcpy(answer + 64, report.zones + skipped, (ZONES - skipped) * 64);
        asked_for = command->cdw12 * 4 + 4;
        model_transfer(m, command, answer, asked_for < sizeof answer ? asked_for : sizeof answer, true);
        return true;
    case NVME_ZONE_APPEND:
        *result = appended;
        return id != 0;
    default:
        return false;
    }
}

static struct chalk_nvme_zoned zoned;
static struct chalk_block_queue *queue;
static struct chalk_dma buffer;
static struct chalk_nvme_zone zones[ZONES];

static int zns_setup(void **state)
{
    int error = session_setup(state);

    memset(&report, 0, sizeof report);
    memset(combinations, 0, sizeof combinations);
    memset(&geometry, 0, sizeof geometry);
    for (unsigned i = 0; i < ZONES; i++)
        report.zones[i] = (struct nvme_zone){
            .type = 2, .state = 1 << 4, .capacity = 1000, .start = i * ZONE, .write_pointer = i * ZONE};
    combinations[0] = 1;
    combinations[1] = 1 | 4;
    geometry.mar = 5;
    geometry.mor = UINT32_MAX;
    geometry.lbafe[0].zsze = ZONE;
    csi = CHALK_NVME_CSI_ZONED;
    profile = 77;
    model->namespaces[0].nsze = ZONES * ZONE;
    model->cap |= NVME_CAP_CSS_ALL;
    model->execute = zoned_controller;
    queue = NULL;
    return error;
}

static int zns_teardown(void **state)
{
    if (queue != NULL) {
        chalk_nvme_queue_close(queue);
        chalk_dma_put(memory, &buffer);
    }
    if (nvme != NULL)
        chalk_nvme_close(nvme);
    return session_teardown(state);
}

static void open_zones(void)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};

    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_identify_zoned(nvme, 1, &zoned), 0);
    assert_int_equal(chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &buffer), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
}

static int ask(unsigned *count)
{
    const struct chalk_dma part = {buffer.va, buffer.iova, sizeof report};

    *count = ZONES;
    return chalk_nvme_report_zones(queue, &zoned, 0, &part, zones, count, chalk_deadline(CHALK_S));
}

static void a_combination_with_zones_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(profile, 1);
    assert_int_equal(model->cc >> 4 & 7, 6);
}

static void without_one_the_first_with_blocks_is_chosen(void **state)
{
    (void)state;
    combinations[0] = 2;
    combinations[1] = 4;
    combinations[511] = 1;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(profile, 511);
}

static void a_controller_without_blocks_is_refused(void **state)
{
    (void)state;
    combinations[0] = 2;
    combinations[1] = 4;
    assert_int_equal(open_controller(), -ENOTSUP);
    nvme = NULL;
}

static void a_controller_with_one_command_set_is_not_asked(void **state)
{
    (void)state;
    model->cap &= ~NVME_CAP_CSS_ALL;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(profile, 77);
    assert_int_equal(model->cc >> 4 & 7, 0);
    assert_int_equal(chalk_nvme_identify_zoned(nvme, 1, &zoned), -ENOTSUP);
}

static void zones_are_counted(void **state)
{
    (void)state;
    open_zones();
    assert_int_equal(zoned.zone_count, ZONES);
    assert_int_equal(zoned.max_active, 6);
    assert_true(zoned.max_open == UINT32_MAX);
    assert_int_equal(zoned.max_append, 32768);
    csi = CHALK_NVME_CSI_NVM;
    assert_int_equal(chalk_nvme_identify_zoned(nvme, 1, &zoned), -ENOTSUP);
}

static void zones_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_int_equal(open_controller(), 0);
    geometry.lbafe[0].zsze = 0;
    assert_int_equal(chalk_nvme_identify_zoned(nvme, 1, &zoned), -EPROTO);
    geometry.lbafe[0].zsze = ZONES * ZONE + 1;
    assert_int_equal(chalk_nvme_identify_zoned(nvme, 1, &zoned), -EPROTO);
}

static void a_right_report_is_taken(void **state)
{
    unsigned count;

    (void)state;
    open_zones();
    report.zones[2].state = CHALK_NVME_ZONE_IS_FULL << 4;
    report.zones[2].write_pointer = UINT64_MAX; /* which a full zone does not have */
    report.zones[3].state = CHALK_NVME_ZONE_IS_CLOSED << 4;
    report.zones[3].write_pointer = 3 * ZONE + 1000;
    assert_int_equal(ask(&count), 0);
    assert_int_equal(count, ZONES);
    assert_int_equal(zones[2].write_pointer, 2 * ZONE + 1000);
    assert_int_equal(zones[3].write_pointer, 3 * ZONE + 1000);
}

static void an_append_without_metadata_is_not_made_where_there_is_some(void **state)
{
    uint64_t lba;

    (void)state;
    model->namespaces[0].lbaf[0] |= 8;
    open_zones();
    assert_int_equal(chalk_nvme_append(queue, &zoned, 0, 1, &(struct chalk_dma){buffer.va, buffer.iova, 512},
                                       1, &lba, chalk_deadline(CHALK_S)),
                     -ENOTSUP);
    assert_int_equal(model->commands, 0);
}

/* Of the buffer, which may be of any size, no more is used than one command may fill. */
static void a_report_is_no_longer_than_a_transfer(void **state)
{
    struct chalk_dma large;
    unsigned count = ZONES;

    (void)state;
    model->controller.mdts = 1; /* 8 KiB */
    open_zones();
    assert_int_equal(chalk_dma_get(memory, 64 << 10, CHALK_PAGE, &large), 0);
    assert_int_equal(
        chalk_nvme_report_zones(queue, &zoned, 0, &large, zones, &count, chalk_deadline(CHALK_S)), 0);
    assert_int_equal(count, ZONES);
    assert_int_equal(asked_for, 8 << 10);
    chalk_dma_put(memory, &large);
}

static void a_report_that_makes_no_sense_is_refused(void **state)
{
    struct nvme_zone *zone = &report.zones[1];
    const struct nvme_zone good = *zone;
    const struct nvme_zone lies[] = {
        {.type = 1, .state = good.state, .capacity = 1000, .start = ZONE, .write_pointer = ZONE},
        {.type = 2, .state = 0x50, .capacity = 1000, .start = ZONE, .write_pointer = ZONE},
        {.type = 2, .state = 0, .capacity = 1000, .start = ZONE, .write_pointer = ZONE},
        {.type = 2, .state = good.state, .capacity = ZONE + 1, .start = ZONE, .write_pointer = ZONE},
        {.type = 2, .state = good.state, .capacity = 1000, .start = ZONE + 1, .write_pointer = ZONE + 1},
        {.type = 2, .state = good.state, .capacity = 1000, .start = 2 * ZONE, .write_pointer = 2 * ZONE},
        {.type = 2, .state = good.state, .capacity = 1000, .start = ZONE, .write_pointer = ZONE - 1},
        {.type = 2, .state = good.state, .capacity = 1000, .start = ZONE, .write_pointer = ZONE + 1001},
    };
    unsigned count;

    (void)state;
    open_zones();
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        *zone = lies[i];
        assert_int_equal(ask(&count), -EPROTO);
    }
    *zone = good;
    report.head.count = ZONES - 1;
    assert_int_equal(ask(&count), -EPROTO);
    report.head.count = UINT64_MAX;
    assert_int_equal(ask(&count), -EPROTO);
    report.head.count = ZONES;
    assert_int_equal(ask(&count), 0);
}

static void an_append_outside_of_its_zone_is_refused(void **state)
{
    static const struct {
        uint64_t lba;
        int error;
    } cases[] = {
        {ZONE, 0}, {2 * ZONE - 2, 0}, {2 * ZONE - 1, -EPROTO}, {ZONE - 1, -EPROTO}, {UINT64_MAX, -EPROTO}};
    struct chalk_dma part;
    uint64_t lba = 0;

    (void)state;
    open_zones();
    part = (struct chalk_dma){buffer.va, buffer.iova, 1024};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        appended = cases[i].lba;
        assert_int_equal(chalk_nvme_append(queue, &zoned, ZONE, 2, &part, 1, &lba, chalk_deadline(CHALK_S)),
                         cases[i].error);
    }
}

/* Its request outlives the call, and the stack of the call. */
static void a_command_that_is_late_stays_under_way(void **state)
{
    unsigned count;
    uint64_t lba;

    (void)state;
    open_zones();
    model->lose = 1;
    assert_int_equal(ask(&count), -ETIMEDOUT);
    assert_int_equal(ask(&count), -EAGAIN);
    assert_int_equal(chalk_nvme_append(queue, &zoned, 0, 1, &(struct chalk_dma){buffer.va, buffer.iova, 512},
                                       1, &lba, chalk_deadline(CHALK_S)),
                     -EAGAIN);
    assert_int_equal(chalk_nvme_do_zone(queue, 0, CHALK_NVME_ZONE_RESET, false, chalk_deadline(CHALK_S)),
                     -EAGAIN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, zns_setup, zns_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_combination_with_zones_is_chosen),
        TEST(without_one_the_first_with_blocks_is_chosen),
        TEST(a_controller_without_blocks_is_refused),
        TEST(a_controller_with_one_command_set_is_not_asked),
        TEST(zones_are_counted),
        TEST(zones_that_do_not_fit_are_refused),
        TEST(a_right_report_is_taken),
        TEST(an_append_without_metadata_is_not_made_where_there_is_some),
        TEST(a_report_is_no_longer_than_a_transfer),
        TEST(a_report_that_makes_no_sense_is_refused),
        TEST(an_append_outside_of_its_zone_is_refused),
        TEST(a_command_that_is_late_stays_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
