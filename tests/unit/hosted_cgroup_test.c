/* SPDX-License-Identifier: BSD-2-Clause */
/* What control groups allow, read from files that are made up here, in both kinds of hierarchy. */
#include "hosted/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/chalk-cgroup-XXXXXX";

static void make(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void put(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *name, const char *format, ...)
{
    char path[256];
    va_list list;
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    va_start(list, format);
    vfprintf(file, format, list);
    va_end(list);
    fclose(file);
}

static int start(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    make("fs");
    make("fs/a");
    make("fs/a/b");
    return 0;
}

static int stop(void **state)
{
    char command[256];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void unified(const char *group)
{
    put("cgroup", "0::%s\n", group);
    put("mountinfo",
        "22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
        "30 22 0:27 / %s/fs rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        folder);
}

static uint64_t memory(struct cgroup_room *room)
{
    hosted_cgroup_memory(folder, room);
    return room->bytes;
}

static void no_limit_is_no_limit(void **state)
{
    struct cgroup_room room;

    (void)state;
    assert_int_equal(memory(&room), UINT64_MAX); /* not even /proc */
    unified("/a/b");
    assert_int_equal(memory(&room), UINT64_MAX);
    put("fs/a/b/memory.max", "max\n");
    put("fs/a/b/memory.current", "4096\n");
    assert_int_equal(memory(&room), UINT64_MAX);
    assert_string_equal(room.limit, "");
    put("fs/a/b/memory.max", "nonsense\n");
    assert_int_equal(memory(&room), UINT64_MAX);
    put("cgroup", "nonsense\n:\n0:\n");
    assert_int_equal(memory(&room), UINT64_MAX);
    put("mountinfo", "- cgroup2\n - cgroup2 cgroup2 rw\n");
    unified("/no/such/group");
    assert_int_equal(memory(&room), UINT64_MAX);
}

/* A group's own limit, and those of the groups above it, whichever is met first. */
static void least_room_of_all_groups_counts(void **state)
{
    struct cgroup_room room;

    (void)state;
    unified("/a/b");
    put("fs/a/b/memory.max", "67108864\n");
    put("fs/a/b/memory.current", "1048576\n");
    assert_int_equal(memory(&room), 63 << 20);
    assert_non_null(strstr(room.limit, "fs/a/b/memory.max"));
    put("fs/a/memory.max", "8388608\n");
    put("fs/a/memory.current", "4194304\n");
    assert_int_equal(memory(&room), 4 << 20);
    assert_non_null(strstr(room.limit, "fs/a/memory.max"));
    put("fs/memory.max", "1048576\n"); /* of a container, whose own group is mounted */
    put("fs/memory.current", "2097152\n");
    assert_int_equal(memory(&room), 0);
    unified("/");
    assert_int_equal(memory(&room), 0);
    unified("/../outside");
    assert_int_equal(memory(&room), 0);
}

static void what_linux_takes_back_is_room(void **state)
{
    struct cgroup_room room;

    (void)state;
    unified("/a");
    put("fs/a/memory.max", "16777216\n");
    put("fs/a/memory.current", "16777216\n");
    put("fs/a/memory.stat", "anon 4194304\ninactive_file 8388608\nactive_file 4194304\nslab 7\n");
    assert_int_equal(memory(&room), 12 << 20);
    put("fs/a/memory.stat", "inactive_file 99999999999\n");
    assert_int_equal(memory(&room), 16 << 20);
}

/* Version 1 has a hierarchy for a controller, of which a container sees a part. */
static void both_hierarchies_are_known(void **state)
{
    struct cgroup_room room;

    (void)state;
    put("cgroup", "9:name=systemd:/\n4:hugetlb,memory:/docker/x/b\n0::/\n");
    put("mountinfo",
        "30 22 0:27 / %s/other rw - cgroup cgroup rw,cpu\n"
        "31 22 0:28 /docker/x %s/fs/a rw shared:4 - cgroup cgroup rw,hugetlb,memory\n"
        "32 22 0:29 / %s/other rw - cgroup2 cgroup2 rw\n",
        folder, folder, folder);
    put("fs/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    put("fs/a/memory.limit_in_bytes", "8388608\n");
    put("fs/a/memory.usage_in_bytes", "4194304\n");
    put("fs/a/memory.stat", "inactive_file 4194304\ntotal_inactive_file 1048576\n");
    put("fs/memory.limit_in_bytes", "1\n"); /* above the mount: somebody else's */
    assert_int_equal(memory(&room), 5 << 20);
    put("fs/a/b/hugetlb.2MB.limit_in_bytes", "0\n");
    hosted_cgroup_hugepages(folder, 2 << 20, &room);
    assert_int_equal(room.bytes, 0);
    assert_non_null(strstr(room.limit, "fs/a/b/hugetlb.2MB.limit_in_bytes"));
}

static void hugepages_have_limits_of_two_kinds(void **state)
{
    struct cgroup_room room;

    (void)state;
    unified("/a");
    put("fs/a/hugetlb.2MB.max", "8388608\n");
    put("fs/a/hugetlb.2MB.current", "2097152\n");
    hosted_cgroup_hugepages(folder, 2 << 20, &room);
    assert_int_equal(room.bytes, 6 << 20);
    put("fs/a/hugetlb.2MB.rsvd.max", "2097152\n");
    put("fs/a/hugetlb.2MB.rsvd.current", "2097152\n");
    hosted_cgroup_hugepages(folder, 2 << 20, &room);
    assert_int_equal(room.bytes, 0);
    assert_non_null(strstr(room.limit, "fs/a/hugetlb.2MB.rsvd.max"));
    hosted_cgroup_hugepages(folder, 1 << 30, &room);
    assert_int_equal(room.bytes, UINT64_MAX);
    put("fs/a/hugetlb.1GB.max", "0\n");
    hosted_cgroup_hugepages(folder, 1 << 30, &room);
    assert_int_equal(room.bytes, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(no_limit_is_no_limit),
        TEST(least_room_of_all_groups_counts),
        TEST(what_linux_takes_back_is_room),
        TEST(both_hierarchies_are_known),
        TEST(hugepages_have_limits_of_two_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
