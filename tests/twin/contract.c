/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The platform contract, called directly: what <chalk/platform.h> promises, both worlds do, errors included.
 * It needs an NVMe controller, of which it uses the PCI function only.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/memory.h>
#include <chalk/mmio.h>

#include <string.h>

#include "twin.h"

/* NVMe Base 2.0c 3.1.3: the registers in base address register 0 that are read here */
#define REGISTER_CAP 0x00
#define REGISTER_VS  0x08

static _Alignas(4096) unsigned char outside[4096]; /* in no span */

static void spans(struct chalk_memory *memory)
{
    struct chalk_span span;
    struct chalk_dma dma;
    bool aligned = true, whole = true, congruent = true, inside = false;
    unsigned count = 0;
    int error;

    expect_result(chalk_dma_get(memory, 3 * CHALK_PAGE, 4 * CHALK_PAGE, &dma), 0, "shared memory");
    expect((uintptr_t)dma.va % (4 * CHALK_PAGE) == 0 && dma.iova % (4 * CHALK_PAGE) == 0,
           "shared memory is aligned as asked, for the program and for devices");
    while ((error = chalk_span_get(count, &span)) == 0) {
        uintptr_t start = (uintptr_t)span.va, there = (uintptr_t)dma.va;

        count++;
        aligned &= start % CHALK_PAGE == 0 && span.page >= CHALK_PAGE && (span.page & (span.page - 1)) == 0;
        whole &= span.size > 0 && span.size % CHALK_PAGE == 0;
        congruent &= span.iova % CHALK_PAGE == start % CHALK_PAGE;
        if (there >= start && there + 3 * CHALK_PAGE <= start + span.size)
            inside = dma.iova - span.iova == there - start;
    }
    expect(count > 0, "there is a span");
    expect_result(error, -ENOENT, "past the last span");
    expect(aligned, "spans are made of pages");
    expect(whole, "spans are whole pages long");
    expect(congruent, "spans have iovas congruent to their addresses");
    expect(inside, "shared memory lies in a span, and its iova is the span's");
    expect_result(chalk_page_guard((char *)dma.va + 1, "nothing"), -EINVAL, "guarding half a page");
    expect_result(chalk_dma_get(memory, CHALK_PAGE, 3 * CHALK_PAGE, &dma), -EINVAL,
                  "shared memory aligned to 3 pages");
    expect_result(chalk_dma_get(memory, (size_t)1 << 40, CHALK_PAGE, &dma), -ENOMEM,
                  "a terabyte of shared memory");
}

static void clocks(void)
{
    const struct chalk_clock *clock = chalk_clock_info();
    uint64_t last = chalk_ticks();
    bool forward = true;

    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = chalk_ticks();

        forward &= now >= last;
        last = now;
    }
    expect(forward, "ticks never go back");
    expect(clock->hertz >= 1000000, "ticks are finer than a microsecond");

    uint64_t second = chalk_ticks_to_ns(clock->hertz), back = chalk_ns_to_ticks(CHALK_S);

    expect(second >= CHALK_S - 1000 && second <= CHALK_S + 1000,
           "a second of ticks is a second of nanoseconds");
    expect(back >= clock->hertz - clock->hertz / 1000000 && back <= clock->hertz + clock->hertz / 1000000,
           "and the other way round");
    expect(chalk_clock_info() == clock, "the clock is constant");
    expect(clock->wall_ns > 1600000000 * CHALK_S, "the wall clock is past 2020");
    expect(chalk_deadline(UINT64_MAX) == CHALK_FOREVER || chalk_deadline(UINT64_MAX) > last,
           "a deadline of 584 years is ahead");
}

static _Atomic(uint32_t) started_core = UINT32_MAX;

static void start_here(unsigned core, void *argument)
{
    *(_Atomic(uint32_t) *)argument = core;
    chalk_core_wake(0);
}

/* How many ticks a wait took, until the deadline or a change of the event word. */
static uint64_t wait_ticks(const struct chalk_core_info *core, uint32_t seen, uint64_t ns)
{
    uint64_t start = chalk_ticks(), deadline = chalk_deadline(ns);

    while (*core->events == seen && !chalk_expired(deadline))
        chalk_core_wait(0, seen, deadline);
    return chalk_ticks() - start;
}

