/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the loader says, whole, cut at every length, and lying: PVH start information and Multiboot2 tags.
 *
 * Both are built in a small physical memory. Each time the parser asks for bytes it gets a copy of exactly
 * that many, so that AddressSanitizer sees one byte read too far, wherever it is.
 */
#include "baremetal/x86_64/loader.h"

#include <chalk/error.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platform_fake.h"

enum {
    BASE = 0x8000,
    SIZE = 0x8000,
    INFORMATION = BASE + 0x100,
    MAP = BASE + 0x1000,
    MODULES = BASE + 0x4000,
    TEXT = BASE + 0x5000,
    MULTIBOOT2 = 0x36d76289,
    RAM = 1,
    RESERVED = 2,
};
#define MIB 0x100000ull

static uint8_t bytes[SIZE];
static uint64_t memory_end;
static uint32_t next; /* where the next tag goes */
static struct boot boot_seen;
static const struct boot_range image = {MIB, 2 * MIB};

static void *copies[4096];
static unsigned copy_count;

static const void *at(const struct loader_memory *memory, uint64_t physical, size_t size)
{
    (void)memory;
    if (physical < BASE || physical >= memory_end || size > memory_end - physical)
        return NULL;
    assert_true(copy_count < sizeof(copies) / sizeof(copies[0]));
    return copies[copy_count++] = memcpy(malloc(size), bytes + (physical - BASE), size);
}

static int parse(uint32_t magic)
{
    static const struct loader_memory memory = {at};
    int result = loader_parse(&memory, magic, INFORMATION, image, &boot_seen);

    while (copy_count > 0)
        free(copies[--copy_count]);
    return result;
}

static void put(uint32_t physical, uint64_t value, size_t width)
{
    memcpy(bytes + (physical - BASE), &value, width);
}

static void put_text(uint32_t physical, const char *text)
{
    memcpy(bytes + (physical - BASE), text, strlen(text) + 1);
}

static void assert_ram(unsigned i, uint64_t start, uint64_t end)
{
    assert_true(i < boot_seen.ram_count);
    assert_int_equal(boot_seen.ram[i].start, start);
    assert_int_equal(boot_seen.ram[i].end, end);
}

/* ---- PVH ---- */

static void pvh_range(unsigned i, uint64_t start, uint64_t size, uint32_t type)
{
    put(MAP + i * 24, start, 8);
    put(MAP + i * 24 + 8, size, 8);
    put(MAP + i * 24 + 16, type, 4);
    put(INFORMATION + 48, i + 1, 4);
}

static void pvh_module(unsigned i, uint64_t start, uint64_t size, uint64_t text)
{
    put(MODULES + i * 32, start, 8);
    put(MODULES + i * 32 + 8, size, 8);
    put(MODULES + i * 32 + 16, text, 8);
    put(INFORMATION + 12, i + 1, 4);
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    memset(bytes, 0, sizeof(bytes));
    memory_end = BASE + SIZE;
    put(INFORMATION, 0x336ec578, 4);
    put(INFORMATION + 4, 1, 4);
    put(INFORMATION + 16, MODULES, 8);
    put(INFORMATION + 24, TEXT, 8);
    put(INFORMATION + 32, 0xf1234, 8);
    put(INFORMATION + 40, MAP, 8);
    put_text(TEXT, "one two");
    put_text(TEXT + 0x100, "/boot/disk.img quiet");
    pvh_range(0, 0, 0x9fc00, RAM);
    pvh_range(1, 0x9fc00, 0x60400, RESERVED);
    pvh_range(2, MIB, 63 * MIB, RAM);
    pvh_module(0, 32 * MIB, 5000, TEXT + 0x100);
    return 0;
}

static void pvh_is_understood(void **state)
{
    (void)state;
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.command_line, "one two");
    assert_int_equal(boot_seen.rsdp, 0xf1234);
    assert_int_equal(boot_seen.module_count, 1);
    assert_string_equal(boot_seen.modules[0].name, "disk.img");
    assert_int_equal(boot_seen.modules[0].start, 32 * MIB);
    assert_int_equal(boot_seen.modules[0].end, 32 * MIB + 5000);
    assert_int_equal(boot_seen.ram_count, 2);
    assert_ram(0, 2 * MIB, 32 * MIB);
    assert_ram(1, 32 * MIB + 0x2000, 64 * MIB);
}

