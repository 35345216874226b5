/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Terms are looked at one after the other; one that is of no kind below ends its list, so that what follows
 * is unknown. Every step goes forward, and lists in lists are followed to a bounded depth. Numbers in
 * comments: ACPI 6.5.
 */
#include "acpi_aml.h"

#include <string.h>

enum { /* 20.3 */
       OP_ZERO = 0x00,
       OP_ONE = 0x01,
       OP_NAME = 0x08,
       OP_BYTE = 0x0a,
       OP_WORD = 0x0b,
       OP_DWORD = 0x0c,
       OP_STRING = 0x0d,
       OP_QWORD = 0x0e,
       OP_SCOPE = 0x10,
       OP_BUFFER = 0x11,
       OP_PACKAGE = 0x12,
       OP_VARIABLE_PACKAGE = 0x13,
       OP_METHOD = 0x14,
       OP_DUAL_NAME = 0x2e,
       OP_MULTI_NAME = 0x2f,
       OP_EXTENDED = 0x5b,
       OP_DEVICE = 0x82, /* behind OP_EXTENDED */
       OP_RETURN = 0xa4,
       OP_ONES = 0xff,
       DEPTH_MAX = 8,
};

enum { /* 6.4.3.5: address space descriptors, and what they describe */
       RESOURCE_LARGE = 0x80,
       RESOURCE_DWORD = 0x87,
       RESOURCE_WORD = 0x88,
       RESOURCE_QWORD = 0x8a,
       RESOURCE_END = 0x0f, /* of a small item, without its length */
       KIND_MEMORY = 0,
       KIND_BUSES = 2,
};

struct bytes {
    const uint8_t *at;
    size_t size;
};

/* What is known of one device. */
struct device {
    bool has_base, has_buses;
    uint64_t base, segment, first, last;
    struct bytes resources;
};

static struct bytes after(struct bytes in, size_t count)
{
    return count < in.size ? (struct bytes){in.at + count, in.size - count} : (struct bytes){0};
}

static uint64_t get(struct bytes in, size_t offset, size_t width)
{
    uint64_t value = 0;

    if (offset < in.size && width <= in.size - offset)
        memcpy(&value, in.at + offset, width);
    return value;
}

size_t aml_package(const uint8_t *bytes, size_t size, size_t *field)
{
    size_t length, extra = size > 0 ? bytes[0] >> 6 : 0;

    if (size <= extra)
        return 0;
    length = bytes[0] & (extra != 0 ? 0x0f : 0x3f);
    for (size_t i = 0; i < extra; i++)
        length |= (size_t)bytes[1 + i] << (4 + 8 * i);
    *field = extra + 1;
    return length > extra && length <= size ? length : 0;
}

/* The length of a name; `last` is its last part (20.2.2). 0: it is none. */
static size_t name_length(struct bytes in, char last[4])
{
    size_t n = 0, parts = 1;

    memset(last, 0, 4);
    while (n < in.size && (in.at[n] == '\\' || in.at[n] == '^'))
        n++;
    if (n == in.size)
        return 0;
    if (in.at[n] == 0)
        return n + 1;
    if (in.at[n] == OP_DUAL_NAME) {
        parts = 2;
        n += 1;
    } else if (in.at[n] == OP_MULTI_NAME) {
        parts = get(in, n + 1, 1);
        n += 2;
    }
    if (parts == 0 || n > in.size || 4 * parts > in.size - n)
        return 0;
    n += 4 * parts;
    memcpy(last, in.at + n - 4, 4);
    return last[0] == '_' || (last[0] >= 'A' && last[0] <= 'Z') ? n : 0;
}

/* The length of a constant integer (20.2.3), 0: it is none. */
static size_t integer(struct bytes in, uint64_t *value)
{
    unsigned op = in.size > 0 ? in.at[0] : 0x100;
    size_t width = op == OP_BYTE ? 1 : op == OP_WORD ? 2 : op == OP_DWORD ? 4 : op == OP_QWORD ? 8 : 0;

    *value = width != 0 ? get(in, 1, width) : op == OP_ONES ? UINT64_MAX : op;
    if (width == 0)
        return op == OP_ZERO || op == OP_ONE || op == OP_ONES;
    return width < in.size ? 1 + width : 0;
}

/* The length of what a name stands for, 0: it is of no kind that is read here. */
static size_t data_length(struct bytes in)
{
    uint64_t value;
    size_t length = integer(in, &value), field;
    const uint8_t *end;

    if (length != 0 || in.size == 0)
        return length;
    switch (in.at[0]) {
    case OP_STRING:
        end = memchr(in.at, 0, in.size);
        return end != NULL ? (size_t)(end - in.at) + 1 : 0;
    case OP_BUFFER:
    case OP_PACKAGE:
    case OP_VARIABLE_PACKAGE:
        length = aml_package(in.at + 1, in.size - 1, &field);
        return length != 0 ? 1 + length : 0;
    default:
        return 0;
    }
}

/* What is in a buffer: its size stands before it (20.2.5.4). */
static struct bytes buffer(struct bytes in)
{
    uint64_t size;
    size_t field,
        length = in.size > 1 && in.at[0] == OP_BUFFER ? aml_package(in.at + 1, in.size - 1, &field) : 0;

    if (length == 0)
        return (struct bytes){0};
    struct bytes inside = after((struct bytes){in.at + 1, length}, field);
    size_t width = integer(inside, &size);
    inside = width != 0 ? after(inside, width) : (struct bytes){0};
    return inside.size < size ? inside : (struct bytes){inside.at, size};
}

