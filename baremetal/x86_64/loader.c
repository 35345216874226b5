/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the loader said, copied out of memory that is about to be given away. Two loaders' structures are read
 * (Xen's hvm_start_info, Multiboot2's tags), neither is trusted: everything has bounds, and what is free RAM
 * is what the map calls RAM, less what it also calls something else, less the image and the modules.
 */
#include "loader.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

#define MULTIBOOT2_LOADER 0x36d76289u  /* Multiboot2 3.3: eax */
#define LOW_MEMORY_END    0x100000ull  /* below: BIOS data, start code of other cores; never handed out */
#define ADDRESS_END       (1ull << 47) /* an identity map in the lower half of the address space */
#define MAP_MAX           256u
#define MODULE_TEXT_MAX   256u /* bytes of a module's command line that are looked at */
#define INFORMATION_MAX   0x100000u

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
struct multiboot_module { /* a command line follows */
    uint32_t start, end;
};
struct multiboot_map { /* entries follow: those of struct pvh_range, or longer */
    uint32_t entry_size, entry_version;
};
enum { TAG_END, TAG_COMMAND_LINE, TAG_MODULE = 3, TAG_MAP = 6, TAG_ACPI_OLD = 14, TAG_ACPI_NEW = 15 };

#define TYPE_RAM 1u /* in both loaders' maps, after ACPI 6.5 chapter 15 */

/* ---- ranges of RAM ---- */

enum { RAM_MAX = sizeof((struct boot *)0)->ram / sizeof(struct boot_range) };

static uint64_t page_down(uint64_t address)
{
    return address & ~(MEMORY_PAGE - 1);
}

static uint64_t page_up(uint64_t address)
{
    return page_down(address + MEMORY_PAGE - 1);
}

static uint64_t end_of(uint64_t start, uint64_t size)
{
    return size < ADDRESS_END && start < ADDRESS_END - size ? start + size : ADDRESS_END;
}

static void sort_ram(struct boot *found)
{
    for (unsigned i = 1; i < found->ram_count; i++)
        for (unsigned j = i; j > 0 && found->ram[j].start < found->ram[j - 1].start; j--) {
            struct boot_range swap = found->ram[j];

            found->ram[j] = found->ram[j - 1];
            found->ram[j - 1] = swap;
        }
}

/* Ranges that overlap or touch become one. */
static void merge_ram(struct boot *found)
{
    unsigned n = 0;

    sort_ram(found);
    for (unsigned i = 0; i < found->ram_count; i++) {
        struct boot_range *last = n > 0 ? &found->ram[n - 1] : NULL, next = found->ram[i];

        if (last == NULL || next.start > last->end)
            found->ram[n++] = next;
        else if (last->end < next.end)
            last->end = next.end;
    }
    found->ram_count = n;
}

/* What does not fit is lost: less RAM than there is, never RAM that there is not. */
static void append_ram(struct boot *found, uint64_t start, uint64_t end)
{
    if (found->ram_count < RAM_MAX)
        found->ram[found->ram_count++] = (struct boot_range){start, end};
    else
        chalk_log(CHALK_WARNING, "boot: memory is in more than %d pieces; 0x%lx-0x%lx is not used", RAM_MAX,
                  (unsigned long)start, (unsigned long)end);
}

static void add_ram(struct boot *found, const struct pvh_range *range)
{
    uint64_t end = page_down(end_of(range->start, range->size));
    uint64_t start = range->start < LOW_MEMORY_END ? LOW_MEMORY_END : range->start;

    if (start >= end || page_up(start) >= end)
        return;
    if (found->ram_count == RAM_MAX)
        merge_ram(found);
    append_ram(found, page_up(start), end);
}

/* Takes every page that [start, end) touches out of the ranges of RAM. */
static void remove_ram(struct boot *found, uint64_t start, uint64_t end)
{
    if (start >= end)
        return;
    start = page_down(start);
    end = page_up(end);
    for (unsigned i = 0; i < found->ram_count;) {
        struct boot_range *r = &found->ram[i], old = *r;

        if (old.end <= start || end <= old.start) {
            i++;
        } else if (old.start < start) {
            r->end = start;
            if (end < old.end)
                append_ram(found, end, old.end);
            i++;
        } else if (end < old.end) {
            r->start = end;
            i++;
        } else {
            *r = found->ram[--found->ram_count];
        }
    }
}

static bool is_ram(const struct boot *found, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < found->ram_count; i++)
        if (found->ram[i].start <= start && end <= found->ram[i].end)
            return true;
    return false;
}

