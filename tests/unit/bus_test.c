/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bare-metal scan of the PCI bus, its reading of headers, and which addresses of an opened device it
 * believes, on a bus that is an array of configuration spaces.
 */
#include "baremetal/x86_64/machine.h"
#include "baremetal/x86_64/pci.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/mmio.h>
#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_FUNCTIONS = 4000 };

static struct function {
    unsigned bus, slot;
    uint8_t config[CHALK_PCI_EXTENDED_SIZE];
    uint32_t writable[6];    /* bits of each base address register */
    struct function *parent; /* topologies: the bridge that it is behind */
} functions[MAX_FUNCTIONS];
static struct function *map[256][256]; /* by bus and slot */
static unsigned function_count;
static unsigned probed_while_decoding, warnings;
static struct pci_range ranges_of_test[PCI_MAX_RANGES];
static unsigned blocks_left; /* of memory for the list */

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

void *memory_take(uint64_t size)
{
    static void *blocks[64]; /* as in the image, they are never given back */
    static unsigned count;

    if (blocks_left == 0)
        return NULL;
    blocks_left--;
    assert_true(count < 64);
    return blocks[count++] = malloc(size);
}

/* The rest of the machine that devices are opened on. */
struct acpi acpi;
static struct chalk_domain {
    unsigned devices;
} domain;
static uint64_t ticks;

unsigned long long fake_ticks(void)
{
    return ticks += 1000;
}

const struct chalk_clock *chalk_clock_info(void)
{
    static const struct chalk_clock clock = {
        .hertz = 1000000000, .ns_mult = 1ull << 32, .ticks_mult = 1ull << 32};

    return &clock;
}

void chalk_assert_failed(const char *expression, const char *file, int line)
{
    _fail(file, line);
    print_error("%s\n", expression);
    abort();
}

void chalk_misuse(const char *format, ...)
{
    _fail(__FILE__, __LINE__);
    print_error("%s\n", format);
    abort();
}

const char *chalk_error_name(int error)
{
    (void)error;
    return "an error";
}

uint64_t interrupt_registers(void)
{
    return 0xfee00000;
}

struct chalk_domain *domain_join(struct chalk_domain *joined)
{
    (void)joined;
    domain.devices++;
    return &domain;
}

void domain_leave(struct chalk_domain *left)
{
    left->devices--;
}

void msi_reset(struct chalk_device *device)
{
    (void)device;
}

void msi_restore(struct chalk_device *device)
{
    (void)device;
}

int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute)
{
    (void)physical, (void)size, (void)attribute;
    return 0;
}

static struct function *function_of(const struct chalk_device *device)
{
    return map[device->bus][device->slot];
}

uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    const struct function *function = function_of(device);
    uint32_t value = 0;

    assert_true(offset % width == 0 && offset + width <= CHALK_PCI_EXTENDED_SIZE);
    if (function == NULL)
        return UINT32_MAX >> (32 - 8 * width);
    memcpy(&value, function->config + offset, width);
    return value;
}

void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    struct function *function = function_of(device);

    assert_true(function != NULL && offset % width == 0 && offset + width <= CHALK_PCI_EXTENDED_SIZE);
    if (offset >= CHALK_PCI_BAR && offset < CHALK_PCI_BAR + 24) {
        uint32_t old;

        memcpy(&old, function->config + offset, 4);
        uint32_t mask = function->writable[(offset - CHALK_PCI_BAR) / 4];
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
    map[bus][slot] = function;
    set(function, 0, 4, 0x00101b36);
    set(function, CHALK_PCI_COMMAND, 2, 7);
    set(function, CHALK_PCI_REVISION, 4, class_code << 8 | 2);
    set(function, CHALK_PCI_SUBSYSTEM, 4, 0x11001af4);
    return function;
}

static struct function *add_bridge(unsigned bus, unsigned slot, unsigned secondary, unsigned last)
{
    struct function *bridge = add(bus, slot, 0x060400);

    set(bridge, CHALK_PCI_HEADER_TYPE, 1, 1);
    set(bridge, CHALK_PCI_BRIDGE_BUSES, 4, bus | secondary << 8 | last << 16);
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
    memset(map, 0, sizeof(map));
    blocks_left = UINT32_MAX;
    ranges_of_test[0] = (struct pci_range){.first = 0, .last = 255};
    return 0;
}

/* ---- headers -------------------------------------------------------------------------------------- */