/* ---- resources ---- */

static void add_window(struct acpi *found, uint64_t first, uint64_t last)
{
    if (first != 0 && first <= last && last < 1ull << 52 && found->window_count < ACPI_MAX_WINDOWS) {
        found->windows[found->window_count].start = first;
        found->windows[found->window_count++].end = last + 1;
    }
}

static void read_resources(struct device *device, struct bytes in, struct acpi *found)
{
    while (in.size > 1) {
        unsigned tag = in.at[0];
        size_t length = tag & RESOURCE_LARGE ? 3 + get(in, 1, 2) : 1 + (tag & 7);
        size_t width = tag == RESOURCE_WORD ? 2 : tag == RESOURCE_DWORD ? 4 : tag == RESOURCE_QWORD ? 8 : 0;

        if (length > in.size || (!(tag & RESOURCE_LARGE) && tag >> 3 == RESOURCE_END))
            return;
        if (width != 0 && length >= 6 + 5 * width) {
            uint64_t first = get(in, 6 + width, width), last = get(in, 6 + 2 * width, width);
            bool moved =
                get(in, 6 + 3 * width, width) != 0; /* translated: what the processor sees is elsewhere */

            if (in.at[3] == KIND_BUSES && !device->has_buses) {
                device->first = first, device->last = last;
                device->has_buses = true;
            } else if (in.at[3] == KIND_MEMORY && !moved && found != NULL) {
                add_window(found, first, last);
            }
        }
        in = after(in, length);
    }
}

/* ---- devices ---- */

static void add_bridge(struct device *device, struct acpi *found)
{
    const uint64_t bus_size = 1 << 20;

    if (!device->has_base || found->segment_count == ACPI_MAX_SEGMENTS)
        return;
    read_resources(device, device->resources, NULL);
    if (!device->has_buses || device->first > device->last || device->last > 255 || device->base == 0 ||
        device->base % bus_size != 0 || device->base >= 1ull << 52 || device->segment > UINT16_MAX)
        return;
    for (unsigned i = 0; i < found->segment_count; i++)
        if (found->segments[i].segment == device->segment && device->first <= found->segments[i].last_bus &&
            device->last >= found->segments[i].first_bus)
            return;
    found->segments[found->segment_count].base = device->base;
    found->segments[found->segment_count].segment = (uint16_t)device->segment;
    found->segments[found->segment_count].first_bus = (uint8_t)device->first;
    found->segments[found->segment_count++].last_bus = (uint8_t)device->last;
    read_resources(device, device->resources, found);
}

static void read_name(struct device *device, const char name[4], struct bytes value)
{
    uint64_t number;

    if (device == NULL)
        return;
    if (memcmp(name, "_CBA", 4) == 0)
        device->has_base = integer(value, &device->base) != 0;
    else if (memcmp(name, "_SEG", 4) == 0 && integer(value, &number) != 0)
        device->segment = number;
    else if (memcmp(name, "_CRS", 4) == 0)
        device->resources = buffer(value);
}

/* A method that returns a constant is as good as a name; what others do is not known (20.2.5.2). */
static void read_method(struct device *device, struct bytes body)
{
    char name[4];
    size_t length = name_length(body, name);

    body = length != 0 ? after(body, length + 1) : (struct bytes){0}; /* its flags */
    if (body.size > 1 && body.at[0] == OP_RETURN)
        read_name(device, name, after(body, 1));
}

static void read_terms(struct bytes in, unsigned depth, struct device *device, struct acpi *found);

/* Returns the length of the first term, 0: it is of no kind that is known. */
static size_t read_term(struct bytes in, unsigned depth, struct device *device, struct acpi *found)
{
    bool is_device = in.size > 2 && in.at[0] == OP_EXTENDED && in.at[1] == OP_DEVICE;
    size_t head = is_device ? 2 : 1, field = 0, length, name_size;
    struct bytes body;
    char name[4];

    if (in.size > 1 && in.at[0] == OP_NAME) {
        name_size = name_length(after(in, 1), name);
        body = after(in, 1 + name_size);
        length = name_size != 0 ? data_length(body) : 0;
        if (length == 0)
            return 0;
        read_name(device, name, (struct bytes){body.at, length});
        return 1 + name_size + length;
    }
    if (in.size <= head || (!is_device && in.at[0] != OP_SCOPE && in.at[0] != OP_METHOD))
        return 0;
    length = aml_package(in.at + head, in.size - head, &field);
    if (length == 0)
        return 0;
    body = after((struct bytes){in.at + head, length}, field);
    if (!is_device && in.at[0] == OP_METHOD) {
        read_method(device, body);
    } else if (depth > 0 && (name_size = name_length(body, name)) != 0) {
        struct device inside = {.has_base = false};

        read_terms(after(body, name_size), depth - 1, &inside, found);
        if (is_device)
            add_bridge(&inside, found);
    }
    return head + length;
}

static void read_terms(struct bytes in, unsigned depth, struct device *device, struct acpi *found)
{
    size_t length;

    while (in.size > 0 && (length = read_term(in, depth, device, found)) != 0)
        in = after(in, length);
}

void aml_host_bridges(const uint8_t *bytes, size_t size, struct acpi *found)
{
    read_terms((struct bytes){bytes, size}, DEPTH_MAX, NULL, found);
}
