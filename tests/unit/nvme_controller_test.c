/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing NVMe controllers that behave, and many that do not. */
#include "nvme_session.h"

#define MS ((uint64_t)1000000)

static void opens_identifies_and_shuts_down(void **state)
{
    const struct chalk_nvme_info *info;

    (void)state;
    assert_int_equal(open_controller(), 0);
    info = chalk_nvme_get_info(nvme);
    assert_string_equal(info->serial, "S1");
    assert_string_equal(info->model, "Model of a controller");
    assert_string_equal(info->firmware, "1.0");
    assert_int_equal(info->vendor, 0x1b36);
    assert_int_equal(info->controller_id, 7);
    assert_int_equal(info->version, 0x010400);
    assert_int_equal(info->namespace_count, 3);
    assert_int_equal(info->max_transfer, 128 << 10);
    assert_int_equal(info->page_size, 4096);
    assert_int_equal(info->max_queue_entries, 1024);
    assert_int_equal(info->vectors, FAKE_VECTORS);
    assert_int_equal(info->doorbell_stride, 4);
    assert_true(info->volatile_cache);
    assert_false(model->enabled_without_master);
    assert_false(model->enabled_without_vectors);
    chalk_nvme_close(nvme);
    assert_int_equal(model->shutdowns, 1);
    assert_int_equal(model->csts & NVME_CSTS_RDY, 0);
    assert_string_equal(fake.console, "");
}

static void opens_again_after_closing(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(open_controller(), 0);
        chalk_nvme_close(nvme);
        assert_int_equal(model->enables, i);
    }
}

static void waits_asleep_for_admin_commands(void **state)
{
    (void)state;
    model->admin_interrupts = true;
    assert_int_equal(open_controller(), 0);
    chalk_nvme_close(nvme);
    assert_int_equal(model->device->lost_interrupts, 0);
}

static void polls_a_controller_without_vectors(void **state)
{
    (void)state;
    model->device->config[0x06] = 0;
    model->device->vector_count = 0;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->vectors, 0);
    assert_int_equal(model->intms, UINT32_MAX); /* its pin, that nobody listens to, is quiet */
    chalk_nvme_close(nvme);
}

static void refuses_what_is_not_nvme(void **state)
{
    (void)state;
    model->device->config[9] = 0x00; /* programming interface */
    assert_int_equal(open_controller(), -ENODEV);
    assert_true(fake_console_has("not an NVMe controller"));
    assert_int_equal(model->register_reads, 0);
}

static void reports_a_device_that_is_gone(void **state)
{
    (void)state;
    model_unplug(model);
    assert_int_equal(open_controller(), -ENODEV);
    assert_true(fake_console_has(MODEL_NAME));
}

static uint64_t read_ones(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    (void)window;
    (void)offset;
    (void)width;
    return UINT32_MAX;
}

static void write_nothing(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    (void)window;
    (void)offset;
    (void)width;
    (void)value;
}

static void reports_registers_of_all_ones(void **state)
{
    static const struct chalk_mmio_ops ones = {.read = read_ones, .write = write_nothing};

    (void)state;
    model->device->bars[0].ops = &ones;
    assert_int_equal(open_controller(), -ENODEV);
    assert_true(fake_console_has("all ones"));
}

static void gives_up_on_one_that_is_never_ready(void **state)
{
    uint64_t start = fake.now;

    (void)state;
    fake.step = MS;
    model->never_ready = true;
    assert_int_equal(open_controller(), -ETIMEDOUT);
    assert_true(fake.now - start >= 1500 * MS); /* CAP.TO is 2: 1 s, and half a second for its rounding */
    assert_true(fake_console_has("not ready 1500 ms after it was enabled (status 0x00000000"));
    assert_int_equal(model->device->resets, 1);
}

/* CAP.TO ends at two minutes; what is told in CRTO is believed up to ten. */
static void waits_for_as_long_as_a_large_controller_takes(void **state)
{
    static const struct {
        uint16_t told;
        uint64_t waited_ms;
    } cases[] = {{1, 128000}, {600, 300500}, {UINT16_MAX, 600500}};

    (void)state;
    fake.step = 100 * MS;
    model->cap |= 0xffull << 24 | NVME_CAP_CRWMS;
    model->never_ready = true;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t start = fake.now;

        model->crto = 0x00010000 | cases[i].told;
        assert_int_equal(open_controller(), -ETIMEDOUT);
        assert_in_range(fake.now - start, cases[i].waited_ms * MS, (cases[i].waited_ms + 5000) * MS);
    }
}