static void what_is_no_pvh_is_refused(void **state)
{
    (void)state;
    put(INFORMATION, 0, 4);
    assert_int_equal(parse(0), -EINVAL);
    setup(NULL);
    put(INFORMATION + 4, 0, 4); /* version 0 has no map */
    assert_int_equal(parse(0), -EINVAL);
    setup(NULL);
    assert_int_equal(parse(0x2badb002), -EINVAL); /* Multiboot 1 */
    assert_true(fake_console_has("unknown loader (eax 0x2badb002)"));
}

/* Memory that ends at any byte: nothing is read beyond it, and what is there counts. */
static void pvh_memory_may_end_anywhere(void **state)
{
    (void)state;
    for (memory_end = BASE; memory_end < BASE + SIZE; memory_end += memory_end < MAP + 128 ? 1 : 61) {
        int result = parse(0);

        assert_int_equal(result, memory_end < INFORMATION + 56 ? -EINVAL : 0);
        if (result == 0)
            assert_int_equal(boot_seen.ram_count != 0, memory_end >= MAP + 3 * 24);
    }
}

static void lists_that_lie_about_their_length_are_bounded(void **state)
{
    (void)state;
    put(INFORMATION + 12, UINT32_MAX, 4);
    put(INFORMATION + 48, UINT32_MAX, 4);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 0);
    assert_int_equal(boot_seen.module_count, 0); /* its memory is none, as far as anybody knows */
    setup(NULL);
    put(INFORMATION + 16, UINT64_MAX - 16, 8);
    put(INFORMATION + 40, UINT64_MAX - 16, 8);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 0);
}

static void a_command_line_has_to_fit(void **state)
{
    (void)state;
    memset(bytes + (TEXT - BASE), 'x', 1023);
    put(TEXT + 1023, 0, 1);
    assert_int_equal(parse(0), 0);
    assert_int_equal(strlen(boot_seen.command_line), 1023);
    put(TEXT + 1023, 'x', 1);
    assert_int_equal(parse(0), -EINVAL);
    assert_true(fake_console_has("longer than 1023 characters"));
    setup(NULL);
    put(INFORMATION + 24, BASE + SIZE - 4, 8); /* no end before memory's */
    memset(bytes + SIZE - 4, 'y', 4);
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.command_line, "yyyy");
    put(INFORMATION + 24, 0, 8);
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.command_line, "");
}

/* ---- RAM ---- */

static void what_is_also_something_else_is_not_ram(void **state)
{
    (void)state;
    put(INFORMATION + 12, 0, 4);
    pvh_range(2, MIB, 63 * MIB, RAM);
    pvh_range(3, 16 * MIB + 100, 8, RESERVED);    /* a hole of less than a page takes the page */
    pvh_range(4, 60 * MIB, UINT64_MAX, RESERVED); /* wraps around */
    pvh_range(5, 40 * MIB, 0, RESERVED);          /* nothing */
    pvh_range(6, 3 * MIB, MIB, 0);                /* of a type that nobody knows */
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 3);
    assert_ram(0, 2 * MIB, 3 * MIB);
    assert_ram(1, 4 * MIB, 16 * MIB);
    assert_ram(2, 16 * MIB + 0x1000, 60 * MIB);
}

static void ranges_may_overlap_touch_and_be_in_disorder(void **state)
{
    (void)state;
    put(INFORMATION + 12, 0, 4);
    pvh_range(0, 48 * MIB + 1, 16 * MIB - 2, RAM); /* whole pages only */
    pvh_range(1, 16 * MIB, 16 * MIB, RAM);
    pvh_range(2, 4 * MIB, 16 * MIB, RAM);
    pvh_range(3, 32 * MIB, MIB, RAM);
    pvh_range(4, 1ull << 46, UINT64_MAX, RAM); /* ends with the address space */
    pvh_range(5, UINT64_MAX, UINT64_MAX, RAM);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 3);
    assert_ram(0, 4 * MIB, 33 * MIB);
    assert_ram(1, 48 * MIB + 0x1000, 64 * MIB - 0x1000);
    assert_ram(2, 1ull << 46, 1ull << 47);
}

