/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the loader said, copied out of memory that is about to be given away. Two loaders' structures are read
 * (Xen's hvm_start_info, Multiboot2's tags), neither is trusted: everything has bounds, and what is free RAM
 * is what the map calls RAM, less what it also calls something else, less the image and the modules.
 */
#include "machine.h"

#include <chalk/log.h>
#include <string.h>

#define MULTIBOOT2_LOADER 0x36d76289u  /* Multiboot2 3.3: eax */
#define MAPPED_END        (1ull << 32) /* what boot.S maps */
#define LOW_MEMORY_END    0x100000ull  /* below: BIOS data, start code of other cores; never handed out */
#define ADDRESS_END       (1ull << 47) /* an identity map in the lower half of the address space */
#define MAP_MAX           256u

struct boot boot;

extern const char image_start[], image_end[];

/* Xen public/arch-x86/hvm/start_info.h */
struct pvh_information {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
    uint64_t map; /* from version 1 */
    uint32_t map_count, reserved;
};
struct pvh_module {
    uint64_t start, size, command_line, reserved;
};
struct pvh_range {
    uint64_t start, size;
    uint32_t type, reserved;
};
#define PVH_MAGIC 0x336ec578u
_Static_assert(sizeof(struct pvh_information) == 56, "hvm_start_info, version 1");
_Static_assert(sizeof(struct pvh_module) == 32 && sizeof(struct pvh_range) == 24, "hvm_modlist, hvm_memmap");

/* Multiboot2 3.6 */
struct multiboot_tag {
    uint32_t type, size;
};
struct multiboot_module {
    struct multiboot_tag tag;
    uint32_t start, end;
    char command_line[];
};
struct multiboot_map {
    struct multiboot_tag tag;
    uint32_t entry_size, entry_version;
};
struct multiboot_range {
    uint64_t start, size;
    uint32_t type, reserved;
};
enum { TAG_END, TAG_COMMAND_LINE, TAG_MODULE = 3, TAG_MAP = 6, TAG_ACPI_OLD = 14, TAG_ACPI_NEW = 15 };
#define INFORMATION_MAX 0x100000u

#define TYPE_RAM 1u /* in both loaders' maps, after ACPI 6.5 15.1 */

/* ---- ranges of RAM ---- */