static void gives_up_after_half_a_second_where_no_time_is_told(void **state)
{
    uint64_t start = fake.now;

    (void)state;
    model->cap &= ~(0xffull << 24); /* CAP.TO */
    assert_int_equal(open_controller(), 0);
    chalk_nvme_close(nvme);
    fake.step = MS;
    model->never_ready = true;
    assert_int_equal(open_controller(), -ETIMEDOUT);
    assert_in_range(fake.now - start, 500 * MS, 3000 * MS);
    assert_true(
        fake_console_has("not ready 500 ms after it was enabled (status 0x00000000, CAP.TO is 0 ms)"));
}

static void gives_up_on_a_fatal_status(void **state)
{
    (void)state;
    model->fatal = true;
    assert_int_equal(open_controller(), -EIO);
    assert_true(fake_console_has("fatal status 0x00000002"));
    assert_true(fake_console_has("power the machine off and on"));
}

/* As one does whose process was restarted after its admin queue's address was written. */
static void enables_once_more_after_a_fatal_status(void **state)
{
    (void)state;
    model->fatal_once = true;
    assert_int_equal(open_controller(), 0);
    assert_true(fake_console_has("fatal status 0x00000002 after it was enabled"));
    assert_false(fake_console_has("power the machine off"));
    chalk_nvme_close(nvme);
}

static void takes_over_what_firmware_left_running(void **state)
{
    (void)state;
    model->cc = NVME_CC_EN;
    model->csts = NVME_CSTS_RDY;
    assert_int_equal(open_controller(), 0);
    chalk_nvme_close(nvme);
}

static void resets_one_that_cannot_be_disabled(void **state)
{
    (void)state;
    fake.step = MS;
    model->cc = NVME_CC_EN;
    model->csts = NVME_CSTS_RDY;
    model->never_idle = true;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(model->device->resets, 1);
    model->never_idle = false;
    chalk_nvme_close(nvme);
}

static void reports_one_that_cannot_be_disabled_nor_reset(void **state)
{
    (void)state;
    fake.step = MS;
    model->cc = NVME_CC_EN;
    model->csts = NVME_CSTS_RDY;
    model->never_idle = true;
    model->device->reset = NULL;
    assert_int_equal(open_controller(), -ENOTSUP);
    assert_true(fake_console_has("cannot be disabled"));
}

static void stops_one_that_does_not_answer(void **state)
{
    (void)state;
    fake.step = MS;
    model->mute = true;
    assert_int_equal(open_controller(), -ETIMEDOUT);
    assert_true(fake_console_has("no answer to Identify (controller) within 5000 ms"));
    assert_int_equal(model->csts & NVME_CSTS_RDY, 0);
}

static void stops_one_that_does_not_answer_asleep(void **state)
{
    (void)state;
    model->admin_interrupts = true;
    model->mute = true;
    assert_int_equal(open_controller(), -ETIMEDOUT);
    assert_in_range(fake.waits, 1, 8); /* of a second at most */
}

static void notices_an_answer_that_never_arrived(void **state)
{
    (void)state;
    model->drops_identify = true;
    assert_int_equal(open_controller(), -EPROTO);
    assert_true(fake_console_has("never arrived"));
}

static bool forge_cid(struct nvme_model *forger, unsigned id, struct nvme_completion *completion)
{
    (void)forger;
    (void)id;
    completion->outcome ^= 1;
    return true;
}

static bool forge_origin(struct nvme_model *forger, unsigned id, struct nvme_completion *completion)
{
    (void)forger;
    (void)id;
    completion->origin ^= 1 << 16;
    return true;
}

static void stops_one_that_answers_another_command(void **state)
{
    (void)state;
    model->tamper = forge_cid;
    assert_int_equal(open_controller(), -EPROTO);
    assert_int_equal(model->csts & NVME_CSTS_RDY, 0);
    model->tamper = forge_origin;
    assert_int_equal(open_controller(), -EPROTO);
}

static void names_what_was_refused(void **state)
{
    (void)state;
    model->refuse_admin = 0x006;
    model->refuse_opcode = NVME_SET_FEATURES;
    assert_int_equal(open_controller(), 0);
    assert_true(
        fake_console_has("Set Features (number of queues) was refused: internal error (status 0x006)"));
    chalk_nvme_close(nvme);
}

