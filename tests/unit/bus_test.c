/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bare-metal scan of the PCI bus and its reading of headers, on a bus that is an array of configuration
 * spaces.
 */
#include "baremetal/x86_64/machine.h"
#include "baremetal/x86_64/pci.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_FUNCTIONS = 400 };

static struct function {
    unsigned bus, slot;
    uint8_t config[256];
    uint32_t writable[6]; /* bits of each base address register */
} functions[MAX_FUNCTIONS];
static unsigned function_count;
static unsigned probed_while_decoding, warnings;
static struct pci_range ranges_of_test[PCI_MAX_RANGES];

void chalk_log(enum chalk_level level, const char *format, ...)
{
    (void)format;
    warnings += level <= CHALK_WARNING;
}

unsigned pci_ranges(struct pci_range ranges[PCI_MAX_RANGES])
{
    memcpy(ranges, ranges_of_test, sizeof(ranges_of_test));
    return 1;
}

static struct function *function_of(const struct chalk_device *device)
{
    for (unsigned i = 0; i < function_count; i++)
        if (functions[i].bus == device->bus && functions[i].slot == device->slot)
            return &functions[i];
    return NULL;
}

uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    const struct function *function = function_of(device);
    uint32_t value = 0;

    assert_true(offset % width == 0 && offset + width <= 256);
    if (function == NULL)
        return UINT32_MAX >> (32 - 8 * width);
    memcpy(&value, function->config + offset, width);
    return value;
}

void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    struct function *function = function_of(device);

    assert_true(function != NULL && offset % width == 0 && offset + width <= 256);
    if (offset >= PCI_BAR && offset < PCI_BAR + 24) {
        uint32_t old;

        memcpy(&old, function->config + offset, 4);
        uint32_t mask = function->writable[(offset - PCI_BAR) / 4];
        value = (old & ~mask) | (value & mask);
        probed_while_decoding += (function->config[CHALK_PCI_COMMAND] & 3) != 0;
    }
    memcpy(function->config + offset, &value, width);
}

static void set(struct function *function, unsigned offset, unsigned width, uint32_t value)
{
    memcpy(function->config + offset, &value, width);
}

static struct function *add(unsigned bus, unsigned slot, uint32_t class_code)
{
    struct function *function = &functions[function_count++];

    assert_true(function_count <= MAX_FUNCTIONS);
    memset(function, 0, sizeof(*function));
    function->bus = bus;
    function->slot = slot;
    set(function, 0, 4, 0x00101b36);
    set(function, CHALK_PCI_COMMAND, 2, 7);
    set(function, PCI_REVISION, 4, class_code << 8 | 2);
    set(function, PCI_SUBSYSTEM, 4, 0x11001af4);
    return function;
}

static struct function *add_bridge(unsigned bus, unsigned slot, unsigned secondary, unsigned last)
{
    struct function *bridge = add(bus, slot, 0x060400);

    set(bridge, PCI_HEADER_TYPE, 1, 1);
    set(bridge, PCI_BRIDGE_BUSES, 4, bus | secondary << 8 | last << 16);
    return bridge;
}

static void add_capability(struct function *function, unsigned at, uint8_t id, uint8_t next)
{
    set(function, CHALK_PCI_STATUS, 2, CHALK_PCI_STATUS_CAPS);
    set(function, at, 2, id | (uint32_t)next << 8);
}

static struct chalk_device device_at(unsigned bus, unsigned slot)
{
    return (struct chalk_device){.bus = (uint8_t)bus, .slot = (uint8_t)slot};
}

/* The names on the bus, each with a space before it. */
static const char *scan(void)
{
    static char names[MAX_FUNCTIONS * 16];
    struct chalk_bus_info info = {0};

    names[0] = '\0';
    assert_int_equal(pci_start(), 0);
    while (chalk_bus_next(&info) == 0)
        strcat(strcat(names, " "), info.name + 5);
    return names;
}

static int setup(void **state)
{
    (void)state;
    function_count = probed_while_decoding = warnings = 0;
    ranges_of_test[0] = (struct pci_range){.first = 0, .last = 255};
    return 0;
}

/* ---- headers -------------------------------------------------------------------------------------- */