static void add_ram(uint64_t start, uint64_t size)
{
    uint64_t end = size < ADDRESS_END && start < ADDRESS_END - size ? start + size : ADDRESS_END;

    start = (start + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
    end &= ~(MEMORY_PAGE - 1);
    if (start < LOW_MEMORY_END)
        start = LOW_MEMORY_END;
    if (start >= end)
        return;
    if (boot.ram_count < sizeof boot.ram / sizeof boot.ram[0])
        boot.ram[boot.ram_count++] = (struct boot_range){start, end};
}

/* Takes every page that [start, start + size) touches out of the ranges of RAM. */
static void remove_ram(uint64_t start, uint64_t size)
{
    uint64_t end = size < ADDRESS_END && start < ADDRESS_END - size ? start + size : ADDRESS_END;

    start &= ~(MEMORY_PAGE - 1);
    end = (end + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
    if (size == 0 || start >= end)
        return;
    for (unsigned i = 0; i < boot.ram_count;) {
        struct boot_range *r = &boot.ram[i], old = *r;

        if (old.end <= start || end <= old.start) {
            i++;
        } else if (old.start < start) {
            r->end = start;
            if (end < old.end)
                add_ram(end, old.end - end);
            i++;
        } else if (end < old.end) {
            r->start = end;
            i++;
        } else {
            *r = boot.ram[--boot.ram_count];
        }
    }
}

static void sort_ram(void)
{
    for (unsigned i = 1; i < boot.ram_count; i++)
        for (unsigned j = i; j > 0 && boot.ram[j].start < boot.ram[j - 1].start; j--) {
            struct boot_range swap = boot.ram[j];

            boot.ram[j] = boot.ram[j - 1];
            boot.ram[j - 1] = swap;
        }
}

/* Ranges that overlap or touch become one. */
static void merge_ram(void)
{
    unsigned n = 0;

    sort_ram();
    for (unsigned i = 0; i < boot.ram_count; i++) {
        if (n > 0 && boot.ram[i].start <= boot.ram[n - 1].end) {
            if (boot.ram[n - 1].end < boot.ram[i].end)
                boot.ram[n - 1].end = boot.ram[i].end;
        } else {
            boot.ram[n++] = boot.ram[i];
        }
    }
    boot.ram_count = n;
}

/* Reads `count` entries of either map, `stride` bytes apart: their first five words are the same. */
static void parse_map(const char *entries, unsigned count, size_t stride)
{
    struct multiboot_range r;

    if (count > MAP_MAX)
        count = MAP_MAX;
    for (unsigned i = 0; i < count; i++) {
        memcpy(&r, entries + i * stride, sizeof r);
        if (r.type == TYPE_RAM)
            add_ram(r.start, r.size);
    }
    merge_ram();
    for (unsigned i = 0; i < count; i++) {
        memcpy(&r, entries + i * stride, sizeof r);
        if (r.type != TYPE_RAM)
            remove_ram(r.start, r.size);
    }
}

/* ---- text ---- */

/* The bytes that may be read at `address`, or NULL when it cannot hold `size` of them. */
static const void *at(uint64_t address, uint64_t size)
{
    return address != 0 && address < MAPPED_END && size <= MAPPED_END - address ? (const void *)address
                                                                                : NULL;
}

static void copy_command_line(const char *text, size_t limit)
{
    size_t n = 0;

    while (n < limit && text[n] != '\0')
        n++;
    if (n >= sizeof boot.command_line)
        machine_refuse("the command line is longer than %u characters; shorten it",
                       (unsigned)sizeof boot.command_line - 1);
    memcpy(boot.command_line, text, n);
    boot.command_line[n] = '\0';
}

/* A module's name is the last part of the first word of its command line, or its number. */
static void add_module(uint64_t start, uint64_t size, const char *text, size_t limit)
{
    size_t n = 0, last = 0;

    if (size == 0 || at(start, size) == NULL || start < MEMORY_PAGE)
        return;
    if (boot.module_count == sizeof boot.modules / sizeof boot.modules[0]) {
        chalk_log(CHALK_WARNING, "more than %u boot modules; those after are ignored", boot.module_count);
        remove_ram(start, size);
        return;
    }
    struct boot_module *module = &boot.modules[boot.module_count];
    module->start = start;
    module->end = start + size;
    while (text != NULL && n < limit && text[n] != '\0' && text[n] != ' ')
        if (text[n++] == '/')
            last = n;
    n -= last;
    if (n >= sizeof module->name)
        n = sizeof module->name - 1;
    if (n > 0)
        memcpy(module->name, text + last, n);
    else
        chalk_format(module->name, sizeof module->name, "module%u", boot.module_count);
    boot.module_count++;
}

/* ---- the two loaders ---- */

static void parse_pvh(uint64_t address)
{
    const struct pvh_information *info = at(address, sizeof *info);

    if (info == NULL || info->magic != PVH_MAGIC || info->version < 1)
        machine_refuse("the loader gave no PVH start information of version 1; boot by PVH or Multiboot2");
    boot.rsdp = info->rsdp;
    if (at(info->command_line, 1) != NULL)
        copy_command_line(at(info->command_line, 1), MAPPED_END - info->command_line);
    const struct pvh_module *modules = at(info->modules, (uint64_t)info->module_count * sizeof *modules);
    for (unsigned i = 0; modules != NULL && i < info->module_count && i < MAP_MAX; i++) {
        const char *text = at(modules[i].command_line, 1);

        add_module(modules[i].start, modules[i].size, text, MAPPED_END - modules[i].command_line);
    }
    const char *map = at(info->map, (uint64_t)info->map_count * sizeof(struct pvh_range));
    if (map != NULL)
        parse_map(map, info->map_count, sizeof(struct pvh_range));
}

/* The tag is a copy of the root pointer, which would go with the loader's memory: keep our own. */
static void copy_rsdp(const char *bytes, size_t size)
{
    static char copy[64] __attribute__((aligned(16)));

    memcpy(copy, bytes, size < sizeof copy ? size : sizeof copy);
    boot.rsdp = (uint64_t)copy;
}

static void parse_tag(const struct multiboot_tag *tag)
{
    const char *body = (const char *)(tag + 1);
    size_t size = tag->size - sizeof *tag;

    switch (tag->type) {
    case TAG_COMMAND_LINE:
        copy_command_line(body, size);
        break;
    case TAG_MODULE: {
        const struct multiboot_module *module = (const void *)tag;

        if (tag->size >= sizeof *module && module->start < module->end)
            add_module(module->start, module->end - module->start, module->command_line,
                       tag->size - sizeof *module);
        break;
    }
    case TAG_MAP: {
        const struct multiboot_map *map = (const void *)tag;

        if (tag->size >= sizeof *map && map->entry_size >= sizeof(struct multiboot_range))
            parse_map((const char *)(map + 1), (unsigned)((tag->size - sizeof *map) / map->entry_size),
                      map->entry_size);
        break;
    }
    case TAG_ACPI_OLD:
        if (boot.rsdp == 0)
            copy_rsdp(body, size);
        break;
    case TAG_ACPI_NEW:
        copy_rsdp(body, size);
        break;
    }
}

static void parse_multiboot(uint64_t address)
{
    const uint32_t *total = at(address, 2 * sizeof *total);

    if (total == NULL || *total > INFORMATION_MAX || at(address, *total) == NULL)
        machine_refuse("the loader's Multiboot2 information is broken; update the loader");
    for (uint64_t offset = 8; offset + sizeof(struct multiboot_tag) <= *total;) {
        const struct multiboot_tag *tag = (const void *)(address + offset);

        if (tag->type == TAG_END || tag->size < sizeof *tag || tag->size > *total - offset)
            break;
        parse_tag(tag);
        offset += (tag->size + 7u) & ~7ull;
    }
}

void boot_parse(uint32_t magic, uint64_t information)
{
    if (magic == MULTIBOOT2_LOADER)
        parse_multiboot(information);
    else if (magic == 0)
        parse_pvh(information);
    else
        machine_refuse("started by an unknown loader (eax %#x); boot by PVH or Multiboot2", magic);
    remove_ram((uint64_t)image_start, (uint64_t)(image_end - image_start));
    for (unsigned i = 0; i < boot.module_count; i++)
        remove_ram(boot.modules[i].start, boot.modules[i].end - boot.modules[i].start);
    sort_ram();
}