static void closes_one_that_does_not_shut_down(void **state)
{
    (void)state;
    assert_int_equal(open_controller(), 0);
    fake.step = MS;
    model->never_shut_down = true;
    chalk_nvme_close(nvme);
    assert_true(fake_console_has("shutdown not finished after 5000 ms"));
    assert_int_equal(model->csts & NVME_CSTS_RDY, 0);
}

static void closes_one_that_is_gone(void **state)
{
    (void)state;
    assert_int_equal(open_controller(), 0);
    model_unplug(model);
    chalk_nvme_close(nvme);
    assert_true(fake_console_has("NVMe " MODEL_NAME ": gone before it was shut down"));
    assert_false(fake_console_has("not finished"));
}

static void closes_one_that_fails_in_shutdown(void **state)
{
    (void)state;
    assert_int_equal(open_controller(), 0);
    model->never_shut_down = true;
    model->csts |= NVME_CSTS_CFS;
    chalk_nvme_close(nvme);
    assert_true(fake_console_has("failed in shutdown"));
}

static void gives_everything_back_wherever_opening_fails(void **state)
{
    static const char *const calls[] = {"chalk_config_read", "chalk_config_write", "chalk_window_map"};
    unsigned failed = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (unsigned after = 0; after < 20; after++) {
            struct chalk_memory_usage usage;

            fake_fail(calls[i], after, -ENODEV);
            if (open_controller() == 0)
                chalk_nvme_close(nvme);
            else
                failed++;
            chalk_memory_get_usage(memory, &usage);
            assert_int_equal(usage.private_used + usage.shared_used, 0);
        }
    }
    fake_fail("", 0, 0);
    assert_true(failed > 6);
    assert_int_equal(open_controller(), 0); /* what a failure to turn it off left on, too */
    chalk_nvme_close(nvme);
}

static void reports_too_little_memory(void **state)
{
    struct chalk_dma hog;

    (void)state;
    assert_int_equal(chalk_dma_get(memory, SESSION_MEMORY - 2 * CHALK_PAGE, CHALK_PAGE, &hog), 0);
    assert_int_equal(open_controller(), -ENOMEM);
    assert_true(fake_console_has("NVMe " MODEL_NAME
                                 ": no memory for a controller: it needs 16 KiB of shared memory"));
    chalk_dma_put(memory, &hog);

    void *rest = chalk_memory_get(memory, (1 << 20) - CHALK_PAGE);

    assert_non_null(rest);
    assert_int_equal(open_controller(), -ENOMEM);
    assert_true(fake_console_has("KiB of private memory"));
    chalk_memory_put(memory, rest, (1 << 20) - CHALK_PAGE);
}

/* ---- lies ------------------------------------------------------------------------------------------ */

static void lies_in_capabilities(void **state)
{
    static const struct {
        uint64_t cap;
        int error;
    } cases[] = {
        {NVME_CAP_CSS_NVM | 0, -EPROTO}, /* MQES: queues of one entry */
        {NVME_CAP_CSS_NVM | 1, 0},
        {NVME_CAP_CSS_NVM | 0xffff, 0},
        {1023, -ENOTSUP},                                 /* no NVM command set */
        {NVME_CAP_CSS_NVM | 1023 | 15ull << 32, -ERANGE}, /* DSTRD: doorbells beyond BAR 0 */
        {NVME_CAP_CSS_NVM | 1023 | 5ull << 32, 0},
        {NVME_CAP_CSS_NVM | 1023 | 1ull << 48, 0},         /* MPSMIN: 8 KiB */
        {NVME_CAP_CSS_NVM | 1023 | 15ull << 48, -ENOTSUP}, /* 128 MiB */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model->cap = cases[i].cap;
        int error = open_controller();
        if (error != cases[i].error)
            fail_msg("CAP 0x%llx: %d", (unsigned long long)model->cap, error);
        if (error == 0)
            chalk_nvme_close(nvme);
    }
}

/* Else all that shows is a controller that does not answer. */
static void memory_that_was_not_shared_is_told(void **state)
{
    (void)state;
    chalk_memory_unshare(memory, domain);
    assert_int_equal(open_controller(), -EFAULT);
    assert_true(
        fake_console_has("is not shared with its domain for reading and writing; call chalk_memory_share()"));
    assert_int_equal(chalk_arena_share(chalk_memory_arena(memory), domain, CHALK_DEVICE_READS), 0);
    assert_int_equal(open_controller(), -EFAULT);
    chalk_memory_unshare(memory, domain);
    assert_int_equal(model->commands, 0);
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    assert_int_equal(open_controller(), 0);
    chalk_nvme_close(nvme);
}

