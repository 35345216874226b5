/* SPDX-License-Identifier: BSD-2-Clause */
/* Attaching in one call: what is open afterwards, and that nothing is if any step fails. */
#include "nvme_model.h"
#include <chalk/error.h>
#include <chalk/nvme.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct nvme_model *model;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    model = model_add();
    return 0;
}

static bool all_zero(const void *object, size_t size)
{
    const char *bytes = object;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static bool nothing_is_open(void)
{
    return !model->device->open && fake.mappings == 0 && (model->device->config[4] & 4) == 0;
}

static void a_device_reaches_its_memory(void **state)
{
    struct chalk_attachment at;
    struct chalk_dma page;

    (void)state;
    assert_int_equal(chalk_attach(MODEL_NAME, NULL, &at), 0);
    assert_int_equal(chalk_dma_get(at.memory, 4096, 4096, &page), 0);
    assert_ptr_equal(fake_dma(at.domain, page.iova, 4096, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES), page.va);
    chalk_detach(&at);
    assert_true(all_zero(&at, sizeof at) && nothing_is_open());
    chalk_detach(&at);
}

static void each_step_that_fails_undoes_the_others(void **state)
{
    static const char *const steps[] = {"chalk_device_open", "chalk_span_grow", "chalk_dma_map"};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct chalk_attachment at;

        setup(NULL);
        memset(&at, 0xa5, sizeof at);
        fake_fail(steps[i], 0, -ENOMEM);
        assert_int_equal(chalk_attach(MODEL_NAME, NULL, &at), -ENOMEM);
        assert_true(all_zero(&at, sizeof at) && nothing_is_open());
        assert_int_equal(chalk_attach(MODEL_NAME, NULL, &at), 0);
        chalk_detach(&at);
    }
}

static void a_disk_reads(void **state)
{
    static const char *const names[] = {MODEL_NAME, NULL};
    struct chalk_nvme_disk disk;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct chalk_block_request request = {.op = CHALK_BLOCK_FLUSH};

        assert_int_equal(chalk_nvme_attach(names[i], NULL, &disk), 0);
        assert_int_equal(chalk_block_do(disk.queue, &request, UINT64_MAX), 0);
        chalk_nvme_detach(&disk);
        assert_true(all_zero(&disk, sizeof disk) && nothing_is_open());
    }
    chalk_nvme_detach(&disk);
}

static void a_disk_that_fails_leaves_nothing_open(void **state)
{
    const struct chalk_nvme_queue_options missing = {.nsid = 77};
    struct chalk_nvme_disk disk;

    (void)state;
    assert_int_equal(chalk_nvme_attach(MODEL_NAME, &missing, &disk), -ENOENT);
    assert_true(all_zero(&disk, sizeof disk) && nothing_is_open());
    model->never_ready = true;
    assert_int_equal(chalk_nvme_attach(MODEL_NAME, NULL, &disk), -ETIMEDOUT);
    assert_true(all_zero(&disk, sizeof disk) && nothing_is_open());
    assert_int_equal(chalk_nvme_attach("0000:77:00.0", NULL, &disk), -ENODEV);
    fake_reset();
    assert_int_equal(chalk_nvme_attach(NULL, NULL, &disk), -ENOENT);
    assert_true(fake_console_has("no NVMe controller on the bus"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_device_reaches_its_memory, setup),
        cmocka_unit_test_setup(each_step_that_fails_undoes_the_others, setup),
        cmocka_unit_test_setup(a_disk_reads, setup),
        cmocka_unit_test_setup(a_disk_that_fails_leaves_nothing_open, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
