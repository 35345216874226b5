/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dma-fault ADDRESS: tells a device to write where nothing was mapped, to write memory that it may only read,
 * and to write what has just been unmapped. Hosted, the IOMMU has to stop all three: the canaries stay as
 * they are. (The kernel's log then has the faults; the device's own status says nothing, since QEMU reports
 * success.) Bare, nothing stops the device, so the instrumented build has to stop the driver before it tells
 * the device the first address.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <stdio.h>
#include <string.h>

enum { CANARY = 0x5a };

static struct chalk_memory *memory;
static struct chalk_domain *domain;
static struct chalk_block_queue *queue;

/* Reads block 0 of the disk to `iova`, and reports whether the page at `va` kept its canary. */
static int provoke(const char *what, void *va, uint64_t iova)
{
    memset(va, CANARY, CHALK_PAGE);
    struct chalk_dma target = {.va = va, .iova = iova, .size = queue->info.block_size};
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_READ, .count = 1, .segments = &target, .segment_count = 1};
    chalk_block_do(queue, &request, chalk_deadline(5 * CHALK_S));
    for (size_t i = 0; i < CHALK_PAGE; i++) {
        if (((volatile unsigned char *)va)[i] != CANARY) {
            printf("%s: the device wrote byte %zu\n", what, i);
            return 1;
        }
    }
    printf("%s: blocked\n", what);
    return 0;
}

/* A page that the device may write: shows that the same transfer works where it is allowed. */
static int control(void)
{
    struct chalk_dma page;
    if (chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &page))
        return 1;
    memset(page.va, CANARY, CHALK_PAGE);
    struct chalk_dma target = {.va = page.va, .iova = page.iova, .size = queue->info.block_size};
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_READ, .count = 1, .segments = &target, .segment_count = 1};
    int error = chalk_block_do(queue, &request, chalk_deadline(5 * CHALK_S));
    int written = *(volatile unsigned char *)page.va != CANARY;
    printf("mapped: %s\n", error ? "failed" : written ? "written" : "not written");
    chalk_dma_put(memory, &page);
    return error || !written;
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_span span;

    if (argc != 2)
        return 2;
    if (chalk_memory_create(NULL, &memory) || chalk_device_open(argv[1], &domain, &device) ||
        chalk_memory_share(memory, domain) ||
        chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme) ||
        chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue))
        return 1;
    if (chalk_span_grow(CHALK_PAGE, 0, 0, UINT64_MAX, &span)) {
        static _Alignas(4096) unsigned char own[4096]; /* bare: part of the image, never of a span */
        span = (struct chalk_span){.va = own, .size = sizeof(own), .iova = (uintptr_t)own};
    }

    int failed = control();
    failed |= provoke("never mapped", span.va, span.iova);
    if (chalk_dma_map(domain, span.va, span.size, span.iova, CHALK_DEVICE_READS))
        return 1;
    failed |= provoke("mapped for reading", span.va, span.iova);
    if (chalk_dma_unmap(domain, span.iova, span.size) ||
        chalk_dma_map(domain, span.va, span.size, span.iova, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES) ||
        chalk_dma_unmap(domain, span.iova, span.size))
        return 1;
    failed |= provoke("just unmapped", span.va, span.iova);
    failed |= control();

    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
    return failed;
}