static void base_addresses_are_sized_and_put_back(void **state)
{
    struct function *function = add(0, 8, 0x010802), before;
    struct chalk_device device = device_at(0, 8);

    (void)state;
    set(function, CHALK_PCI_BAR, 4, 0xfe800004); /* 64 bits, 16 KiB, above 512 GiB */
    set(function, CHALK_PCI_BAR + 4, 4, 0xe0);
    function->writable[0] = 0xffffc000;
    function->writable[1] = 0xffffffff;
    set(function, CHALK_PCI_BAR + 8, 4, 0xc041); /* 32 ports, sixteen bits of address */
    function->writable[2] = 0xffe0;
    set(function, CHALK_PCI_BAR + 12, 4, 0xfeb40008); /* 32 bits, prefetchable, 256 KiB */
    function->writable[3] = 0xfffc0000;
    set(function, CHALK_PCI_BAR + 16, 4, 0x0000000c); /* 64 bits, 16 GiB, without an address */
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
        setup(NULL);
        struct function *function = add(0, 8, 0x010802);
        struct chalk_device device = device_at(0, 8);
        set(function, CHALK_PCI_BAR + 4 * lies[i].index, 4, lies[i].value);
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
    set(first, CHALK_PCI_HEADER_TYPE, 1, CHALK_PCI_HEADER_MULTIPLE);
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
    add_bridge(1, 0, 2, 3);
    add_bridge(2, 0, 1, 3);   /* back up */
    add_bridge(2, 8, 3, 255); /* further than those above it pass on */
    add(3, 0, 0x010802);
    add_bridge(3, 8, 4, 255); /* where nothing arrives */
    assert_string_equal(scan(), " 00:01.0 00:02.0 00:03.0 00:04.0 01:00.0 02:00.0 02:01.0 03:00.0 03:01.0");
    assert_int_equal(warnings, 5);
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
    struct function *far_bridge =
        add_bridge(0xc0, 31 << 3, 0xc1, 0xc1); /* the first device has the last number */
    add(0xc1, 0, 0x010802);
    assert_string_equal(scan(), " 00:01.0 80:00.0 80:05.0 c0:1f.0 c1:00.0");
    assert_int_equal(far_bridge->config[CHALK_PCI_COMMAND], 7);
    for (unsigned i = 0; i < function_count; i++)
        if (functions[i].config[CHALK_PCI_HEADER_TYPE] == 0 &&
            functions[i].config[CHALK_PCI_REVISION + 3] != 6)
            assert_int_equal(functions[i].config[CHALK_PCI_COMMAND], 3); /* what is not listed, too */
}

static void a_bridge_that_claims_another_root_does_not_keep_it_running(void **state)
{
    (void)state;
    add_bridge(0, 8, 1, 0xff);
    add(0x80, 8, 0x010802);
    assert_string_equal(scan(), " 00:01.0");
    assert_int_equal(functions[1].config[CHALK_PCI_COMMAND], 3);
}

static void disks_beyond_256_functions_are_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1500; i++) {
        add(i / 256, i % 256, 0x010802);
        set(&functions[i], CHALK_PCI_HEADER_TYPE, 1, CHALK_PCI_HEADER_MULTIPLE);
    }
    scan();
    for (unsigned i = 0; i < 1500; i++) {
        const struct chalk_device *device = pci_device(i);

        assert_non_null(device);
        assert_int_equal(device->bus << 8 | device->slot, i);
        assert_ptr_equal(pci_find(0, i / 256, i % 256), device);
        assert_int_equal(functions[i].config[CHALK_PCI_COMMAND], 3);
    }
    assert_null(pci_device(1500));
    assert_null(pci_find(0, 1500 / 256, 1500 % 256));
    assert_null(pci_find(1, 0, 0));
    assert_int_equal(warnings, 0);
}

static void a_list_without_memory_is_cut_but_quieted(void **state)
{
    (void)state;
    blocks_left = 1;
    for (unsigned i = 0; i < 400; i++) {
        add(i / 256, i % 256, 0x010802);
        set(&functions[i], CHALK_PCI_HEADER_TYPE, 1, CHALK_PCI_HEADER_MULTIPLE);
    }
    struct function *bridge = add_bridge(2, 0, 3, 3);
    add(3, 0, 0x010802);
    scan();
    assert_non_null(pci_device(49));
    assert_null(pci_device(399));
    assert_null(pci_find(0, 399 / 256, 399 % 256));
    assert_int_equal(warnings, 1);
    assert_int_equal(bridge->config[CHALK_PCI_COMMAND], 3);
    for (unsigned i = 0; i < function_count; i++)
        assert_int_equal(functions[i].config[CHALK_PCI_COMMAND], 3);
}

