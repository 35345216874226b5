/* SPDX-License-Identifier: BSD-2-Clause */
/* Admin commands with data, log pages, lists: what the controller gets to see, and what is made of its
 * answers. */
#include "nvme_session.h"
#include <chalk/nvme_admin.h>

static struct nvme_command seen; /* the last one that the test's controller executed */
static uint8_t page[1 << 20];    /* what it answers, or was sent */
static size_t page_size;         /* of either */
static uint16_t refusal;
static unsigned executed;

/* Every admin command that the driver's own opening does not need: data goes to or from `page`. */
static bool any_command(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                        uint16_t *status, uint64_t *result)
{
    uint32_t size = (uint32_t)page_size;

    (void)id;
    seen = *command;
    executed++;
    *status = refusal;
    *result = 0x12345678;
    if ((command->cdw0 & 0xff) == 0x02) /* get log page: a piece of it */
        size = ((command->cdw11 & 0xffff) << 16 | command->cdw10 >> 16) * 4 + 4;
    if (refusal == 0 && size != 0 && (command->cdw0 & 3) == 1)
        model_transfer(m, command, page, size, false);
    if (refusal == 0 && size != 0 && (command->cdw0 & 3) == 2)
        model_transfer(m, command, page + command->cdw12, size, true);
    return true;
}

/* Has `size` bytes of data for the next command. */
static void expect_data(size_t size)
{
    page_size = size;
    model->execute = any_command;
}

static int commands_setup(void **state)
{
    int error = session_setup(state);

    memset(page, 0, sizeof page);
    memset(&seen, 0, sizeof seen);
    page_size = 0;
    executed = 0;
    refusal = 0;
    return error != 0 ? error : open_controller();
}

static int commands_teardown(void **state)
{
    if (nvme != NULL)
        chalk_nvme_close(nvme);
    return session_teardown(state);
}

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4096);
}

static void a_command_reaches_the_controller_word_by_word(void **state)
{
    const struct chalk_nvme_command command = {.opcode = 0xc0,
                                               .nsid = 7,
                                               .cdw2 = 2,
                                               .cdw3 = 3,
                                               .cdw10 = 10,
                                               .cdw11 = 11,
                                               .cdw12 = 12,
                                               .cdw13 = 13,
                                               .cdw14 = 14,
                                               .cdw15 = 15};
    struct chalk_nvme_answer answer;

    (void)state;
    expect_data(0);
    assert_int_equal(chalk_nvme_run(nvme, &command, NULL, 0, &answer), 0);
    assert_int_equal(answer.result, 0x12345678);
    assert_int_equal(answer.status, 0);
    assert_int_equal(seen.cdw0 & 0xffff, 0xc0);
    assert_int_equal(seen.nsid, 7);
    assert_int_equal(seen.cdw2, 2);
    assert_int_equal(seen.cdw3, 3);
    assert_int_equal(seen.mptr | seen.prp1 | seen.prp2, 0);
    assert_int_equal(seen.cdw10, 10);
    assert_int_equal(seen.cdw11, 11);
    assert_int_equal(seen.cdw12, 12);
    assert_int_equal(seen.cdw13, 13);
    assert_int_equal(seen.cdw14, 14);
    assert_int_equal(seen.cdw15, 15);
}

static void data_of_any_size_goes_both_ways(void **state)
{
    static const size_t sizes[] = {4, 512, 4092, 4096, 4100, 8192, 8196, 65536, 131072};
    static uint8_t data[131072];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct chalk_nvme_command send = {.opcode = 0xc1}, receive = {.opcode = 0xc2};

        memset(page, 0, sizeof page);
        fill(data, sizes[i]);
        expect_data(sizes[i]);
        assert_int_equal(chalk_nvme_run(nvme, &send, data, sizes[i], NULL), 0);
        assert_memory_equal(page, data, sizes[i]);
        assert_int_equal(page[sizes[i]], 0);
        memset(data, 0xee, sizeof data);
        assert_int_equal(chalk_nvme_run(nvme, &receive, data, sizes[i], NULL), 0);
        assert_memory_equal(data, page, sizes[i]);
        if (sizes[i] < sizeof data)
            assert_int_equal(data[sizes[i]], 0xee);
    }
}