static void cores(void)
{
    const uint64_t second = chalk_clock_info()->hertz;
    struct chalk_core_info info, other;
    unsigned count = 0;

    expect_result(chalk_core_get_info(0, &info), 0, "core 0");
    expect(info.running && info.events != NULL, "core 0 runs, and has an event word");
    while (count < 10000 && chalk_core_get_info(count, &other) == 0)
        count++;
    expect_result(chalk_core_get_info(count, &other), -ENOENT, "past the last core");
    int error = chalk_core_start(count, start_here, NULL);

    expect(error == -ENOENT || error == -ENOTSUP, "starting it is refused");
    expect_result(chalk_core_start(0, start_here, NULL), -EBUSY, "starting core 0, which runs already");

    chalk_core_wait(0, *info.events, 0);
    uint32_t seen = *info.events;
    uint64_t start = chalk_ticks();

    chalk_core_wait(0, seen, 0);
    chalk_core_wait(0, seen, start);
    expect(chalk_ticks() - start < second, "a wait whose deadline has passed returns");

    uint64_t waited = wait_ticks(&info, seen, 30 * CHALK_MS);

    expect(*info.events == seen && waited >= chalk_ns_to_ticks(30 * CHALK_MS),
           "a wait lasts until its deadline");
    expect(waited < 5 * second, "and not for ever");

    chalk_core_wake(0);
    waited = wait_ticks(&info, seen, 20 * CHALK_S);
    expect(waited < 5 * second, "a wake before the wait is not lost");
    seen = *info.events;
    start = chalk_ticks();
    chalk_core_wait(0, seen - 1, chalk_deadline(20 * CHALK_S));
    expect(chalk_ticks() - start < 5 * second, "a wait for what was already seen to change returns");

    error = count > 1 ? chalk_core_start(1, start_here, &started_core) : -ENOTSUP;

    if (error == 0) {
        uint64_t deadline = chalk_deadline(20 * CHALK_S);

        while (started_core == UINT32_MAX && !chalk_expired(deadline))
            chalk_core_wait(0, *info.events, chalk_deadline(100 * CHALK_MS));
    }
    expect(error == -ENOTSUP || (error == 0 && started_core == 1),
           "core 1 runs what it is given, or is refused");
}

static void bus(struct chalk_bus_info *nvme)
{
    struct chalk_bus_info info = {0}, again;
    unsigned count = 0;
    bool named = true;
    int error;

    while (count < 1000 && (error = chalk_bus_next(&info)) == 0) {
        count++;
        named &= strlen(info.name) == strlen("0000:00:00.0") && info.name[4] == ':';
    }
    expect_result(error, -ENOENT, "past the last device");
    expect(count > 0 && named, "devices are named by their PCI address");
    expect_result(chalk_bus_find(CHALK_CLASS_NVME, nvme), 0, "finding an NVMe controller");
    expect(nvme->class_code == CHALK_CLASS_NVME, "its class");
    expect_result(chalk_bus_lookup(nvme->name, &again), 0, "looking it up by name");
    expect(again.vendor == nvme->vendor && again.device == nvme->device, "which is the same device");
    expect_result(chalk_bus_lookup("0000:ff:1f.7", &again), -ENOENT, "looking up what is not there");
    expect_result(chalk_bus_find(0xffffff, &again), -ENOENT, "finding a class that nobody has");
}

static void opening(const struct chalk_bus_info *nvme)
{
    struct chalk_domain *domain = NULL;
    struct chalk_device *device = NULL;

    expect_result(chalk_device_open("banana", &domain, &device), -EINVAL, "opening what is no address");
    expect_result(chalk_device_open("0000:00:1f.7", &domain, &device), -ENODEV,
                  "opening a device that is not there");
    expect(domain == NULL && device == NULL, "leaves nothing behind");
    expect_result(chalk_device_open(nvme->name, &domain, &device), 0, "opening the controller");

    struct chalk_domain *second_domain = NULL;
    struct chalk_device *second = NULL;

    expect_result(chalk_device_open(nvme->name, &second_domain, &second), -EBUSY, "opening it twice");
    chalk_device_close(device);
    domain = NULL;
    expect_result(chalk_device_open(nvme->name, &domain, &device), 0, "opening it again after closing it");
    chalk_device_close(device);
}