static void a_machine_without_a_bus_says_so_once(void **state)
{
    struct chalk_bus_info info = {0};

    (void)state;
    assert_int_equal(pci_start(), 0);
    assert_int_equal(warnings, 0); /* a program that needs no device is not bothered */
    assert_int_equal(chalk_bus_next(&info), -ENXIO);
    assert_int_equal(warnings, 1);
    assert_int_equal(chalk_bus_next(&info), -ENXIO);
    assert_int_equal(warnings, 1);
}

/* ---- who keeps bus mastering ---------------------------------------------------------------------- */

static void only_the_chipset_and_bridges_keep_bus_mastering(void **state)
{
    static const struct {
        uint32_t class_code;
        uint8_t header;
        bool behind, keeps;
    } cases[] = {
        {0x060000, 0, false, true},  {0x060100, 0, false, true},     {0x060300, 0, false, true},
        {0x060000, 0, true, false},  {0x060100, 0, true, false}, /* a card that says that it is the chipset */
        {0x068000, 0, false, false}, {0x060400, 0, false, false},    {0x060500, 0, false, false},
        {0x060700, 0, false, false}, {0x060a00, 0, false, false}, /* bridges without a bridge's header */
        {0x010802, 1, false, false}, {0x060700, 1, false, false}, /* a bridge's header without a bridge's
                                                                     class */
        {0x060400, 1, false, true},  {0x060900, 1, false, true},     {0x060700, 2, false, false},
        {0x060400, 3, false, false}, {0x010802, 0x7f, false, false},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setup(NULL);
        add_bridge(0, 8, 1, 1);
        struct function *function = add(cases[i].behind, 16, cases[i].class_code);
        set(function, CHALK_PCI_HEADER_TYPE, 1, cases[i].header);
        if (cases[i].header != 0)
            set(function, CHALK_PCI_BRIDGE_BUSES, 4, 5 << 8 | 5 << 16);
        scan();
        if (function->config[CHALK_PCI_COMMAND] != (cases[i].keeps ? 7 : 3))
            fail_msg("class %06x, header %u, %s: %s", cases[i].class_code, cases[i].header,
                     cases[i].behind ? "behind a bridge" : "on a root bus",
                     cases[i].keeps ? "lost bus mastering" : "kept bus mastering");
    }
}

static void nothing_behind_cardbus_is_listed(void **state)
{
    struct function *cardbus = add(0, 8, 0x060700);

    (void)state;
    set(cardbus, CHALK_PCI_HEADER_TYPE, 1, 2);
    set(cardbus, CHALK_PCI_BRIDGE_BUSES, 4, 1 << 8 | 2 << 16);
    add(1, 0, 0x010802);
    add(2, 0, 0x010802);
    assert_string_equal(scan(), " 00:01.0");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(functions[i].config[CHALK_PCI_COMMAND], 3);
}

static void virtual_functions_are_switched_off(void **state)
{
    struct function *function = add(0, 8, 0x010802);

    (void)state;
    set(function, 0x100, 4, 0x0001 | 1 << 16 | 0x140u << 20); /* error reporting comes first */
    set(function, 0x140, 4, 0x0010 | 1 << 16);
    set(function, 0x148, 2, 0x0019); /* enabled, decoding memory, and a bit that stays */
    scan();
    assert_int_equal(function->config[0x148], 0x10);
}

static void extended_lists_that_never_end_do(void **state)
{
    struct function *function = add(0, 8, 0x010802);
    struct chalk_device device = device_at(0, 8);

    (void)state;
    assert_int_equal(pci_extended_capability(&device, 0x10), 0);
    set(function, 0x100, 4, 0x0001 | 1 << 16 | 0x140u << 20);
    set(function, 0x140, 4, 0x0002 | 1 << 16 | 0x100u << 20);
    assert_int_equal(pci_extended_capability(&device, 2), 0x140);
    assert_int_equal(pci_extended_capability(&device, 0x10), 0);
    set(function, 0x140, 4, 0x0002 | 1 << 16 | 0x040u << 20); /* into the first 256 bytes */
    assert_int_equal(pci_extended_capability(&device, 0x10), 0);
    set(function, 0x140, 4, 0x0002 | 1 << 16 | 0xffcu << 20);
    assert_int_equal(pci_extended_capability(&device, 0x10), 0);
    memset(function->config + 0x100, 0xff, 4);
    assert_int_equal(pci_extended_capability(&device, 0xffff), 0);
}