/* Memory's addresses and iovas agree within the program's pages, which may be smaller than the controller's.
 */
static void pages_that_the_program_has_not_are_said(void **state)
{
    const struct chalk_memory_options sizes = {.shared_size = 1 << 20};

    assert_int_equal(session_teardown(state), 0);
    fake_reset();
    fake.grow_page = CHALK_PAGE;
    fake.next_iova += CHALK_PAGE;
    model = model_add();
    domain = NULL;
    assert_int_equal(chalk_device_open(MODEL_NAME, &domain, &device), 0);
    assert_int_equal(chalk_memory_create(&sizes, &memory), 0);
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    model->cap |= 1ull << 48; /* MPSMIN: 8 KiB */
    assert_int_equal(open_controller(), -ENOTSUP);
    assert_true(fake_console_has("it needs pages of 8 KiB"));
}

/* Nothing but what a newer one has besides depends on it. */
static void lies_in_the_version(void **state)
{
    static const uint32_t versions[] = {0, 0x010000, 0x00ff00, 0x7fffffff, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        model->version = versions[i];
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_get_info(nvme)->version, versions[i]);
        chalk_nvme_close(nvme);
    }
}

static void tells_what_a_format_destroys(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        model->controller.fna = (uint8_t)(i | 4);
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_get_info(nvme)->formats_all, i & 1);
        assert_int_equal(chalk_nvme_get_info(nvme)->erases_all, i >> 1);
        chalk_nvme_close(nvme);
    }
}

static void lies_in_identify_controller(void **state)
{
    struct nvme_identify_controller honest = model->controller;

    (void)state;
    model->controller.mdts = 255;
    model->controller.nn = UINT32_MAX;
    model->controller.rtd3e = UINT32_MAX;
    memset(model->controller.mn, 0xff, sizeof model->controller.mn);
    memcpy(model->controller.sn, "\n\033[2J\0evil", 10);
    model->granted = UINT32_MAX;
    model->device->bars[0].size = 16 << 10;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->max_transfer, 1 << 20);
    assert_int_equal(chalk_nvme_get_info(nvme)->namespace_count, 0xfffffffe);
    assert_string_equal(chalk_nvme_get_info(nvme)->model, "????????????????????????????????????????");
    assert_string_equal(chalk_nvme_get_info(nvme)->serial, "??[2J?evil");
    chalk_nvme_close(nvme);

    model->controller = honest;
    model->controller.mdts = 0; /* no limit */
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->max_transfer, 1 << 20);
    chalk_nvme_close(nvme);

    model->controller = honest;
    model->controller.sqes = 0x55;
    assert_int_equal(open_controller(), -EPROTO);
    model->controller.sqes = 0x66;
    model->controller.cqes = 0x33;
    assert_int_equal(open_controller(), -EPROTO);
    model->controller.cqes = 0x44;
    model->controller.cntrltype = 3;
    assert_int_equal(open_controller(), -ENOTSUP);
}

/* ---- namespaces ------------------------------------------------------------------------------------ */

static void lists_active_namespaces(void **state)
{
    struct chalk_nvme_namespace ns;

    (void)state;
    model->namespaces[2] = (struct nvme_identify_namespace){
        .nsze = 1000, .ncap = 900, .nuse = 800, .nlbaf = 1, .flbas = 1, .lbaf = {9 << 16, 12 << 16 | 8}};
    for (int listed = 1; listed >= 0; listed--) {
        model->no_active_list = !listed;
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), 0);
        assert_int_equal(ns.nsid, 1);
        assert_int_equal(ns.size, MODEL_DISK / 512);
        assert_int_equal(ns.block_size, 512);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 1, &ns), 0);
        assert_int_equal(ns.nsid, 3);
        assert_int_equal(ns.size, 1000);
        assert_int_equal(ns.capacity, 900);
        assert_int_equal(ns.used, 800);
        assert_int_equal(ns.block_size, 4096);
        assert_int_equal(ns.metadata_size, 8);
        assert_int_equal(ns.format, 1);
        assert_int_equal(ns.format_count, 2);
        assert_int_equal(ns.formats[0].block_size, 512);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 3, &ns), -ENOENT);
        assert_int_equal(chalk_nvme_next_namespace(nvme, UINT32_MAX, &ns), -ENOENT);
        chalk_nvme_close(nvme);
    }
}

