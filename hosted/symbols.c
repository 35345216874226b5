/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which function a place is in: the mapping is in /proc/self/maps (proc(5)), and the function in the symbols
 * of that file (elf(5)), which name static ones, too; dladdr(3) does not, and takes a lock. Whatever the file
 * says is checked against its size, since it may have been replaced.
 */
#define _GNU_SOURCE
#include "symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chalk/log.h>
#include <chalk/stack.h>

bool hosted_memory_read(uintptr_t address, void *bytes, size_t size)
{
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && pread(fd, bytes, size, (off_t)address) == (ssize_t)size;

    if (fd >= 0)
        close(fd);
    return done;
}

/* ---- the mapping ---- */

struct line {
    int fd;
    char buffer[512];
    size_t used, next; /* bytes in the buffer; of those, the ones that were handed out */
};

static bool next_char(struct line *line, char *c)
{
    if (line->next == line->used) {
        ssize_t size = read(line->fd, line->buffer, sizeof line->buffer);

        if (size <= 0)
            return false;
        line->used = (size_t)size;
        line->next = 0;
    }
    *c = line->buffer[line->next++];
    return true;
}

/* The next line without its newline; what does not fit is dropped. */
static bool next_line(struct line *line, char *text, size_t size)
{
    size_t length = 0;
    char c;

    while (next_char(line, &c) && c != '\n')
        if (length + 1 < size)
            text[length++] = c;
    text[length] = '\0';
    return length != 0;
}

static uint64_t hex(const char **text)
{
    uint64_t value = 0;

    for (;; ++*text) {
        char c = **text;

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return value;
    }
}

/* Lines are "first-end perms offset device inode path". `offset`: of the address in the file. */
static bool parse_mapping(const char *text, uintptr_t address, struct hosted_place *place, uint64_t *offset)
{
    uint64_t first = hex(&text), end;
    const char *path;

    end = *text++ == '-' ? hex(&text) : 0;
    if (address < first || address >= end || strlen(text) < 6)
        return false;
    place->executable = text[3] == 'x';
    text += 6;
    *offset = hex(&text) + (address - first);
    path = strchr(text, '/');
    if (path != NULL)
        chalk_format(place->file, sizeof place->file, "%s", path);
    return true;
}

static bool find_mapping(uintptr_t address, struct hosted_place *place, uint64_t *offset)
{
    struct line line = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    char text[256];
    bool found = false;

    while (line.fd >= 0 && !found && next_line(&line, text, sizeof text))
        found = parse_mapping(text, address, place, offset);
    if (line.fd >= 0)
        close(line.fd);
    return found;
}

/* ---- the symbols ---- */

struct image {
    const unsigned char *bytes;
    size_t size;
};

/* `count` structures of `each` bytes at `offset` of the file, or NULL. */
static const void *part(const struct image *image, uint64_t offset, uint64_t count, size_t each)
{
    if (offset > image->size || count > (image->size - offset) / each || offset % 8 != 0)
        return NULL;
    return image->bytes + offset;
}

static void name_function(const struct image *image, const Elf64_Shdr *table, const Elf64_Shdr *names,
                          uint64_t address, struct hosted_place *place)
{
    const Elf64_Sym *symbols =
        part(image, table->sh_offset, table->sh_size / sizeof *symbols, sizeof *symbols);

    if (symbols == NULL || names->sh_offset > image->size || names->sh_size > image->size - names->sh_offset)
        return;
    for (uint64_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const Elf64_Sym *symbol = &symbols[i];
        uint64_t room = symbol->st_name < names->sh_size ? names->sh_size - symbol->st_name : 0;

        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || address - symbol->st_value >= symbol->st_size ||
            room == 0)
            continue;
        chalk_format(place->function, sizeof place->function, "%.*s", (int)(room < 63 ? room : 63),
                     (const char *)image->bytes + names->sh_offset + symbol->st_name);
        place->start -= address - symbol->st_value; /* was the address in memory */
        return;
    }
}

/* Of .symtab, or where that was stripped away .dynsym. */
static void find_function(const struct image *image, uint64_t offset, struct hosted_place *place)
{
    const Elf64_Ehdr *header = part(image, 0, 1, sizeof *header);
    const Elf64_Phdr *segments;
    const Elf64_Shdr *sections;
    uint64_t address = offset;

    if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64)
        return;
    segments = part(image, header->e_phoff, header->e_phnum, sizeof *segments);
    sections = part(image, header->e_shoff, header->e_shnum, sizeof *sections);
    for (unsigned i = 0; segments != NULL && i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && offset - segments[i].p_offset < segments[i].p_filesz)
            address = offset - segments[i].p_offset + segments[i].p_vaddr;
    place->address = address;
    for (unsigned type = SHT_SYMTAB; sections != NULL; type = SHT_DYNSYM) {
        for (unsigned i = 0; i < header->e_shnum && place->function[0] == '\0'; i++)
            if (sections[i].sh_type == type && sections[i].sh_link < header->e_shnum)
                name_function(image, &sections[i], &sections[sections[i].sh_link], address, place);
        if (type == SHT_DYNSYM || place->function[0] != '\0')
            return;
    }
}

static void read_file(uint64_t offset, struct hosted_place *place)
{
    int fd = open(place->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct image image = {.bytes = MAP_FAILED};
    struct stat file;

    if (fd < 0)
        return;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_size > 0) {
        image.size = (size_t)file.st_size;
        image.bytes = mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    close(fd);
    if (image.bytes == MAP_FAILED)
        return;
    find_function(&image, offset, place);
    munmap((void *)(uintptr_t)image.bytes, image.size);
}

bool hosted_place_find(uintptr_t address, struct hosted_place *place)
{
    uint64_t offset = 0;

    *place = (struct hosted_place){.start = address};
    if (!find_mapping(address, place, &offset))
        return false;
    place->address = offset;
    if (place->executable && place->file[0] != '\0')
        read_file(offset, place);
    return true;
}

void hosted_place_format(uintptr_t address, const struct hosted_place *place, char *text, size_t size)
{
    if (place->file[0] == '\0')
        chalk_format(text, size, "0x%lx", (unsigned long)address);
    else if (place->function[0] == '\0')
        chalk_format(text, size, "%s(+0x%lx)", place->file, (unsigned long)place->address);
    else
        chalk_format(text, size, "%s+0x%lx in %s(+0x%lx)", place->function,
                     (unsigned long)(address - place->start), place->file, (unsigned long)place->address);
}

void chalk_stack_name(uintptr_t address, char *text, size_t size)
{
    struct hosted_place place;

    (void)hosted_place_find(address, &place);
    hosted_place_format(address, &place, text, size);
}