/* ---- topologies ----------------------------------------------------------------------------------- */

/*
 * Trees as firmware numbers them, of any width: several root buses, whose first device is anywhere, bridges
 * of PCI and ports of PCI Express, cards with up to 256 functions. Then some bridges get registers that lie,
 * and the map is made again from the registers, as the hardware routes configuration requests.
 */
static uint64_t random_state;
static unsigned next_bus;

static unsigned below(unsigned bound)
{
    return (unsigned)chalk_random_below(&random_state, bound);
}

/* Functions that are placed, for which there is room for this many more. */
static bool full(unsigned more)
{
    return function_count + more > MAX_FUNCTIONS;
}

static void make_port(struct function *bridge, bool many)
{
    set(bridge, CHALK_PCI_CAPABILITIES, 1, 0x40);
    add_capability(bridge, 0x40, CHALK_PCI_CAP_EXPRESS, 0);
    set(bridge, 0x42, 2, (uint32_t)(below(2) ? 4 : 6) << 4 | 2);
    set(bridge, 0x68, 2, many ? 0x20 : 0);
}

static bool is_port(const struct function *bridge)
{
    return bridge != NULL && bridge->config[CHALK_PCI_CAPABILITIES] == 0x40;
}

static void fill_bus(struct function *parent, unsigned bus, unsigned depth);

static void place_bridge(struct function *parent, unsigned bus, unsigned slot, unsigned depth)
{
    unsigned secondary = next_bus++;
    struct function *bridge = add_bridge(bus, slot, secondary, secondary);

    bridge->parent = parent;
    if (below(2))
        make_port(bridge, below(3) == 0);
    fill_bus(bridge, secondary, depth + 1);
    next_bus += below(3) == 0; /* kept for hot-plug */
    set(bridge, CHALK_PCI_BRIDGE_BUSES, 4, bus | secondary << 8 | (next_bus - 1) << 16);
}

static void place_card(struct function *parent, unsigned bus, unsigned slot)
{
    bool many = is_port(parent) && (parent->config[0x68] & 0x20);
    unsigned functions_of_it = many ? 1 + below(256) : below(3) == 0 ? 8 : 1;

    for (unsigned i = 0; i < functions_of_it && !full(1); i++) {
        if (i > 0 && below(4) == 0)
            continue;
        struct function *function = add(bus, slot + i, 0x010802);

        function->parent = parent;
        if (functions_of_it > 1)
            set(function, CHALK_PCI_HEADER_TYPE, 1, CHALK_PCI_HEADER_MULTIPLE);
        if (many)
            set(function, 0x100, 4, 0x000e | 1 << 16);
    }
}

static void fill_bus(struct function *parent, unsigned bus, unsigned depth)
{
    unsigned devices = is_port(parent) ? 1 : 32;

    for (unsigned device = 0; device < devices; device++) {
        unsigned what = below(is_port(parent) ? 4 : 12);

        if (full(256))
            return;
        if (map[bus][device * 8] != NULL)
            continue;
        if (what == 0 && depth < 5 && next_bus < 250)
            place_bridge(parent, bus, device * 8, depth);
        else if (what <= 2)
            place_card(parent, bus, device * 8);
    }
}

static unsigned make_topology(uint64_t seed)
{
    unsigned roots = 0;

    setup(NULL);
    random_state = seed;
    for (next_bus = 0; next_bus < 200 && roots < 4; next_bus += below(60), roots++) {
        unsigned root = next_bus++;

        if (below(2) && !full(1))
            add(root, 31 << 3, 0x060100);
        fill_bus(NULL, root, 0);
    }
    return roots;
}

static void honest_topologies_are_listed_wholly(void **state)
{
    unsigned widest = 0, missing_first = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        make_topology(seed);
        scan();
        for (unsigned i = 0; i < function_count; i++) {
            const struct chalk_device *device = pci_device(i);
            const struct function *function = device != NULL ? function_of(device) : NULL;

            if (function == NULL)
                fail_msg("seed %lu: %u functions, but only %u are listed", (unsigned long)seed,
                         function_count, i);
            assert_ptr_equal(function->parent, device->bridge != NULL ? function_of(device->bridge) : NULL);
            if (i > 0) /* in order, so none is there twice */
                assert_true((pci_device(i - 1)->bus << 8 | pci_device(i - 1)->slot) <
                            (device->bus << 8 | device->slot));
            missing_first += function->parent == NULL && map[function->bus][0] == NULL;
        }
        assert_null(pci_device(function_count));
        assert_int_equal(warnings, 0);
        if (function_count > widest)
            widest = function_count;
    }
    assert_true(widest > 1000 && missing_first > 100); /* the generator does what it is for */
}