/* The highest page below 640 KiB that is RAM and nothing else: for the code that other cores start with. */
static uint64_t find_startup_page(const char *entries, unsigned count, size_t stride)
{
    for (uint64_t page = 0xa0000 - MEMORY_PAGE; page > 0; page -= MEMORY_PAGE) {
        bool inside = false, clear = true;

        for (unsigned i = 0; i < count && clear; i++) {
            struct pvh_range r;

            memcpy(&r, entries + i * stride, sizeof r);
            uint64_t end = end_of(r.start, r.size);
            if (r.type == TYPE_RAM)
                inside |= r.start <= page && page + MEMORY_PAGE <= end;
            else
                clear = end <= page || page + MEMORY_PAGE <= r.start;
        }
        if (inside && clear)
            return page;
    }
    return 0;
}

/* Reads `count` entries of either map, `stride` bytes apart: their first five words are the same. */
static void parse_map(struct boot *found, const char *entries, unsigned count, size_t stride)
{
    struct pvh_range r;

    if (count > MAP_MAX) {
        chalk_log(CHALK_WARNING, "boot: the memory map has %u entries; those after %u are ignored", count,
                  MAP_MAX);
        count = MAP_MAX;
    }
    for (unsigned i = 0; i < count; i++) {
        memcpy(&r, entries + i * stride, sizeof r);
        if (r.type == TYPE_RAM)
            add_ram(found, &r);
    }
    merge_ram(found);
    for (unsigned i = 0; i < count; i++) {
        memcpy(&r, entries + i * stride, sizeof r);
        if (r.type != TYPE_RAM && r.size > 0)
            remove_ram(found, r.start, end_of(r.start, r.size));
    }
    found->startup_page = find_startup_page(entries, count, stride);
}

/* ---- text ---- */

/* Copies text that ends with a null character or after `limit` bytes. -E2BIG: it was cut off to fit. */
static int copy_text(char *to, size_t size, const char *text, size_t limit)
{
    size_t n = 0;

    while (n < limit && text[n] != '\0' && n + 1 < size) {
        to[n] = text[n];
        n++;
    }
    to[n] = '\0';
    return n < limit && text[n] != '\0' ? -E2BIG : 0;
}

/* The same for text in memory whose end is not known: byte by byte, for it may end where memory does. */
static int copy_text_at(const struct loader_memory *memory, char *to, size_t size, uint64_t address)
{
    const char *c = NULL;
    size_t n = 0;

    while (address != 0 && (c = memory->at(memory, address + n, 1)) != NULL && *c != '\0' && n + 1 < size)
        to[n++] = *c;
    to[n] = '\0';
    return c != NULL && *c != '\0' ? -E2BIG : 0;
}

static int too_long(const struct boot *found)
{
    chalk_log(CHALK_ERROR, "boot: the command line is longer than %zu characters; shorten it",
              sizeof found->command_line - 1);
    return -EINVAL;
}

/* ---- modules ---- */

/* A module's name is the last part of the first word of its command line, or its number. */
static void add_module(struct boot *found, uint64_t start, uint64_t size, const char *text)
{
    uint64_t end = end_of(start, size);
    size_t n = 0, last = 0;

    if (start >= end || end - start != size)
        return;
    if (found->module_count == sizeof found->modules / sizeof found->modules[0]) {
        chalk_log(CHALK_WARNING, "boot: more than %u modules; %s is ignored", found->module_count, text);
        return;
    }
    struct boot_module *module = &found->modules[found->module_count];
    *module = (struct boot_module){.start = start, .end = end};
    while (text[n] != '\0' && text[n] != ' ')
        if (text[n++] == '/')
            last = n;
    n -= last;
    if (n >= sizeof module->name)
        n = sizeof module->name - 1;
    if (n > 0)
        memcpy(module->name, text + last, n);
    else
        chalk_format(module->name, sizeof module->name, "module%u", found->module_count);
    found->module_count++;
}

/* Each that lies in free RAM takes its pages out of it, so that no two can have the same. */
static void claim_modules(struct boot *found)
{
    unsigned n = 0;

    for (unsigned i = 0; i < found->module_count; i++) {
        struct boot_module module = found->modules[i];
        const char *fault = NULL;

        if (module.start % MEMORY_PAGE != 0)
            fault = "does not begin on a page";
        else if (!is_ram(found, module.start, page_up(module.end)))
            fault = "is not in free memory";
        if (fault != NULL) {
            chalk_log(CHALK_WARNING, "boot: module %s at 0x%lx %s, and is ignored; update the loader",
                      module.name, (unsigned long)module.start, fault);
            continue;
        }
        remove_ram(found, module.start, module.end);
        found->modules[n++] = module;
    }
    found->module_count = n;
}

/* ---- the two loaders ---- */