static void more_pieces_than_fit_lose_memory_only(void **state)
{
    (void)state;
    put(INFORMATION + 12, 0, 4);
    for (unsigned i = 0; i < 100; i++) /* that touch: one */
        pvh_range(i, (16 + i) * MIB, MIB, RAM);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 1);
    assert_ram(0, 16 * MIB, 116 * MIB);
    for (unsigned i = 0; i < 100; i++)
        pvh_range(i, (16 + 2 * i) * MIB, MIB, RAM);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.ram_count, 64);
    assert_true(fake_console_has("more than 64 pieces"));
    pvh_range(0, 16 * MIB, 1024 * MIB, RAM);
    for (unsigned i = 1; i < 100; i++) /* a hole is made although its upper side finds no place */
        pvh_range(i, (16 + 2 * i) * MIB, MIB, RESERVED);
    assert_int_equal(parse(0), 0);
    for (unsigned i = 0; i < boot_seen.ram_count; i++)
        assert_true(boot_seen.ram[i].end - boot_seen.ram[i].start == MIB ||
                    boot_seen.ram[i].start == 16 * MIB || boot_seen.ram[i].end == 1040 * MIB);
}

/* ---- modules ---- */

static void modules_lie_in_free_memory_or_are_ignored(void **state)
{
    (void)state;
    pvh_module(0, 32 * MIB, MIB, 0);
    pvh_module(1, 32 * MIB + 0x1000, 0x1000, TEXT + 0x100); /* in the one before */
    pvh_module(2, MIB + 0x1000, 0x1000, TEXT + 0x100);      /* in the image */
    pvh_module(3, 0x5000, 0x1000, TEXT + 0x100);            /* below 1 MiB */
    pvh_module(4, 63 * MIB, 2 * MIB, TEXT + 0x100);         /* leaves memory */
    pvh_module(5, 40 * MIB + 16, 0x1000, TEXT + 0x100);     /* not on a page */
    pvh_module(6, 40 * MIB, UINT64_MAX, TEXT + 0x100);
    pvh_module(7, 50 * MIB, 1, TEXT);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.module_count, 2);
    assert_string_equal(boot_seen.modules[0].name, "module0");
    assert_string_equal(boot_seen.modules[1].name, "one");
    assert_true(fake_console_has("module disk.img at 0x2801000 is not in free memory") == false);
    assert_true(fake_console_has("module disk.img at 0x2001000 is not in free memory"));
    assert_true(fake_console_has("module disk.img at 0x2800010 does not begin on a page"));
    assert_int_equal(boot_seen.ram_count, 3);
    assert_ram(0, 2 * MIB, 32 * MIB);
    assert_ram(1, 33 * MIB, 50 * MIB);
    assert_ram(2, 50 * MIB + 0x1000, 64 * MIB);
}

static void more_modules_than_fit_are_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        pvh_module(i, (20 + i) * MIB, 0x1000, 0);
    assert_int_equal(parse(0), 0);
    assert_int_equal(boot_seen.module_count, 8);
    assert_true(fake_console_has("more than 8 modules"));
}

static void names_of_modules_are_cut(void **state)
{
    (void)state;
    put_text(TEXT + 0x100, "/a/b/a-name-that-is-much-longer-than-its-place");
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.modules[0].name, "a-name-that-is-much-lon");
    put_text(TEXT + 0x100, "/a/b/ x");
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.modules[0].name, "module0");
    memset(bytes + (TEXT - BASE) + 0x100, '/', SIZE - (TEXT - BASE) - 0x100); /* no end at all */
    assert_int_equal(parse(0), 0);
    assert_string_equal(boot_seen.modules[0].name, "module0");
}

/* ---- Multiboot2 ---- */

static void tag(uint32_t type, const void *body, uint32_t size)
{
    put(next, type, 4);
    put(next + 4, 8 + size, 4);
    memcpy(bytes + (next - BASE) + 8, body, size);
    next += (8 + size + 7) & ~7u;
    put(INFORMATION, next - INFORMATION, 4);
}

static int setup_multiboot(void **state)
{
    const struct {
        uint32_t entry_size, version;
        struct {
            uint64_t start, size;
            uint32_t type, reserved;
        } entries[2];
    } map = {24, 0, {{0, 0x9fc00, RAM, 0}, {MIB, 63 * MIB, RAM, 0}}};
    struct {
        uint32_t start, end;
        char text[16];
    } module = {32 * MIB, 33 * MIB, "/boot/disk.img"};

    setup(state);
    next = INFORMATION + 8;
    tag(1, "one two", 8);
    tag(3, &module, sizeof(module));
    tag(14, (char[20]){"RSD PTR old"}, 20);
    tag(6, &map, sizeof(map));
    tag(15, (char[36]){"RSD PTR new"}, 36);
    tag(0, "", 0);
    return 0;
}