static void config(struct chalk_device *device, const struct chalk_bus_info *nvme)
{
    uint32_t word = 0, half = 0, byte = 0;
    unsigned offset;

    expect_result(chalk_config_read(device, 0, 4, &word), 0, "reading 4 bytes of configuration");
    expect(word == ((uint32_t)nvme->device << 16 | nvme->vendor), "gives the identifiers of the bus scan");
    expect_result(chalk_config_read(device, 2, 2, &half), 0, "reading 2 bytes");
    expect(half == nvme->device, "gives the device identifier");
    expect_result(chalk_config_read(device, 11, 1, &byte), 0, "reading 1 byte");
    expect(byte == CHALK_CLASS_NVME >> 16, "gives the base class");
    expect_result(chalk_config_read(device, 2, 4, &word), -EINVAL, "reading 4 bytes at 2");
    expect_result(chalk_config_read(device, 0, 3, &word), -EINVAL, "reading 3 bytes");
    expect_result(chalk_config_read(device, 4096, 4, &word), -EINVAL, "reading at 4096");
    expect_result(chalk_config_write(device, 4096, 4, 0), -EINVAL, "writing at 4096");

    expect_result(chalk_pci_capability(device, CHALK_PCI_CAP_MSIX, 0, &offset), 0, "the MSI-X capability");
    expect(offset >= 0x40 && offset < 0x100 && offset % 4 == 0, "lies where capabilities do");
    expect_result(chalk_pci_capability(device, CHALK_PCI_CAP_MSIX, 1, &offset), -ENOENT,
                  "a second MSI-X capability");
    expect_result(chalk_pci_capability(device, 0xee, 0, &offset), -ENOENT, "a capability that it has not");

    expect(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &half) == 0 && !(half & CHALK_PCI_COMMAND_MASTER),
           "a device is opened with bus mastering off");
    expect_result(chalk_pci_bus_master(device, true), 0, "bus mastering on");
    expect(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &half) == 0 && (half & CHALK_PCI_COMMAND_MASTER),
           "and it is on");
    expect_result(chalk_device_reset(device, chalk_deadline(5 * CHALK_S)), 0, "reset");
    expect(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &half) == 0 && !(half & CHALK_PCI_COMMAND_MASTER),
           "turns bus mastering off");
    expect_result(chalk_pci_bus_master(device, false), 0, "memory decoding on, bus mastering off");
}

static void windows(struct chalk_device *device)
{
    struct chalk_mmio window;

    expect_result(chalk_window_map(device, 0, 0, 0x1000, CHALK_UNCACHED, &window), 0,
                  "a window onto the registers");
    uint32_t version = chalk_mmio_read32(&window, REGISTER_VS);
    uint64_t capabilities = chalk_mmio_read64(&window, REGISTER_CAP);

    expect(version >> 16 >= 1 && version != UINT32_MAX, "through it the version register makes sense");
    expect(capabilities == ((uint64_t)chalk_mmio_read32(&window, REGISTER_CAP + 4) << 32 |
                            chalk_mmio_read32(&window, REGISTER_CAP)),
           "8 bytes are twice 4");
    expect_result(chalk_window_map(device, 0, REGISTER_VS, 4, CHALK_UNCACHED, &window), 0,
                  "a window onto 4 bytes");
    expect(chalk_mmio_read32(&window, 0) == version, "starts at its offset");
    expect_result(chalk_window_map(device, 6, 0, 4, CHALK_UNCACHED, &window), -ENODEV,
                  "a window onto register 6");
    expect_result(chalk_window_map(device, 1, 0, 4, CHALK_UNCACHED, &window), -ENODEV,
                  "a window onto the upper half of a 64-bit register");
    expect_result(chalk_window_map(device, 0, 1ull << 40, 4, CHALK_UNCACHED, &window), -ERANGE,
                  "a window beyond the end");
    expect_result(chalk_window_map(device, 0, UINT64_MAX - 3, 8, CHALK_UNCACHED, &window), -ERANGE,
                  "a window around the end of the address space");
}

