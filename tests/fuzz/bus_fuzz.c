/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzzer of the image's scan of the PCI bus: the input is up to 64 functions, {bus, slot, a header of 32
 * bytes, a capability and an extended one}. Whatever they say, the scan ends, lists each place once, follows
 * bridges towards higher buses only, and leaves bus mastering to nobody but the chipset and bridges.
 */
#define chalk_bus_next                                                                                       \
    image_bus_next /* the fake platform, which fuzzers are linked with, has a bus of its own */
#include "baremetal/x86_64/pci.c"

#include <stdlib.h>

enum { MAX_FUNCTIONS = 64, RECORD = 8, BUSES = 256 };

struct function {
    uint8_t config[CHALK_PCI_EXTENDED_SIZE];
};

static struct function functions[MAX_FUNCTIONS];
static struct function *map[BUSES][256];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

unsigned pci_ranges(struct pci_range ranges[PCI_MAX_RANGES])
{
    ranges[0] = (struct pci_range){.first = 0, .last = BUSES - 1};
    return 1;
}

uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    const struct function *function = map[device->bus][device->slot];
    uint32_t value = UINT32_MAX >> (32 - 8 * width);

    if (offset % width != 0 || offset + width > CHALK_PCI_EXTENDED_SIZE)
        abort();
    if (function != NULL)
        memcpy(&value, function->config + offset, width);
    return value;
}

void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    struct function *function = map[device->bus][device->slot];

    if (offset % width != 0 || offset + width > CHALK_PCI_EXTENDED_SIZE)
        abort();
    if (function != NULL)
        memcpy(function->config + offset, &value, width);
}

void pci_forget_addresses(void)
{
}

void *memory_take(uint64_t size)
{
    return malloc(size); /* once for each block, which is kept */
}

static bool keeps_mastering(const struct chalk_device *device)
{
    return map[device->bus][device->slot]->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER;
}

static bool leads_somewhere(const struct chalk_device *bridge)
{
    const uint8_t *config = map[bridge->bus][bridge->slot]->config;

    return (bridge->class_code == 0x060400 || bridge->class_code == 0x060900) && bridge->header == 1 &&
           config[CHALK_PCI_BRIDGE_BUSES + 1] > bridge->bus &&
           config[CHALK_PCI_BRIDGE_BUSES + 2] >= config[CHALK_PCI_BRIDGE_BUSES + 1];
}

static void check(void)
{
    static bool listed[BUSES][256];
    const struct chalk_device *device;

    memset(listed, 0, sizeof(listed));
    for (unsigned i = 0; (device = pci_device(i)) != NULL; i++) {
        if (map[device->bus][device->slot] == NULL || listed[device->bus][device->slot])
            abort();
        listed[device->bus][device->slot] = true;
        if (device->bridge != NULL && (device->bridge->header != 1 || device->bridge->bus >= device->bus))
            abort();
        if (keeps_mastering(device) && !pci_is_chipset(device) && !leads_somewhere(device))
            abort();
        struct chalk_device copy = *device;
        pci_size_bars(&copy);
        for (unsigned bar = 0; bar < 6; bar++)
            if (copy.bars[bar].memory && (copy.bars[bar].size & (copy.bars[bar].size - 1)))
                abort();
    }
}

static void make(struct function *function, const uint8_t record[RECORD])
{
    static const uint32_t classes[] = {0x010802, 0x060400, 0x060000, 0x060700, 0x060100, 0x060900};
    uint8_t *config = function->config;

    memset(function, 0, sizeof(*function));
    memcpy(config, &(uint32_t){0x00101b36}, 4);
    config[CHALK_PCI_COMMAND] = 7;
    config[CHALK_PCI_STATUS] = CHALK_PCI_STATUS_CAPS;
    memcpy(config + CHALK_PCI_REVISION, &(uint32_t){classes[record[2] % 6] << 8}, 4);
    config[CHALK_PCI_HEADER_TYPE] = record[3] % 8 | (record[3] & CHALK_PCI_HEADER_MULTIPLE);
    config[CHALK_PCI_BRIDGE_BUSES + 1] = record[4];
    config[CHALK_PCI_BRIDGE_BUSES + 2] = record[5];
    config[0x40] =
        CHALK_PCI_CAP_EXPRESS; /* a port of any type, that may pass on requests for many functions */
    config[0x42] = record[6];
    config[0x68] = record[6] & 1 ? 0x20 : 0;
    config[CHALK_PCI_CAPABILITIES] = record[7] & 0x80 ? 0x40 : record[7];
    config[0x100] = record[7] & 1 ? CHALK_PCI_EXTENDED_ARI : CHALK_PCI_EXTENDED_SRIOV;
    config[0x103] = record[7];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    chalk_log_level(CHALK_ERROR);
    memset(map, 0, sizeof(map));
    for (unsigned i = 0; i < MAX_FUNCTIONS && size >= RECORD; i++, data += RECORD, size -= RECORD) {
        struct function *function = &functions[i];

        make(function, data);
        if (map[data[0]][data[1]] == NULL)
            map[data[0]][data[1]] = function;
    }
    if (pci_start() != 0)
        abort();
    check();
    return 0;
}