static int parse_pvh(const struct loader_memory *memory, uint64_t address, struct boot *found)
{
    const void *start = memory->at(memory, address, sizeof(struct pvh_information)), *list;
    struct pvh_information info = {0};
    char text[MODULE_TEXT_MAX];

    if (start != NULL)
        memcpy(&info, start, sizeof info);
    if (info.magic != PVH_MAGIC || info.version < 1) {
        chalk_log(CHALK_ERROR,
                  "boot: the loader gave no PVH start information of version 1; boot by PVH or Multiboot2");
        return -EINVAL;
    }
    found->rsdp = info.rsdp;
    if (copy_text_at(memory, found->command_line, sizeof found->command_line, info.command_line) != 0)
        return too_long(found);
    for (unsigned i = 0; i < info.module_count && i < MAP_MAX; i++) {
        struct pvh_module module;

        list = memory->at(memory, info.modules + i * sizeof module, sizeof module);
        if (list == NULL)
            break;
        memcpy(&module, list, sizeof module);
        copy_text_at(memory, text, sizeof text, module.command_line);
        add_module(found, module.start, module.size, text);
    }
    list = memory->at(memory, info.map, info.map_count * sizeof(struct pvh_range));
    if (list != NULL)
        parse_map(found, list, info.map_count, sizeof(struct pvh_range));
    return 0;
}

/* The tag is a copy of the root pointer, which would go with the loader's memory: keep our own. */
static void copy_rsdp(struct boot *found, const char *bytes, size_t size)
{
    static char copy[64] __attribute__((aligned(16)));

    memset(copy, 0, sizeof copy);
    memcpy(copy, bytes, size < sizeof copy ? size : sizeof copy);
    found->rsdp = (uintptr_t)copy;
}

static void parse_module(struct boot *found, const char *body, size_t size)
{
    struct multiboot_module module;
    char text[MODULE_TEXT_MAX];

    if (size < sizeof module)
        return;
    memcpy(&module, body, sizeof module);
    copy_text(text, sizeof text, body + sizeof module, size - sizeof module);
    if (module.start < module.end)
        add_module(found, module.start, module.end - module.start, text);
}

static int parse_tag(struct boot *found, uint32_t type, const char *body, size_t size)
{
    struct multiboot_map map;

    switch (type) {
    case TAG_COMMAND_LINE:
        if (copy_text(found->command_line, sizeof found->command_line, body, size) != 0)
            return too_long(found);
        break;
    case TAG_MODULE:
        parse_module(found, body, size);
        break;
    case TAG_MAP:
        if (size < sizeof map)
            break;
        memcpy(&map, body, sizeof map);
        if (map.entry_size >= sizeof(struct pvh_range))
            parse_map(found, body + sizeof map, (unsigned)((size - sizeof map) / map.entry_size),
                      map.entry_size);
        break;
    case TAG_ACPI_OLD:
        if (found->rsdp == 0)
            copy_rsdp(found, body, size);
        break;
    case TAG_ACPI_NEW:
        copy_rsdp(found, body, size);
        break;
    }
    return 0;
}

static int parse_multiboot(const struct loader_memory *memory, uint64_t address, struct boot *found)
{
    const char *start = memory->at(memory, address, sizeof(struct multiboot_tag));
    uint32_t total = 0;

    if (start != NULL)
        memcpy(&total, start, sizeof total);
    if (start == NULL || total > INFORMATION_MAX || (start = memory->at(memory, address, total)) == NULL) {
        chalk_log(CHALK_ERROR, "boot: the loader's Multiboot2 information is broken; update the loader");
        return -EINVAL;
    }
    for (uint32_t offset = 8; offset + sizeof(struct multiboot_tag) <= total;) {
        struct multiboot_tag tag;

        memcpy(&tag, start + offset, sizeof tag);
        if (tag.type == TAG_END || tag.size < sizeof tag || tag.size > total - offset)
            break;
        int error = parse_tag(found, tag.type, start + offset + sizeof tag, tag.size - sizeof tag);
        if (error != 0)
            return error;
        offset += (tag.size + 7u) & ~7u;
    }
    return 0;
}

int loader_parse(const struct loader_memory *memory, uint32_t magic, uint64_t information,
                 struct boot_range image, struct boot *found)
{
    int error = -EINVAL;

    memset(found, 0, sizeof *found);
    if (magic == MULTIBOOT2_LOADER)
        error = parse_multiboot(memory, information, found);
    else if (magic == 0)
        error = parse_pvh(memory, information, found);
    else
        chalk_log(CHALK_ERROR, "boot: started by an unknown loader (eax %#x); boot by PVH or Multiboot2",
                  magic);
    if (error != 0)
        return error;
    remove_ram(found, image.start, image.end);
    claim_modules(found);
    sort_ram(found);
    return 0;
}