static void dma(struct chalk_memory *memory, struct chalk_domain *domain)
{
    const unsigned both = CHALK_DEVICE_READS | CHALK_DEVICE_WRITES;
    struct chalk_dma page;

    expect_result(chalk_dma_get(memory, 4 * CHALK_PAGE, CHALK_PAGE, &page), 0, "four pages");
    char *va = page.va;

    expect_result(chalk_dma_map(domain, va + 1, CHALK_PAGE, page.iova, both), -EINVAL,
                  "mapping from mid-page");
    expect_result(chalk_dma_map(domain, va, CHALK_PAGE, page.iova + 8, both), -EINVAL, "mapping to mid-page");
    expect_result(chalk_dma_map(domain, va, 100, page.iova, both), -EINVAL, "mapping 100 bytes");
    expect_result(chalk_dma_map(domain, va, 0, page.iova, both), -EINVAL, "mapping nothing");
    expect_result(chalk_dma_map(domain, outside, sizeof(outside), (uintptr_t)outside, both), -EINVAL,
                  "mapping memory of no span");
    expect_result(chalk_dma_map(domain, va, CHALK_PAGE, 1ull << 60, both), -ERANGE, "mapping at 2^60");
    expect_result(chalk_dma_map(domain, va, 2 * CHALK_PAGE, page.iova, both), 0, "mapping two pages");
    expect_result(chalk_dma_map(domain, va, 2 * CHALK_PAGE, page.iova, both), 0, "mapping them again");
    expect_result(chalk_dma_map(domain, va + CHALK_PAGE, 2 * CHALK_PAGE, page.iova + CHALK_PAGE, both),
                  -EEXIST, "mapping across their end");
    expect_result(chalk_dma_unmap(domain, page.iova + 2 * CHALK_PAGE, CHALK_PAGE), -ENOENT,
                  "unmapping the third page");
    expect_result(chalk_dma_unmap(domain, page.iova, 2 * CHALK_PAGE), 0, "unmapping both");
    expect_result(chalk_dma_unmap(domain, page.iova, 2 * CHALK_PAGE), 0, "unmapping them again");
    expect_result(chalk_dma_unmap(domain, page.iova, 2 * CHALK_PAGE), -ENOENT, "and once more");
    chalk_dma_put(memory, &page);
    expect_result(chalk_memory_share(memory, domain), 0, "sharing all of it");
    chalk_memory_unshare(memory, domain);
    expect_result(chalk_memory_share(memory, domain), 0, "and again, once it was taken back");
    chalk_memory_unshare(memory, domain);
}

static void vectors(struct chalk_device *device)
{
    static _Atomic(uint32_t) counter;

    expect_result(chalk_vector_attach(device, 0, 0, &counter), 0, "attaching vector 0");
    expect_result(chalk_vector_attach(device, 1, 0, &counter), 0, "attaching vector 1 to the same counter");
    expect_result(chalk_vector_attach(device, 5000, 0, &counter), -ERANGE, "attaching vector 5000");
    expect_result(chalk_vector_attach(device, 1, 5000, &counter), -EINVAL, "attaching to core 5000");
    expect_result(chalk_vector_rearm(device, 0), 0, "rearming a vector that needs none");
    expect_result(chalk_vector_rearm(device, 5000), -ERANGE, "rearming vector 5000");
    expect_result(chalk_vector_attach(device, 0, 0, NULL), 0, "detaching vector 0");
    expect_result(chalk_vector_attach(device, 0, 0, &counter), 0, "attaching it again");
    expect_result(chalk_vector_attach(device, 0, 0, NULL), 0, "detaching it again");
    expect_result(chalk_vector_attach(device, 1, 0, NULL), 0, "detaching vector 1");
    expect(counter == 0, "no device interrupted");
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_memory *memory = NULL;
    struct chalk_domain *domain = NULL;
    struct chalk_device *device = NULL;
    struct chalk_bus_info nvme = {0};

    (void)argc;
    (void)argv;
    clocks();
    cores();
    if (!expect_result(chalk_memory_create(NULL, &memory), 0, "claiming memory"))
        return 1;
    spans(memory);
    bus(&nvme);
    opening(&nvme);
    if (expect_result(chalk_device_open(nvme.name, &domain, &device), 0, "opening the controller")) {
        config(device, &nvme);
        windows(device);
        dma(memory, domain);
        vectors(device);
        chalk_device_close(device);
    }
    chalk_memory_destroy(memory);
    expect(!chalk_exit_requested(), "nobody asked for the end");
    return twin_failures != 0;
}