static void segments_are_not_copied(void **state)
{
    const struct chalk_nvme_command receive = {.opcode = 0xc2};
    struct chalk_dma memory_of_ours, segments[2];

    (void)state;
    assert_int_equal(chalk_dma_get(memory, 3 * CHALK_PAGE, CHALK_PAGE, &memory_of_ours), 0);
    segments[0] = (struct chalk_dma){(char *)memory_of_ours.va + 2 * CHALK_PAGE,
                                     memory_of_ours.iova + 2 * CHALK_PAGE, CHALK_PAGE};
    segments[1] = (struct chalk_dma){memory_of_ours.va, memory_of_ours.iova, 2 * CHALK_PAGE};
    fill(page, 3 * CHALK_PAGE);
    expect_data(3 * CHALK_PAGE);
    assert_int_equal(chalk_nvme_run_segments(nvme, &receive, segments, 2, NULL), 0);
    assert_memory_equal(segments[0].va, page, CHALK_PAGE);
    assert_memory_equal(segments[1].va, page + CHALK_PAGE, 2 * CHALK_PAGE);
    chalk_dma_put(memory, &memory_of_ours);
}

static void wrong_sizes_do_not_reach_the_controller(void **state)
{
    const struct chalk_nvme_command receive = {.opcode = 0xc2}, none = {.opcode = 0xc0};

    (void)state;
    expect_data(0);
    assert_int_equal(chalk_nvme_run(nvme, &receive, page, 5, NULL), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_run(): the data is not a multiple of 4 bytes"));
    assert_int_equal(chalk_nvme_run(nvme, &receive, page, 131072 + 4, NULL), -EINVAL);
    assert_int_equal(chalk_nvme_run(nvme, &none, page, 4, NULL), -EINVAL);
    assert_int_equal(executed, 0);
}

static void a_refusal_is_told_with_its_status(void **state)
{
    const struct chalk_nvme_command receive = {.opcode = 0xc2};
    struct chalk_nvme_answer answer;
    uint8_t data[64];

    (void)state;
    memset(data, 0xee, sizeof data);
    expect_data(sizeof data);
    refusal = 0x10f;
    assert_int_equal(chalk_nvme_run(nvme, &receive, data, sizeof data, &answer), -EINVAL);
    assert_int_equal(answer.status, 0x10f);
    assert_int_equal(data[0], 0xee);
    refusal = 0;
    assert_int_equal(chalk_nvme_run(nvme, &receive, data, sizeof data, &answer), 0);
    assert_int_equal(answer.status, 0);
}

static void a_command_without_an_answer_gives_its_memory_back(void **state)
{
    const struct chalk_nvme_command receive = {.opcode = 0xc2, .timeout_ns = CHALK_MS};

    (void)state;
    model->mute = true;
    assert_int_equal(chalk_nvme_run(nvme, &receive, page, 65536, NULL), -ETIMEDOUT);
    assert_int_equal(chalk_nvme_run(nvme, &receive, page, 65536, NULL), -ETIMEDOUT);
}

static void a_feature_is_read_and_set(void **state)
{
    uint32_t value;

    (void)state;
    expect_data(0);
    assert_int_equal(
        chalk_nvme_get_feature(nvme, CHALK_NVME_FEATURE_WRITE_CACHE, CHALK_NVME_FEATURE_SAVED, 0, &value), 0);
    assert_int_equal(value, 0x12345678);
    assert_int_equal(seen.cdw10, 0x206);
    assert_int_equal(
        chalk_nvme_set_feature(nvme, CHALK_NVME_FEATURE_COALESCING, true, 0, CHALK_NVME_COALESCING(8, 10)),
        0);
    assert_int_equal(seen.cdw10, 0x80000008);
    assert_int_equal(seen.cdw11, 0x0a07);
}

static void a_long_log_comes_in_pieces(void **state)
{
    static uint8_t data[10000];
    const struct chalk_nvme_log_page log = {.log = 0xc5, .nsid = CHALK_NVME_ALL, .offset = 8, .size = 10000};

    (void)state;
    fill(page, sizeof page);
    expect_data(0);
    assert_int_equal(chalk_nvme_read_log(nvme, &log, data), 0);
    assert_memory_equal(data, page + 8, sizeof data);
    assert_int_equal(executed, 3);
    assert_int_equal(seen.cdw10 >> 15 & 1, 0); /* the last piece takes the event away, if that was asked */
}

/* What it gives beyond the end of a log, or from an offset that it does not know, would be no part of it. */
static void no_more_of_a_log_is_read_than_there_is(void **state)
{
    static uint8_t data[2 * CHALK_PAGE];
    const struct chalk_nvme_log_page most = {.log = 0xc5, .size = CHALK_PAGE};
    const struct chalk_nvme_log_page more = {.log = 0xc5, .size = CHALK_PAGE + 4};
    const struct chalk_nvme_log_page later = {.log = 0xc5, .offset = 4, .size = 4};
    struct chalk_nvme_error errors[64];
    unsigned count = 64;

    (void)state;
    chalk_nvme_close(nvme);
    model->controller.elpe = 2;
    model->controller.lpa = 0;
    assert_int_equal(open_controller(), 0);
    memset(page, 0xee, sizeof page);
    expect_data(0);
    assert_int_equal(chalk_nvme_read_errors(nvme, errors, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(seen.cdw10 >> 16, 3 * 64 / 4 - 1);
    assert_int_equal(chalk_nvme_read_log(nvme, &most, data), 0);
    assert_int_equal(chalk_nvme_read_log(nvme, &more, data), -ENOTSUP);
    assert_int_equal(chalk_nvme_read_log(nvme, &later, data), -ENOTSUP);
}

static void logs_are_parsed(void **state)
{
    struct chalk_nvme_health health;
    struct chalk_nvme_firmware firmware;
    struct chalk_nvme_error errors[4];
    struct chalk_nvme_self_tests tests;
    struct chalk_nvme_sanitize_status sanitize;
    unsigned count = 4;

    (void)state;
    expect_data(0);
    page[0] = 0x02;
    page[1] = 0x2c; /* temperature: 300 */
    page[2] = 0x01;
    page[48] = 9;     /* units written */
    page[32 + 8] = 1; /* units read: 2^64 */
    assert_int_equal(chalk_nvme_read_health(nvme, &health), 0);
    assert_int_equal(health.critical_warning, CHALK_NVME_WARNS_TEMPERATURE);
    assert_int_equal(health.temperature, 300);
    assert_int_equal(health.units_written, 9);
    assert_true(health.units_read == UINT64_MAX);
    assert_int_equal(seen.nsid, CHALK_NVME_ALL);

    memset(page, 0, 4096);
    page[0] = 0x21;
    memcpy(page + 8, "1.0\x01    ", 8);
    assert_int_equal(chalk_nvme_read_firmware(nvme, &firmware), 0);
    assert_int_equal(firmware.active, 1);
    assert_int_equal(firmware.next, 2);
    assert_string_equal(firmware.revisions[0], "1.0?");
    assert_string_equal(firmware.revisions[1], "");

    memset(page, 0, 4096);
    page[0] = 5;
    page[12] = 0x04; /* status field, its phase bit at 0 */
    page[64] = 4;
    assert_int_equal(chalk_nvme_read_errors(nvme, errors, &count), 0);
    assert_int_equal(count, 2);
    assert_true(errors[0].number == 5 && errors[0].status == 2 && errors[1].number == 4);

    memset(page, 0, 4096);
    page[0] = 0xf2; /* the reserved bits are not the operation's */
    page[1] = 0x80 | 40;
    page[4] = 0x21;
    page[4 + 2] = 0x2;
    page[4 + 16] = 99;
    page[4 + 28] = 0x0f; /* no second one */
    assert_int_equal(chalk_nvme_read_self_tests(nvme, &tests), 0);
    assert_int_equal(tests.running, CHALK_NVME_SELF_TEST_EXTENDED);
    assert_int_equal(tests.progress, 40);
    assert_int_equal(tests.count, 1);
    assert_int_equal(tests.results[0].test, 2);
    assert_int_equal(tests.results[0].result, 1);
    assert_int_equal(tests.results[0].lba, 99);

    memset(page, 0, 4096);
    page[1] = 0x80; /* half of it */
    page[2] = 0x2 | 3 << 3;
    assert_int_equal(chalk_nvme_read_sanitize(nvme, &sanitize), 0);
    assert_int_equal(sanitize.progress, 0x8000);
    assert_int_equal(sanitize.state, 2);
    assert_int_equal(sanitize.passes, 3);
}

static void a_list_that_does_not_ascend_is_refused(void **state)
{
    static uint32_t nsids[1024];
    static uint16_t controllers[2047];
    unsigned count;

    (void)state;
    expect_data(4096);
    memcpy(page, (const uint32_t[]){1, 3}, 8);
    assert_int_equal(chalk_nvme_list_namespaces(nvme, false, 0, nsids, &count), 0);
    assert_int_equal(count, 2);
    memcpy(page, (const uint32_t[]){3, 1}, 8);
    assert_int_equal(chalk_nvme_list_namespaces(nvme, false, 0, nsids, &count), 0); /* by each number */
    assert_int_equal(count, 0);
    memcpy(page, (const uint32_t[]){2, 4}, 8); /* there are 3 */
    assert_int_equal(chalk_nvme_list_namespaces(nvme, true, 0, nsids, &count), -EPROTO);
    assert_int_equal(seen.cdw10, CHALK_NVME_CNS_ALLOCATED);

    memcpy(page, (const uint16_t[]){3, 0, 1, 9}, 8);
    assert_int_equal(chalk_nvme_list_controllers(nvme, 0, 0, controllers, &count), 0);
    assert_int_equal(count, 3);
    memcpy(page, (const uint16_t[]){2048, 0, 1, 9}, 8);
    assert_int_equal(chalk_nvme_list_controllers(nvme, 0, 0, controllers, &count), -EPROTO);
    memcpy(page, (const uint16_t[]){3, 5, 5, 9}, 8);
    assert_int_equal(chalk_nvme_list_controllers(nvme, 2, 0, controllers, &count), -EPROTO);
    assert_int_equal(seen.cdw10, CHALK_NVME_CNS_ATTACHED);
}

static void descriptors_end_where_their_page_does(void **state)
{
    static const uint8_t good[] = {0x77, 3, 0, 0, 1, 2, 3, 4, 1, 0, 0, 2, 1, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    struct chalk_nvme_identifiers ids;

    (void)state;
    expect_data(4096);
    memcpy(page, good, sizeof good);
    page[8] = 0; /* an unknown one, then none */
    assert_int_equal(chalk_nvme_get_identifiers(nvme, 1, &ids), 0);
    assert_int_equal(ids.csi, CHALK_NVME_CSI_NVM);

    memcpy(page, (const uint8_t[]){4, 1, 0, 0, 2, 1, 8, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0}, 18);
    assert_int_equal(chalk_nvme_get_identifiers(nvme, 1, &ids), 0);
    assert_int_equal(ids.csi, CHALK_NVME_CSI_ZONED);
    assert_memory_equal(ids.eui64, "\1\2\3\4\5\6\7\10", 8);

    memset(page, 0xff, sizeof page); /* one of 255 bytes after the other, the last beyond the page */
    assert_int_equal(chalk_nvme_get_identifiers(nvme, 1, &ids), -EPROTO);
}

static void firmware_goes_in_pieces_of_the_size_that_is_wanted(void **state)
{
    static const uint8_t image[20000];

    (void)state;
    expect_data(0);
    assert_int_equal(chalk_nvme_download_firmware(nvme, image, sizeof image), 0);
    assert_int_equal(executed, 5);
    assert_int_equal(seen.cdw11, 4096);                    /* dwords: the last piece's place */
    assert_int_equal(seen.cdw10, (20000 - 16384) / 4 - 1); /* and size */
    assert_int_equal(chalk_nvme_download_firmware(nvme, image, 0), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_download_firmware(): size is 0"));
    assert_int_equal(chalk_nvme_download_firmware(nvme, image, 6), -EINVAL);
}

static void a_namespace_is_created_and_attached(void **state)
{
    const struct chalk_nvme_new_namespace ns = {.size = 1000, .capacity = 900, .format = 17, .shared = true};
    const uint16_t controllers[] = {4, 5};
    uint32_t nsid;

    (void)state;
    expect_data(4096);
    assert_int_equal(chalk_nvme_create_namespace(nvme, &ns, &nsid), 0);
    assert_int_equal(nsid, 0x12345678);
    assert_int_equal(page[26], 1 << 5 | 1);
    assert_int_equal(page[30], 1);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 9, true, controllers, 2), 0);
    assert_memory_equal(page, ((const uint16_t[]){2, 4, 5, 0}), 8);
    assert_int_equal(seen.nsid, 9);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 9, true, controllers, 2048), -EINVAL);
    expect_data(0);
    assert_int_equal(chalk_nvme_delete_namespace(nvme, 9), 0);
    assert_int_equal(seen.cdw10, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, commands_setup, commands_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_command_reaches_the_controller_word_by_word),
        TEST(data_of_any_size_goes_both_ways),
        TEST(segments_are_not_copied),
        TEST(wrong_sizes_do_not_reach_the_controller),
        TEST(a_refusal_is_told_with_its_status),
        TEST(a_command_without_an_answer_gives_its_memory_back),
        TEST(a_feature_is_read_and_set),
        TEST(a_long_log_comes_in_pieces),
        TEST(no_more_of_a_log_is_read_than_there_is),
        TEST(logs_are_parsed),
        TEST(a_list_that_does_not_ascend_is_refused),
        TEST(descriptors_end_where_their_page_does),
        TEST(firmware_goes_in_pieces_of_the_size_that_is_wanted),
        TEST(a_namespace_is_created_and_attached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