static void base_addresses_are_sized_and_put_back(void **state)
{
    struct function *function = add(0, 8, 0x010802), before;
    struct chalk_device device = device_at(0, 8);

    (void)state;
    set(function, PCI_BAR, 4, 0xfe800004); /* 64 bits, 16 KiB, above 512 GiB */
    set(function, PCI_BAR + 4, 4, 0xe0);
    function->writable[0] = 0xffffc000;
    function->writable[1] = 0xffffffff;
    set(function, PCI_BAR + 8, 4, 0xc041); /* 32 ports, sixteen bits of address */
    function->writable[2] = 0xffe0;
    set(function, PCI_BAR + 12, 4, 0xfeb40008); /* 32 bits, prefetchable, 256 KiB */
    function->writable[3] = 0xfffc0000;
    set(function, PCI_BAR + 16, 4, 0x0000000c); /* 64 bits, 16 GiB, without an address */
    function->writable[5] = 0xfffffffc;
    before = *function;
    pci_size_bars(&device);
    assert_memory_equal(function, &before, sizeof(before));
    assert_int_equal(probed_while_decoding, 0);
    assert_true(device.bars[0].memory);
    assert_int_equal(device.bars[0].base, 0xe0fe800000);
    assert_int_equal(device.bars[0].size, 0x4000);
    assert_int_equal(device.bars[1].size, 0);
    assert_false(device.bars[2].memory);
    assert_int_equal(device.bars[2].base, 0xc040);
    assert_int_equal(device.bars[2].size, 32);
    assert_int_equal(device.bars[3].base, 0xfeb40000);
    assert_int_equal(device.bars[3].size, 0x40000);
    assert_int_equal(device.bars[4].base, 0);
    assert_int_equal(device.bars[4].size, 16ull << 30);
}

static void base_addresses_that_cannot_be_are_absent(void **state)
{
    static const struct {
        unsigned index;
        uint32_t value, writable;
    } lies[] = {
        {0, 0, 0},                   /* nothing there */
        {0, 0xfe800000, 0xfffd0000}, /* a hole in the mask */
        {0, 0xfe801000, 0xffffc000}, /* an address that is no multiple of the size */
        {0, 0xfe800002, 0xffffc000}, /* below 1 MiB: reserved since PCI 3.0 */
        {0, 0xfe800006, 0xffffc000}, /* reserved */
        {5, 0xfe800004, 0xffffc000}, /* 64 bits in the last register */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        function_count = 0;
        struct function *function = add(0, 8, 0x010802);
        struct chalk_device device = device_at(0, 8);
        set(function, PCI_BAR + 4 * lies[i].index, 4, lies[i].value);
        function->writable[lies[i].index] = lies[i].writable;
        pci_size_bars(&device);
        for (unsigned bar = 0; bar < 6; bar++)
            assert_int_equal(device.bars[bar].size, 0);
    }
}

static void capabilities_are_found(void **state)
{
    struct function *function = add(0, 8, 0x010802);
    struct chalk_device device = device_at(0, 8);

    (void)state;
    set(function, CHALK_PCI_CAPABILITIES, 1, 0x43); /* the low bits are reserved */
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSIX), 0);
    add_capability(function, 0x40, CHALK_PCI_CAP_MSIX, 0x80);
    add_capability(function, 0x80, CHALK_PCI_CAP_EXPRESS, 0);
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSIX), 0x40);
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_EXPRESS), 0x80);
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSI), 0);
}

static void capability_lists_that_never_end_do(void **state)
{
    struct function *function = add(0, 8, 0x010802);
    struct chalk_device device = device_at(0, 8), absent = device_at(9, 0);

    (void)state;
    set(function, CHALK_PCI_CAPABILITIES, 1, 0x40);
    add_capability(function, 0x40, CHALK_PCI_CAP_MSIX, 0x80);
    add_capability(function, 0x80, CHALK_PCI_CAP_EXPRESS, 0x40);
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSI), 0);
    add_capability(function, 0x80, CHALK_PCI_CAP_EXPRESS, 0x08); /* into the header */
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSI), 0);
    add_capability(function, 0x80, CHALK_PCI_CAP_EXPRESS, 0xff);
    assert_int_equal(pci_capability(&device, CHALK_PCI_CAP_MSI), 0);
    assert_int_equal(pci_capability(&absent, CHALK_PCI_CAP_MSI), 0); /* all ones */
}

/* ---- the scan ------------------------------------------------------------------------------------- */