static void lies_in_the_list_of_namespaces(void **state)
{
    static const uint32_t lies[] = {1, 2, 4, 0xffffffff};
    struct chalk_nvme_namespace ns;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        assert_int_equal(open_controller(), 0);
        model->lists = lies[i];
        assert_int_equal(chalk_nvme_next_namespace(nvme, 2, &ns), -ENOENT); /* as there is no number 3 */
        chalk_nvme_close(nvme);
    }
    assert_true(fake_console_has("lists namespace 1 after 2"));
}

static void tries_few_of_too_many_namespaces(void **state)
{
    struct chalk_nvme_namespace ns;
    unsigned before;

    (void)state;
    model->no_active_list = true;
    model->controller.nn = UINT32_MAX;
    assert_int_equal(open_controller(), 0);
    before = model->doorbells;
    assert_int_equal(chalk_nvme_next_namespace(nvme, 1, &ns), -ENOENT);
    assert_in_range(model->doorbells - before, 2000, 2100);
    chalk_nvme_close(nvme);
}

static void lies_in_identify_namespace(void **state)
{
    static const struct {
        uint8_t nlbaf, flbas;
        uint32_t lbaf0;
        int error;
    } cases[] = {
        {0, 0, 9 << 16, 0},           {0, 0, 12 << 16, 0},        {0, 0, 8 << 16, -EPROTO},
        {0, 0, 63 << 16, -EPROTO},    {0, 0, 255 << 16, -EPROTO}, {0, 1, 9 << 16, -EPROTO},
        {64, 0, 9 << 16, -EPROTO},    {255, 0, 9 << 16, -EPROTO}, {0, 0x60, 9 << 16, 0},
        {63, 0x6f, 9 << 16, -EPROTO}, /* format 63, which is all zeros */
        {0, 0, 0, -EPROTO},           /* blocks of one byte, and there are some */
    };
    struct chalk_nvme_namespace ns;

    (void)state;
    assert_int_equal(open_controller(), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chalk_block_queue *queue;
        const struct chalk_nvme_queue_options options = {.nsid = 1};

        model->namespaces[0] = (struct nvme_identify_namespace){.nsze = 1000,
                                                                .nlbaf = cases[i].nlbaf,
                                                                .flbas = cases[i].flbas,
                                                                .lbaf = {cases[i].lbaf0, 9 << 16}};
        if (cases[i].lbaf0 != 0) /* else it is not listed */
            assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), cases[i].error == 0 ? 0 : -ENOENT);
        assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), cases[i].error);
        if (cases[i].error == 0)
            chalk_nvme_queue_close(queue);
    }
    chalk_nvme_close(nvme);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, session_setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(opens_identifies_and_shuts_down),
        TEST(opens_again_after_closing),
        TEST(waits_asleep_for_admin_commands),
        TEST(polls_a_controller_without_vectors),
        TEST(refuses_what_is_not_nvme),
        TEST(reports_a_device_that_is_gone),
        TEST(reports_registers_of_all_ones),
        TEST(gives_up_on_one_that_is_never_ready),
        TEST(waits_for_as_long_as_a_large_controller_takes),
        TEST(gives_up_after_half_a_second_where_no_time_is_told),
        TEST(gives_up_on_a_fatal_status),
        TEST(enables_once_more_after_a_fatal_status),
        TEST(takes_over_what_firmware_left_running),
        TEST(resets_one_that_cannot_be_disabled),
        TEST(reports_one_that_cannot_be_disabled_nor_reset),
        TEST(stops_one_that_does_not_answer),
        TEST(stops_one_that_does_not_answer_asleep),
        TEST(notices_an_answer_that_never_arrived),
        TEST(stops_one_that_answers_another_command),
        TEST(names_what_was_refused),
        TEST(closes_one_that_does_not_shut_down),
        TEST(closes_one_that_is_gone),
        TEST(closes_one_that_fails_in_shutdown),
        TEST(gives_everything_back_wherever_opening_fails),
        TEST(reports_too_little_memory),
        TEST(lies_in_capabilities),
        TEST(lies_in_the_version),
        TEST(memory_that_was_not_shared_is_told),
        TEST(pages_that_the_program_has_not_are_said),
        TEST(tells_what_a_format_destroys),
        TEST(lies_in_identify_controller),
        TEST(lists_active_namespaces),
        TEST(lies_in_the_list_of_namespaces),
        TEST(tries_few_of_too_many_namespaces),
        TEST(lies_in_identify_namespace),
    };

    return cmocka_run_group_tests_name("nvme_controller", tests, NULL, NULL);
}