static bool master(const struct function *function)
{
    return function->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER;
}

static bool reaches_memory(const struct function *function)
{
    for (; function != NULL; function = function->parent)
        if (!master(function))
            return false;
    return true;
}

/* Which function answers to a request for `bus`, as bridges pass it on by their registers (PCIe 7.3.3). */
static bool answers(const struct function *function, unsigned bus)
{
    if (function->parent == NULL)
        return function->bus == bus;
    for (const struct function *bridge = function->parent; bridge != NULL; bridge = bridge->parent) {
        unsigned secondary = bridge->config[CHALK_PCI_BRIDGE_BUSES + 1],
                 last = bridge->config[CHALK_PCI_BRIDGE_BUSES + 2];

        if (bus < secondary || bus > last || (bridge == function->parent && bus != secondary))
            return false;
        if (bridge->parent == NULL && bridge->bus == bus) /* the root answers itself */
            return false;
    }
    return true;
}

/* Whether another function answers in its place: then neither it nor what is behind it can be found. */
static bool hidden(const struct function *function)
{
    for (; function != NULL; function = function->parent) {
        unsigned bus =
            function->parent != NULL ? function->parent->config[CHALK_PCI_BRIDGE_BUSES + 1] : function->bus;
        const struct function *there = map[bus][function->slot], *first = map[bus][function->slot & ~7u];

        if ((there != NULL && there != function) || (first != NULL && first->parent != function->parent) ||
            (map[bus][0] != NULL && map[bus][0]->parent != function->parent))
            return true;
    }
    return false;
}

static void tell_lies(void)
{
    for (unsigned i = 0; i < function_count; i++) {
        struct function *bridge = &functions[i];

        if (bridge->config[CHALK_PCI_HEADER_TYPE] != 1 || below(3) != 0)
            continue;
        switch (below(4)) {
        case 0: /* anything */
            set(bridge, CHALK_PCI_BRIDGE_BUSES, 4, (uint32_t)chalk_random_next(&random_state));
            break;
        case 1: /* all that there is */
            set(bridge, CHALK_PCI_BRIDGE_BUSES, 4, bridge->bus | below(256) << 8 | 255 << 16);
            break;
        case 2:
            set(bridge, CHALK_PCI_HEADER_TYPE, 1, 2); /* CardBus */
            break;
        default:
            set(bridge, CHALK_PCI_REVISION, 4, 0x01080200);
            break;
        }
    }
    memset(map, 0, sizeof(map));
    for (unsigned bus = 0; bus < 256; bus++)
        for (unsigned i = 0; i < function_count; i++)
            if (map[bus][functions[i].slot] == NULL && answers(&functions[i], bus))
                map[bus][functions[i].slot] = &functions[i];
}

static void topologies_that_lie_leave_nothing_running(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        make_topology(seed);
        tell_lies();
        scan();
        for (unsigned i = 0; i < function_count; i++) {
            const struct function *function = &functions[i];
            bool bridge =
                function->config[CHALK_PCI_HEADER_TYPE] == 1 && function->config[CHALK_PCI_REVISION + 3] == 6;
            bool chipset = function->config[CHALK_PCI_REVISION + 3] == 6 && function->parent == NULL;

            if (reaches_memory(function) && !bridge && !chipset && !hidden(function))
                fail_msg("seed %lu: %02x:%02x.%u still reaches memory", (unsigned long)seed, function->bus,
                         function->slot >> 3, function->slot & 7);
        }
        for (unsigned i = 0; pci_device(i) != NULL; i++)
            if (pci_device(i)->bridge != NULL)
                assert_true(pci_device(i)->bridge->bus < pci_device(i)->bus);
    }
}

/* ---- which addresses are believed ----------------------------------------------------------------- */

/* A function with one base address register of 32 bits. */
static struct function *add_memory(unsigned bus, unsigned slot, uint32_t base, uint32_t size)
{
    struct function *function = add(bus, slot, 0x010802);

    set(function, CHALK_PCI_BAR, 4, base);
    function->writable[0] = -size;
    return function;
}

static struct chalk_device *open_at(const struct function *function)
{
    struct chalk_device *device = NULL;
    struct chalk_domain *joined = NULL;
    char name[16];