static void multiboot_is_understood(void **state)
{
    (void)state;
    assert_int_equal(parse(MULTIBOOT2), 0);
    assert_string_equal(boot_seen.command_line, "one two");
    assert_string_equal((const char *)(uintptr_t)boot_seen.rsdp, "RSD PTR new");
    assert_int_equal(boot_seen.module_count, 1);
    assert_string_equal(boot_seen.modules[0].name, "disk.img");
    assert_int_equal(boot_seen.ram_count, 2);
    assert_ram(0, 2 * MIB, 32 * MIB);
    assert_ram(1, 33 * MIB, 64 * MIB);
}

static void multiboot_may_end_anywhere(void **state)
{
    uint32_t total = next - INFORMATION;

    (void)state;
    for (uint32_t length = 0; length < total; length++) { /* as it says itself */
        put(INFORMATION, length, 4);
        assert_int_equal(parse(MULTIBOOT2), 0);
    }
    put(INFORMATION, total, 4);
    for (memory_end = BASE; memory_end < INFORMATION + total; memory_end++) /* as memory does */
        assert_int_equal(parse(MULTIBOOT2), -EINVAL);
    assert_int_equal(parse(MULTIBOOT2), 0);
    assert_int_equal(boot_seen.module_count, 1);
    put(INFORMATION, UINT32_MAX, 4);
    assert_int_equal(parse(MULTIBOOT2), -EINVAL);
}

static void tags_of_any_length_end(void **state)
{
    const uint32_t lengths[] = {0,  1,  7,  8,  9,          15,         16,        17,
                                23, 24, 25, 31, 0x7fffffff, 0xfffffff8, UINT32_MAX};

    (void)state;
    for (uint32_t type = 0; type < 24; type++)
        for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            put(INFORMATION + 8, type, 4);
            put(INFORMATION + 12, lengths[i], 4);
            assert_int_equal(parse(MULTIBOOT2), 0);
        }
}

static void map_entries_of_any_size_are_bounded(void **state)
{
    uint32_t map = INFORMATION + 8 + 16 + 32 + 32; /* behind the command line, the module, the root pointer */
    uint32_t type;

    (void)state;
    memcpy(&type, bytes + (map - BASE), 4);
    assert_int_equal(type, 6);
    for (uint32_t size = 0; size < 100; size++) {
        put(map + 8, size, 4);
        assert_int_equal(parse(MULTIBOOT2), 0);
        assert_int_equal(boot_seen.ram_count != 0, size == 24);
    }
    put(map + 8, UINT32_MAX, 4);
    assert_int_equal(parse(MULTIBOOT2), 0);
    assert_int_equal(boot_seen.ram_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pvh_is_understood, setup),
        cmocka_unit_test_setup(what_is_no_pvh_is_refused, setup),
        cmocka_unit_test_setup(pvh_memory_may_end_anywhere, setup),
        cmocka_unit_test_setup(lists_that_lie_about_their_length_are_bounded, setup),
        cmocka_unit_test_setup(a_command_line_has_to_fit, setup),
        cmocka_unit_test_setup(what_is_also_something_else_is_not_ram, setup),
        cmocka_unit_test_setup(ranges_may_overlap_touch_and_be_in_disorder, setup),
        cmocka_unit_test_setup(more_pieces_than_fit_lose_memory_only, setup),
        cmocka_unit_test_setup(modules_lie_in_free_memory_or_are_ignored, setup),
        cmocka_unit_test_setup(more_modules_than_fit_are_left_out, setup),
        cmocka_unit_test_setup(names_of_modules_are_cut, setup),
        cmocka_unit_test_setup(multiboot_is_understood, setup_multiboot),
        cmocka_unit_test_setup(multiboot_may_end_anywhere, setup_multiboot),
        cmocka_unit_test_setup(tags_of_any_length_end, setup_multiboot),
        cmocka_unit_test_setup(map_entries_of_any_size_are_bounded, setup_multiboot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
