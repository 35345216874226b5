/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzzer of the parser of what the loader says (libFuzzer: clang -fsanitize=fuzzer,address,undefined).
 *
 * The first byte chooses the loader. For Multiboot2 the rest is the tags; for PVH it is entries of the memory
 * map and modules, behind start information that finds them. Addresses are scaled so that ranges meet. What
 * loader.h promises is checked, and that nothing is RAM which the map also calls something else.
 */
#include "baremetal/x86_64/loader.h"

#include <chalk/log.h>
#include <stdlib.h>
#include <string.h>

enum { BASE = 0x10000, INFORMATION = BASE, MAP = BASE + 0x100, SIZE = 0x4000, PAGE = 4096 };

static uint8_t bytes[SIZE];
static void *copies[1 << 16];
static unsigned copy_count;

static const void *at(const struct loader_memory *memory, uint64_t physical, size_t size)
{
    (void)memory;
    if (physical < BASE || physical >= BASE + SIZE || size > BASE + SIZE - physical)
        return NULL;
    if (copy_count == sizeof(copies) / sizeof(copies[0]))
        abort(); /* the parser's work is not bounded */
    return copies[copy_count++] = memcpy(malloc(size), bytes + (physical - BASE), size);
}

static void put(uint32_t physical, uint64_t value, size_t width)
{
    memcpy(bytes + (physical - BASE), &value, width);
}

static bool meet(const struct boot_range *a, uint64_t start, uint64_t end)
{
    return a->start < end && start < a->end;
}

static void check(const struct boot *found, struct boot_range image)
{
    if (found->ram_count > 64 || found->module_count > 8 || !memchr(found->command_line, 0, 1024))
        abort();
    for (unsigned i = 0; i < found->ram_count; i++) {
        const struct boot_range *r = &found->ram[i];

        if (r->start >= r->end || r->start % PAGE || r->end % PAGE || r->start < 1 << 20 ||
            r->end > 1ull << 47)
            abort();
        if (i > 0 && r->start < found->ram[i - 1].end)
            abort();
        if (meet(r, image.start, image.end))
            abort();
        for (unsigned j = 0; j < found->module_count; j++)
            if (meet(r, found->modules[j].start, found->modules[j].end))
                abort();
    }
    for (unsigned i = 0; i < found->module_count; i++) {
        const struct boot_module *m = &found->modules[i];

        if (m->start % PAGE || m->start >= m->end || !memchr(m->name, 0, sizeof(m->name)) || m->name[0] == 0)
            abort();
        for (unsigned j = 0; j < i; j++)
            if (m->start < found->modules[j].end && found->modules[j].start < m->end)
                abort();
    }
}

/* A few bytes to an address or a size: near 1 MiB, near 4 GiB, near the end of everything, or odd. */
static uint64_t scaled(const uint8_t *data)
{
    const uint64_t bases[] = {0, 0x100000, 0xfffff000, 1ull << 46, UINT64_MAX - 0xffff};

    return bases[data[0] % 5] + data[1] * (uint64_t)PAGE + (data[0] & 0x80 ? data[2] : 0);
}

static uint32_t build_pvh(const uint8_t *data, size_t size)
{
    uint32_t ranges = 0, modules = 0, next = MAP;

    for (; size >= 8 && next + 24 <= BASE + 0x2000; data += 7, size -= 7, next += 24, ranges++) {
        put(next, scaled(data), 8);
        put(next + 8, scaled(data + 3), 8);
        put(next + 16, data[6] % 3, 4);
        if (data[6] & 0x80)
            break;
    }
    uint32_t list = next;
    for (; size >= 8 && next + 32 <= BASE + SIZE; data += 8, size -= 8, next += 32, modules++) {
        put(next, scaled(data), 8);
        put(next + 8, scaled(data + 3), 8);
        put(next + 16, BASE + data[6] * 64u, 8);
    }
    put(INFORMATION, 0x336ec578, 4);
    put(INFORMATION + 4, 1, 4);
    put(INFORMATION + 12, modules, 4);
    put(INFORMATION + 16, list, 8);
    put(INFORMATION + 24, size > 0 ? BASE + data[0] * 64u : 0, 8);
    put(INFORMATION + 40, MAP, 8);
    put(INFORMATION + 48, ranges, 4);
    return ranges;
}

static void check_reserved(const struct boot *found, uint32_t ranges)
{
    for (uint32_t i = 0; i < ranges; i++) {
        uint64_t start, length, end;
        uint32_t type;

        memcpy(&start, bytes + (MAP - BASE) + i * 24, 8);
        memcpy(&length, bytes + (MAP - BASE) + i * 24 + 8, 8);
        memcpy(&type, bytes + (MAP - BASE) + i * 24 + 16, 4);
        if (found->startup_page % PAGE || found->startup_page >= 0xa0000)
            abort();
        end = length > UINT64_MAX - start ? UINT64_MAX : start + length;
        if (type != 1 && length > 0 && found->startup_page != 0 && start < found->startup_page + PAGE &&
            found->startup_page < end)
            abort();
        for (unsigned j = 0; j < found->ram_count; j++)
            if (type != 1 && length > 0 && meet(&found->ram[j], start, end))
                abort();
        for (unsigned j = 0; j < found->module_count; j++)
            if (type != 1 && length > 0 &&
                meet(&(struct boot_range){found->modules[j].start, found->modules[j].end}, start, end))
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct loader_memory memory = {at};
    static struct boot found;
    const struct boot_range image = {1 << 20, (1 << 20) + 0x7800};
    bool pvh = size > 0 && (data[0] & 1);
    uint32_t ranges = 0;

    chalk_log_level(CHALK_ERROR);
    memset(bytes, 0, sizeof(bytes));
    if (size > 0)
        data++, size--;
    if (size > SIZE / 4)
        size = SIZE / 4;
    if (pvh) {
        ranges = build_pvh(data, size);
    } else {
        put(INFORMATION, 8 + size, 4);
        memcpy(bytes + 8, data, size);
    }
    if (loader_parse(&memory, pvh ? 0 : 0x36d76289, INFORMATION, image, &found) == 0) {
        check(&found, image);
        check_reserved(&found, ranges);
    }
    while (copy_count > 0)
        free(copies[--copy_count]);
    return 0;
}