    chalk_format(name, sizeof(name), "%02x:%02x.%u", function->bus, function->slot >> 3, function->slot & 7);
    assert_int_equal(chalk_device_open(name, &joined, &device), 0);
    return device;
}

static bool decodes(const struct function *function)
{
    return function->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MEMORY;
}

static int map_first(struct chalk_device *device)
{
    struct chalk_mmio window;

    return chalk_window_map(device, 0, 0, 16, CHALK_UNCACHED, &window);
}

static void addresses_of_the_machine_are_not_a_devices(void **state)
{
    static const struct {
        uint32_t base, size;
        bool fits;
    } cases[] = {
        {0xfee00000, 0x1000, false},      {0xfeefc000, 0x4000, false},   {0xfe000000, 0x1000000, false},
        {0xfedffc00, 0x400, true},        {0xfef00000, 0x1000, true},    {0xfed00000, 0x400, false},
        {0xfed00400, 0x400, true},        {0xfec00000, 0x4000, false},   {0xfec10000, 0x1000, true},
        {0xb0000000, 0x1000, false},      {0xbff00000, 0x100000, false}, {0xc0000000, 0x100000, true},
        {0x80000000, 0x80000000u, false}, {0xa0000000, 0x8000000, true},
    };

    (void)state;
    acpi.hpet = 0xfed00000;
    acpi.io_apics[0] = 0xfec00000;
    acpi.io_apic_count = 1;
    acpi.segments[0].base = 0xb0000000;
    acpi.segments[0].last_bus = 0xff;
    acpi.segment_count = 1;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setup(NULL);
        struct function *function = add_memory(0, 8, cases[i].base, cases[i].size);
        scan();
        struct chalk_device *device = open_at(function);
        if ((map_first(device) == 0) != cases[i].fits || decodes(function) != cases[i].fits)
            fail_msg("0x%x, 0x%x bytes: %s", cases[i].base, cases[i].size,
                     decodes(function) ? "decoded" : "not");
        assert_int_equal(warnings != 0, !cases[i].fits);
        assert_int_equal(chalk_config_write(device, CHALK_PCI_COMMAND, 2, 6), 0); /* nor by the driver */
        assert_int_equal(decodes(function), cases[i].fits);
        chalk_device_close(device);
    }
    memset(&acpi, 0, sizeof(acpi));
}

static void an_open_device_keeps_its_addresses(void **state)
{
    struct function *disk = add_memory(0, 8, 0xfd800000, 0x4000),
                    *liar = add_memory(0, 16, 0xfd000000, 0x1000000);
    struct function *other = add_memory(0, 24, 0xfc000000, 0x4000), *host = add(0, 0, 0x060000);

    (void)state;
    set(host, CHALK_PCI_BAR, 4, 0xfd800000); /* the chipset's are not looked at */
    scan();
    struct chalk_device *device = open_at(disk);
    assert_int_equal(map_first(device), 0);
    assert_int_equal(warnings, 1); /* the one that is not open stops */
    assert_true(decodes(disk) && !decodes(liar) && decodes(other) && decodes(host));
    struct chalk_device *late = open_at(liar);
    assert_int_equal(map_first(late), -ENODEV);
    assert_true(decodes(disk) && !decodes(liar));
    chalk_device_close(late);
    chalk_device_close(device);
    late = open_at(liar); /* now it is the first */
    assert_int_equal(map_first(late), 0);
    assert_true(!decodes(disk) && decodes(liar));
    chalk_device_close(late);
}

static void registers_of_one_device_do_not_meet(void **state)
{
    struct function *function = add_memory(0, 8, 0xfe800000, 0x4000);

    (void)state;
    set(function, CHALK_PCI_BAR + 8, 4, 0xfe802000);
    function->writable[2] = 0xffffe000;
    scan();
    struct chalk_device *device = open_at(function);
    assert_int_equal(map_first(device), -ENODEV);
    assert_false(decodes(function));
    chalk_device_close(device);
}

