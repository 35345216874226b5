/* SPDX-License-Identifier: BSD-2-Clause */
/* A controller that refuses some of what it is asked, or has less than it says, is used for the rest. */
#include "nvme_session.h"
#include <chalk/nvme_admin.h>

static unsigned asked[256]; /* Identify, by CNS */

/* Refuses the request for I/O queues, as long as `refused` is not 0. */
static uint16_t refused;

static bool refuse_queues(struct nvme_model *self, unsigned id, const struct nvme_command *command,
                          uint16_t *status, uint64_t *result)
{
    (void)self;
    (void)result;
    if (id != 0 || (command->cdw0 & 0xff) != NVME_SET_FEATURES || command->cdw10 != NVME_FEATURE_QUEUES ||
        refused == 0)
        return false;
    *status = refused;
    return true;
}

static int open_queue(struct chalk_block_queue **queue)
{
    return chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, queue);
}

static void without_io_queues_there_is_the_admin_queue(void **state)
{
    struct chalk_nvme_namespace ns;
    struct chalk_block_queue *queue;

    (void)state;
    refused = 0x002; /* invalid field */
    model->execute = refuse_queues;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, 0);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
    assert_int_equal(open_queue(&queue), -EIO);
    assert_true(fake_console_has("it has no I/O queues: invalid field in command (status 0x002)"));

    /* A reset asks again, and queues that it grants then can be used. */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(open_queue(&queue), -EIO);
    refused = 0;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, MODEL_QUEUES - 1);
    assert_int_equal(open_queue(&queue), 0);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
}

/* Doorbells so far apart that those of all queues would reach into the table of the vectors. */
static void queues_whose_doorbells_do_not_fit(void **state)
{
    struct chalk_block_queue *queue, *other;

    (void)state;
    model->cap |= 8ull << 32; /* DSTRD: 1 KiB apart */
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, 1);
    assert_true(fake_console_has("grants 7 I/O queues, but its BAR 0 has doorbells, 1024 bytes apart, for no "
                                 "more than 1"));
    assert_int_equal(open_queue(&queue), 0);
    assert_int_equal(open_queue(&other), -ENOSPC);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, 1);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);

    model->device->bars[0].size = 0x3000; /* and now the BAR ends before them */
    model->device->config[0x44] = 2;      /* the table is in another */
    model->device->config[0x48] = 2;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, 3);
    chalk_nvme_close(nvme);
}

/* Counts what is asked for; and refuses structures as a controller of NVMe 1.0 may answer them: wrongly. */
static bool count_identify(struct nvme_model *self, unsigned id, const struct nvme_command *command,
                           uint16_t *status, uint64_t *result)
{
    (void)self;
    (void)status;
    (void)result;
    if (id == 0 && (command->cdw0 & 0xff) == NVME_IDENTIFY)
        asked[command->cdw10 & 0xff]++;
    return false;
}

static void an_old_controller_is_asked_for_what_it_knows(void **state)
{
    struct chalk_nvme_namespace ns;
    struct chalk_nvme_identifiers ids;
    static uint32_t nsids[1024];
    unsigned count;

    (void)state;
    memset(asked, 0, sizeof asked);
    model->execute = count_identify;
    model->version = 0x010001;
    model->lists = 0x11001af4; /* what it would answer, if it took the question for another */
    model->namespaces[2] = model->namespaces[0];
    memcpy(model->namespaces[2].eui64, "reserved", 8);
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
    assert_int_equal(ns.nsid, 1);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 1, &ns), 0);
    assert_int_equal(ns.nsid, 3);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 3, &ns), -ENOENT);
    assert_int_equal(chalk_nvme_list_namespaces(nvme, false, 0, nsids, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(nsids[1], 3);
    assert_int_equal(chalk_nvme_get_identifiers(nvme, 3, &ids), 0);
    assert_int_equal(ids.eui64[0], 0);
    assert_int_equal(ids.csi, CHALK_NVME_CSI_NVM);
    assert_int_equal(asked[CHALK_NVME_CNS_ACTIVE], 0);
    assert_int_equal(asked[CHALK_NVME_CNS_DESCRIPTORS], 0);
    chalk_nvme_close(nvme);
}

static void identifiers_are_in_the_namespace_too(void **state)
{
    struct chalk_nvme_identifiers ids;

    (void)state;
    memset(asked, 0, sizeof asked);
    model->execute = count_identify;
    model->version = 0x010200;
    memcpy(model->namespaces[0].eui64, "eui64...", 8);
    memcpy(model->namespaces[0].nguid, "nguid...........", 16);
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_identifiers(nvme, 1, &ids), 0);
    assert_memory_equal(ids.eui64, "eui64...", 8);
    assert_memory_equal(ids.nguid, "nguid...........", 16);
    assert_int_equal(asked[CHALK_NVME_CNS_DESCRIPTORS], 0);
    chalk_nvme_close(nvme);
}

static void a_list_without_sense_is_done_without(void **state)
{
    static uint32_t nsids[1024];
    struct chalk_nvme_namespace ns;
    unsigned count;

    (void)state;
    memset(asked, 0, sizeof asked);
    model->execute = count_identify;
    model->lists = 0x11001af4;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
    assert_int_equal(ns.nsid, 1);
    assert_int_equal(chalk_nvme_next_namespace(nvme, 1, &ns), -ENOENT);
    assert_int_equal(asked[CHALK_NVME_CNS_ACTIVE], 1); /* and not again */
    assert_true(fake_console_has("invalid list of active namespaces"));
    chalk_nvme_close(nvme);

    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_list_namespaces(nvme, false, 0, nsids, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(nsids[0], 1);
    chalk_nvme_close(nvme);
}

static bool fail_namespace_1(struct nvme_model *self, unsigned id, const struct nvme_command *command,
                             uint16_t *status, uint64_t *result)
{
    (void)self;
    (void)result;
    if (id != 0 || (command->cdw0 & 0xff) != NVME_IDENTIFY || command->cdw10 != CHALK_NVME_CNS_NAMESPACE ||
        command->nsid != 1)
        return false;
    *status = 0x006 | 1 << 14; /* internal error, do not retry */
    return true;
}

static void one_bad_namespace_does_not_hide_the_others(void **state)
{
    struct chalk_nvme_namespace ns;
    struct chalk_block_queue *queue;

    (void)state;
    model->namespaces[2] = model->namespaces[0];
    for (int listed = 1; listed >= 0; listed--) {
        model->no_active_list = !listed;
        model->execute = fail_namespace_1;
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
        assert_int_equal(ns.nsid, 3);
        assert_true(fake_console_has("namespace 1 cannot be identified, and is left out: internal error"));
        assert_int_equal(open_queue(&queue), -EIO); /* who names it is told */
        chalk_nvme_close(nvme);

        model->execute = NULL;
        model->namespaces[0].flbas = 1; /* a format that it does not have */
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
        assert_int_equal(ns.nsid, 3);
        assert_true(fake_console_has("left out: its format is invalid"));
        chalk_nvme_close(nvme);
        model->namespaces[0].flbas = 0;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, session_setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_io_queues_there_is_the_admin_queue),   TEST(queues_whose_doorbells_do_not_fit),
        TEST(an_old_controller_is_asked_for_what_it_knows), TEST(identifiers_are_in_the_namespace_too),
        TEST(a_list_without_sense_is_done_without),         TEST(one_bad_namespace_does_not_hide_the_others),
    };

    return cmocka_run_group_tests_name("nvme_refusals", tests, NULL, NULL);
}
