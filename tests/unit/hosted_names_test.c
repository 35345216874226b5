/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and lists, as people and Linux write them, and as they should not. */
#include "hosted/pci.h"
#include "hosted/sysfs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses_are_spelled_as_linux_does(void **state)
{
    static const char *const pairs[][2] = {
        {"0000:00:03.0", "0000:00:03.0"},
        {"00:03.0", "0000:00:03.0"},
        {"3:1f.7", "0000:03:1f.7"},
        {"0000:AF:1F.7", "0000:af:1f.7"},
        {"10000:e1:00.0", "10000:e1:00.0"},
        {"0:0:0.0", "0000:00:00.0"},
        {"ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
    };
    char name[CHALK_NAME_SIZE];

    (void)state;
    for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(hosted_pci_name(pairs[i][0], name), 0);
        assert_string_equal(name, pairs[i][1]);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        ":",
        "banana",
        "00:03",
        "00:03.",
        "00:03.8",
        "00:20.0",
        "100:00.0",
        "00:003.0",
        "00:03.00",
        "00:03.0 ",
        " 00:03.0",
        "0x0:03.0",
        "-1:03.0",
        "::03.0",
        "0000::03.0",
        "000000000:0:0.0",
        "0000:00:03:0",
        "0000:00:03.0/../..",
        "1:2:3:4.0",
        "00.03:0",
    };
    char name[CHALK_NAME_SIZE];

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (hosted_pci_name(wrong[i], name) != -EINVAL)
            fail_msg("'%s' was taken for an address", wrong[i]);
}

static void rank_counts_the_lower_numbers(void **state)
{
    (void)state;
    assert_int_equal(hosted_list_rank("0", 0), 0);
    assert_int_equal(hosted_list_rank("0,4", 4), 1);
    assert_int_equal(hosted_list_rank("2-3,8,10-11", 11), 4);
    assert_int_equal(hosted_list_rank("2-3,8,10-11", 3), 1);
    assert_int_equal(hosted_list_rank("2-3,8,10-11", 1), 0);
    assert_int_equal(hosted_list_rank("", 5), 0);
    assert_int_equal(hosted_list_rank("junk", 5), 0);
    assert_int_equal(hosted_list_rank("0-", 5), 0);
    assert_int_equal(hosted_list_rank("4-1,0", 5), 0);
}

/* A mistake must not end the list in silence: the program would run on a part of it. */
static void what_is_no_list_is_refused(void **state)
{
    static const char *const good[] = {"0", "0-3", "2-3,8,10-11", "7-7"};
    static const char *const wrong[] = {"",      ",",    "-",     "x",   "2,,5", "2;5",
                                        "2, 5",  " 2",   "2x",    "0-",  "0-,2", "0,5-3",
                                        "0-2-4", "0--3", "0,1-x", "1,1", "5,2",  "0-3,2"};

    (void)state;
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!hosted_list_valid(good[i]))
            fail_msg("'%s' was taken for no list", good[i]);
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (hosted_list_valid(wrong[i]))
            fail_msg("'%s' was taken for a list", wrong[i]);
}

static void small_files_are_read_whole(void **state)
{
    char path[] = "/tmp/chalk-test-XXXXXX", text[8];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0 && write(fd, "12\nmore", 7) == 7);
    close(fd);
    assert_int_equal(hosted_sysfs_text(text, sizeof text, "%s", path), 2);
    assert_string_equal(text, "12");
    assert_int_equal(hosted_sysfs_number(-1, "%s", path), 12);
    assert_true(hosted_sysfs_exists("%s", path));
    unlink(path);
    assert_int_equal(hosted_sysfs_text(text, sizeof text, "%s", path), -ENOENT);
    assert_string_equal(text, "");
    assert_int_equal(hosted_sysfs_number(-1, "%s", path), -1);
    assert_int_equal(hosted_sysfs_link(text, 2, "/proc/self/exe"), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_spelled_as_linux_does),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(rank_counts_the_lower_numbers),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(small_files_are_read_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