static void addresses_lie_in_the_windows_of_bridges(void **state)
{
    static const struct {
        uint64_t base;
        bool fits;
    } cases[] = {
        {0xfe800000, true},   {0xfe8fc000, true},   {0xfe900000, false},   {0xfe7fc000, false},
        {0xe000000000, true}, {0xe0001fc000, true}, {0xe000200000, false}, {0xfd000000, false},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setup(NULL);
        struct function *bridge = add_bridge(0, 8, 1, 1);
        set(bridge, 0x20, 4, 0xfe80fe80); /* 1 MiB */
        set(bridge, 0x24, 4, 0x00110001); /* 2 MiB, 64 bits */
        set(bridge, 0x28, 4, 0xe0);
        set(bridge, 0x2c, 4, 0xe0);
        struct function *function = add_memory(1, 0, (uint32_t)cases[i].base | 4, 0x4000);
        set(function, CHALK_PCI_BAR + 4, 4, (uint32_t)(cases[i].base >> 32));
        function->writable[1] = UINT32_MAX;
        scan();
        struct chalk_device *device = open_at(function);
        if ((map_first(device) == 0) != cases[i].fits)
            fail_msg("0x%lx: %s", (unsigned long)cases[i].base, cases[i].fits ? "refused" : "taken");
        chalk_device_close(device);
        set(bridge, CHALK_PCI_REVISION, 4, 0x06040100); /* passes on what nobody else takes */
        scan();
        device = open_at(function);
        assert_int_equal(map_first(device), 0);
        chalk_device_close(device);
    }
}

/* Registers of random sizes, close together: whatever is opened, nothing decodes what an open device does. */
static void open_devices_never_meet(void **state)
{
    enum { COUNT = 12 };
    struct function *made[COUNT];
    struct chalk_device *open[COUNT];
    unsigned met = 0, alone = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        random_state = seed;
        setup(NULL);
        for (unsigned i = 0; i < COUNT; i++) {
            uint32_t size = 0x1000u << below(8);

            made[i] = add_memory(0, 8 * i, 0xf0000000 + below(0x400000 / size) * size, size);
        }
        scan();
        memset(open, 0, sizeof(open));
        for (unsigned step = 0; step < 40; step++) {
            unsigned i = below(COUNT);

            if (open[i] != NULL) {
                chalk_device_close(open[i]);
                open[i] = NULL;
                continue;
            }
            open[i] = open_at(made[i]);
            for (unsigned a = 0; a < COUNT; a++)
                for (unsigned b = 0; b < COUNT; b++) {
                    uint64_t start = 0, other = 0;

                    memcpy(&start, made[a]->config + CHALK_PCI_BAR, 4);
                    memcpy(&other, made[b]->config + CHALK_PCI_BAR, 4);
                    bool meet = start < other + (uint32_t)-made[b]->writable[0] &&
                                other < start + (uint32_t)-made[a]->writable[0];
                    if (a != b && meet && open[a] != NULL && decodes(made[a]) && decodes(made[b]))
                        fail_msg("seed %lu: %u and %u both answer", (unsigned long)seed, a, b);
                }
            if (map_first(open[i]) == 0)
                alone++;
            else
                met++;
        }
        for (unsigned i = 0; i < COUNT; i++)
            if (open[i] != NULL)
                chalk_device_close(open[i]);
    }
    if (met < 500 || alone < 500)
        fail_msg("%u met others, %u did not", met, alone);
}

/* ---- addresses that no firmware gave out ---------------------------------------------------------- */

static uint64_t base_of(const struct function *function)
{
    uint64_t base = 0;

    memcpy(&base, function->config + CHALK_PCI_BAR, function->config[CHALK_PCI_BAR] & 4 ? 8 : 4);
    return base & ~15ull;
}

/* Functions of random sizes, of 32 and of 64 bits, some of which have addresses already. */
static void registers_without_addresses_get_some(void **state)
{
    enum { COUNT = 20 };
    struct function *made[COUNT];
    struct chalk_device *open[COUNT];
    unsigned got = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        setup(NULL);
        random_state = seed;
        acpi.windows[0].start = 0xfe000800;
        acpi.windows[0].end = 0x101000000; /* over the local APIC, the I/O APIC, and beyond 32 bits */
        acpi.windows[1].start = 0x4000000000;
        acpi.windows[1].end = 0x4001000000;
        acpi.window_count = 2;
        acpi.io_apics[0] = 0xfec00000;
        acpi.io_apic_count = 1;
        for (unsigned i = 0; i < COUNT; i++) {
            uint32_t size = 0x1000u << below(9);

            made[i] = add_memory(0, 8 * i, below(4) == 0 ? 0xfe100000 + below(8) * 0x100000 : 0, size);
            if (below(2)) {
                made[i]->config[CHALK_PCI_BAR] |= 4;
                made[i]->writable[1] = UINT32_MAX;
            }
        }
        scan();
        for (unsigned i = 0; i < COUNT; i++)
            open[i] = open_at(made[i]);
        for (unsigned i = 0; i < COUNT; i++) {
            uint64_t base = base_of(made[i]), end = base + (uint32_t) - (made[i]->writable[0] & ~15u);

            if (map_first(open[i]) != 0)
                continue; /* it had an address that another has */
            got++;
            if (base < 0xfe000800 || (end > 0x101000000 && base < 0x4000000000) || end > 0x4001000000 ||
                (!(made[i]->config[CHALK_PCI_BAR] & 4) && end > 1ull << 32) ||
                (base < 0xfef00000 && end > 0xfee00000) || (base < 0xfec01000 && end > 0xfec00000))
                fail_msg("seed %lu: %u is at 0x%lx", (unsigned long)seed, i, (unsigned long)base);
            for (unsigned j = 0; j < i; j++)
                if (decodes(made[j]) &&
                    base < base_of(made[j]) + (uint32_t) - (made[j]->writable[0] & ~15u) &&
                    base_of(made[j]) < end)
                    fail_msg("seed %lu: %u meets %u", (unsigned long)seed, i, j);
        }
        for (unsigned i = 0; i < COUNT; i++)
            chalk_device_close(open[i]);
        memset(&acpi, 0, sizeof(acpi));
    }
    assert_true(got > 1800);
}

