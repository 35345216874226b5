/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outside ADDRESS memfd|hugetlb|file|readonly|large: lets a disk into memory that this program mapped
 * itself, and looks through another mapping of the file for what the disk wrote. Hosted only.
 */
#define _GNU_SOURCE
#include <chalk/arena.h>
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/hosted.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE ((size_t)4 << 20)

static struct chalk_memory *memory;
static struct chalk_domain *domain;
static struct chalk_device *device;
static struct chalk_nvme *nvme;
static struct chalk_block_queue *queue;

static int expect(int result, int wanted, const char *what)
{
    if (result == wanted)
        return 0;
    printf("%s: %d (%s), not %d\n", what, result, chalk_error_name(result), wanted);
    exit(1);
}

static int open_file(const char *kind, size_t size)
{
    int fd;

    if (strcmp(kind, "file") == 0)
        fd = open("/tmp/outside", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    else
        fd = memfd_create("outside", MFD_CLOEXEC | (strcmp(kind, "hugetlb") == 0 ? MFD_HUGETLB : 0u));
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        perror(kind);
        exit(1);
    }
    return fd;
}

static int disk_do(unsigned op, const struct chalk_dma *page)
{
    struct chalk_dma segment = {page->va, page->iova, queue->info.block_size};
    struct chalk_block_request request = {
        .op = (uint8_t)op, .lba = 3, .count = 1, .segments = &segment, .segment_count = 1};

    return chalk_block_do(queue, &request, chalk_deadline(10 * CHALK_S));
}

static void mistakes(char *va)
{
    struct chalk_span span;

    expect(chalk_span_adopt(va + 8, SIZE, UINT64_MAX, "mistake", &span), -EINVAL, "half pages");
    expect(chalk_span_adopt(va, 0, UINT64_MAX, "mistake", &span), -EINVAL, "nothing");
    expect(chalk_span_adopt(va, SIZE, 0xfff, "mistake", &span), -ERANGE, "no addresses");
    char *hole = mmap(NULL, 2 * SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(hole + SIZE, CHALK_PAGE);
    expect(chalk_span_adopt(hole, 2 * SIZE, UINT64_MAX, "mistake", &span), -EINVAL, "a hole");
    expect(chalk_span_forget(va), -ENOENT, "forgetting what was never adopted");
}

static void use(struct chalk_arena *arena, int fd, char *va)
{
    struct chalk_dma page;
    char *file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    expect(chalk_arena_get(arena, CHALK_PAGE, 1, &page), 0, "a page");
    expect(page.va == va, 1, "where the mapping is");
    expect(file != MAP_FAILED, 1, "a second mapping");
    strcpy(file, "from a file");
    expect(disk_do(CHALK_BLOCK_WRITE, &page), 0, "the disk reads the mapping");
    strcpy(file, "overwritten");
    expect(disk_do(CHALK_BLOCK_READ, &page), 0, "the disk writes the mapping");
    printf("the file has: %s\n", file);
    munmap(file, SIZE);
    chalk_arena_put(arena, &page);
}

int chalk_main(int argc, char *argv[])
{
    const char *kind = argc == 3 ? argv[2] : "";
    size_t size = strcmp(kind, "large") == 0 ? (size_t)64 << 20 : SIZE;
    bool writable = strcmp(kind, "readonly") != 0;
    struct chalk_arena *arena;
    struct chalk_span span;

    if (argc != 3)
        return 2;
    int fd = open_file(kind, size);
    char *va = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (va == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    expect(chalk_memory_create(NULL, &memory), 0, "memory");
    expect(chalk_device_open(argv[1], &domain, &device), 0, "opening the disk");
    expect(chalk_memory_share(memory, domain), 0, "sharing memory");
    expect(chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme),
           0, "starting it");
    expect(chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue), 0,
           "a queue");

    mistakes(va);
    expect(chalk_span_adopt(va, size, UINT64_MAX, kind, &span), 0, "adopting the mapping");
    expect(chalk_span_adopt(va, size, UINT64_MAX, "again", &span), -EEXIST, "adopting it twice");
    expect(chalk_arena_create(&(struct chalk_arena_options){.size = size, .name = kind, .va = va}, &arena), 0,
           "an arena there");
    int error = chalk_arena_share(arena, domain, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES);
    printf("sharing it: %s\n", error ? chalk_error_name(error) : "done");
    if (!error) {
        use(arena, fd, va);
        expect(chalk_span_forget(va), -EBUSY, "forgetting what is claimed");
        chalk_arena_unshare(arena, domain);
    }
    chalk_arena_destroy(arena);
    if (size == SIZE) {
        expect(chalk_dma_map(domain, va, SIZE, span.iova, CHALK_DEVICE_READS), 0, "mapping it for reading");
        expect(chalk_span_forget(va), -EBUSY, "forgetting what is mapped");
        expect(chalk_dma_unmap(domain, span.iova, SIZE), 0, "unmapping it");
    }
    expect(chalk_span_forget(va), 0, "forgetting it");
    expect(chalk_span_forget(va), -ENOENT, "forgetting it twice");
    munmap(va, size);

    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
    return error ? 3 : 0;
}