static void endpoints_lose_bus_mastering_and_bridges_keep_it(void **state)
{
    struct function *host = add(0, 0, 0x060000), *nvme = add(0, 8, 0x010802),
                    *bridge = add_bridge(0, 16, 1, 1);
    struct function *behind = add(1, 0, 0x020000);

    (void)state;
    assert_string_equal(scan(), " 00:00.0 00:01.0 00:02.0 01:00.0");
    assert_int_equal(host->config[CHALK_PCI_COMMAND], 7);
    assert_int_equal(nvme->config[CHALK_PCI_COMMAND], 3);
    assert_int_equal(bridge->config[CHALK_PCI_COMMAND], 7);
    assert_int_equal(behind->config[CHALK_PCI_COMMAND], 3);
    assert_ptr_equal(pci_device(3)->bridge, pci_device(2));
    assert_null(pci_device(4));

    struct chalk_bus_info info = {.cursor = 1};
    assert_int_equal(chalk_bus_next(&info), 0);
    assert_string_equal(info.name, "0000:00:01.0");
    assert_int_equal(info.vendor, 0x1b36);
    assert_int_equal(info.device, 0x0010);
    assert_int_equal(info.subsystem_vendor, 0x1af4);
    assert_int_equal(info.subsystem_device, 0x1100);
    assert_int_equal(info.class_code, 0x010802);
    assert_int_equal(info.revision, 2);
}

static void functions_beyond_the_first_need_the_header_to_say_so(void **state)
{
    struct function *first = add(0, 8, 0x010802);

    (void)state;
    add(0, 8 + 5, 0x010802);
    assert_string_equal(scan(), " 00:01.0");
    set(first, PCI_HEADER_TYPE, 1, PCI_HEADER_MULTIPLE);
    assert_string_equal(scan(), " 00:01.0 00:01.5");
}

static void a_port_leads_to_device_0_only(void **state)
{
    struct function *port = add_bridge(0, 8, 1, 1);

    (void)state;
    add(1, 0, 0x010802);
    add(1, 8, 0x010802); /* the same card once more */
    assert_string_equal(scan(), " 00:01.0 01:00.0 01:01.0");
    set(port, CHALK_PCI_CAPABILITIES, 1, 0x40);
    add_capability(port, 0x40, CHALK_PCI_CAP_EXPRESS, 0);
    set(port, 0x42, 2, 4 << 4 | 2); /* a root port */
    assert_string_equal(scan(), " 00:01.0 01:00.0");
}

static void bridges_that_lie_make_no_loop(void **state)
{
    (void)state;
    add_bridge(0, 8, 1, 3);
    struct function *liar = add_bridge(0, 16, 1, 1); /* to the same bus */
    add_bridge(0, 24, 0, 255);                       /* to its own */
    add_bridge(0, 32, 200, 50);                      /* backwards */
    add_bridge(1, 0, 2, 2);
    add_bridge(2, 0, 1, 3); /* back up */
    add_bridge(2, 8, 3, 255);
    add(3, 0, 0x010802);
    assert_string_equal(scan(), " 00:01.0 00:02.0 00:03.0 00:04.0 01:00.0 02:00.0 02:01.0 03:00.0");
    assert_int_equal(warnings, 4);
    assert_int_equal(functions[0].config[CHALK_PCI_COMMAND], 7);
    assert_int_equal(liar->config[CHALK_PCI_COMMAND], 3); /* nothing behind it reaches memory */
    ranges_of_test[0].last = 0;                           /* configuration space for one bus */
    assert_string_equal(scan(), " 00:01.0 00:02.0 00:03.0 00:04.0");
}

static void other_root_buses_are_found(void **state)
{
    (void)state;
    add_bridge(0, 8, 1, 4);
    add(2, 0, 0x010802);    /* below the bridge, which does not lead there */
    add(0x80, 0, 0x060000); /* a root of its own */
    add(0x80, 40, 0x010802);
    assert_string_equal(scan(), " 00:01.0 80:00.0 80:05.0");
}

static void a_full_bus_is_cut_but_quieted(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        add(i / 256, i % 256, 0x010802);
        set(&functions[i], PCI_HEADER_TYPE, 1, PCI_HEADER_MULTIPLE);
    }
    scan();
    assert_non_null(pci_device(255));
    assert_null(pci_device(256));
    assert_int_equal(warnings, 1);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(functions[i].config[CHALK_PCI_COMMAND], 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(base_addresses_are_sized_and_put_back, setup),
        cmocka_unit_test_setup(base_addresses_that_cannot_be_are_absent, setup),
        cmocka_unit_test_setup(capabilities_are_found, setup),
        cmocka_unit_test_setup(capability_lists_that_never_end_do, setup),
        cmocka_unit_test_setup(endpoints_lose_bus_mastering_and_bridges_keep_it, setup),
        cmocka_unit_test_setup(functions_beyond_the_first_need_the_header_to_say_so, setup),
        cmocka_unit_test_setup(a_port_leads_to_device_0_only, setup),
        cmocka_unit_test_setup(bridges_that_lie_make_no_loop, setup),
        cmocka_unit_test_setup(other_root_buses_are_found, setup),
        cmocka_unit_test_setup(a_full_bus_is_cut_but_quieted, setup),
    };
    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