static void without_windows_nothing_is_given_out(void **state)
{
    struct function *function = add_memory(0, 8, 0, 0x4000), *behind;

    (void)state;
    scan();
    struct chalk_device *device = open_at(function);
    assert_int_equal(base_of(function), 0);
    chalk_device_close(device);

    setup(NULL);
    acpi.windows[0].start = 0xc0000000;
    acpi.windows[0].end = 0xc0002000; /* too small */
    acpi.window_count = 1;
    function = add_memory(0, 8, 0, 0x4000);
    add_bridge(0, 16, 1, 1);
    behind = add_memory(1, 0, 0, 0x1000); /* nobody has set the bridge's windows */
    scan();
    device = open_at(function);
    assert_int_equal(base_of(function), 0);
    chalk_device_close(device);
    device = open_at(behind);
    assert_int_equal(base_of(behind), 0);
    chalk_device_close(device);
    memset(&acpi, 0, sizeof(acpi));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_list_without_memory_is_cut_but_quieted,
                               setup), /* before others took memory */
        cmocka_unit_test_setup(base_addresses_are_sized_and_put_back, setup),
        cmocka_unit_test_setup(base_addresses_that_cannot_be_are_absent, setup),
        cmocka_unit_test_setup(capabilities_are_found, setup),
        cmocka_unit_test_setup(capability_lists_that_never_end_do, setup),
        cmocka_unit_test_setup(endpoints_lose_bus_mastering_and_bridges_keep_it, setup),
        cmocka_unit_test_setup(functions_beyond_the_first_need_the_header_to_say_so, setup),
        cmocka_unit_test_setup(a_port_leads_to_device_0_only, setup),
        cmocka_unit_test_setup(bridges_that_lie_make_no_loop, setup),
        cmocka_unit_test_setup(other_root_buses_are_found, setup),
        cmocka_unit_test_setup(a_bridge_that_claims_another_root_does_not_keep_it_running, setup),
        cmocka_unit_test_setup(a_machine_without_a_bus_says_so_once, setup),
        cmocka_unit_test_setup(only_the_chipset_and_bridges_keep_bus_mastering, setup),
        cmocka_unit_test_setup(nothing_behind_cardbus_is_listed, setup),
        cmocka_unit_test_setup(virtual_functions_are_switched_off, setup),
        cmocka_unit_test_setup(extended_lists_that_never_end_do, setup),
        cmocka_unit_test_setup(disks_beyond_256_functions_are_found, setup),
        cmocka_unit_test_setup(honest_topologies_are_listed_wholly, setup),
        cmocka_unit_test_setup(topologies_that_lie_leave_nothing_running, setup),
        cmocka_unit_test_setup(addresses_of_the_machine_are_not_a_devices, setup),
        cmocka_unit_test_setup(an_open_device_keeps_its_addresses, setup),
        cmocka_unit_test_setup(registers_of_one_device_do_not_meet, setup),
        cmocka_unit_test_setup(addresses_lie_in_the_windows_of_bridges, setup),
        cmocka_unit_test_setup(open_devices_never_meet, setup),
        cmocka_unit_test_setup(registers_without_addresses_get_some, setup),
        cmocka_unit_test_setup(without_windows_nothing_is_given_out, setup),
    };
    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
