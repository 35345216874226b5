/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices, domains, windows and interrupts of the hosted platform, on a Linux of which only VFIO is made up:
 * ioctl() and open() are this file's, the descriptors behind them are real. Any call can be made to fail.
 */
#include "hosted/cores.h"
#include "hosted/device.h"
#include "hosted/pci.h"
#include "hosted/sysfs.h"
#include "hosted_console.h"
#include "hosted_misuse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/hosted.h>
#include <chalk/memory.h>
#include <chalk/mmio.h>

#define FIRST  "0000:00:03.0" /* group 7, as SECOND */
#define SECOND "0000:00:03.1"
#define THIRD  "0000:00:04.0" /* group 8 */

#define VECTORS 4

static struct {
    /* what a test wants */
    unsigned fail_after; /* the call that fails, counted from 1; 0: none */
    int fail_errno;
    bool in_use, not_viable;
    struct range ranges[2]; /* what the IOMMU translates; last 0: the kernel does not say */
    uint32_t chain;         /* where the first capability claims that the next one is */
    struct range areas[2];  /* of BAR 0, that can be mapped; last 0: all of it */
    unsigned vectors, vectors_to_have;
    bool pin;           /* a device with an INTx pin only */
    bool quiet;         /* it asks for nothing back */
    const char *number; /* that /sys has of the group's file, of which /dev has 1:3; NULL: it has none */

    /* what happened */
    unsigned calls;
    int eventfds[VECTORS];
    int request, failure; /* the eventfds of those interrupts */
    unsigned arrays, unmasked;
    unsigned maps, unmaps, resets;
    long map_count; /* that it allows a process; 0: as many as the real one */
} linux_;

unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long long)high << 32 | low;
}

/* ---- /sys ----------------------------------------------------------------------------------------- */

bool hosted_sysfs_exists(const char *format, ...)
{
    const char *names[] = {FIRST, SECOND, THIRD};
    char path[256];
    va_list list;

    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    for (unsigned i = 0; i < 3; i++)
        if (strstr(path, names[i]) != NULL)
            return true;
    return false;
}

int hosted_sysfs_link(char *name, size_t size, const char *format, ...)
{
    char path[256];
    va_list list;

    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    snprintf(name, size, "%s",
             strstr(path, "iommu_group") == NULL ? "vfio-pci"
             : strstr(path, THIRD)               ? "8"
                                                 : "7");
    return (int)strlen(name);
}

int hosted_sysfs_text(char *text, size_t size, const char *format, ...)
{
    char path[256];
    va_list list;

    va_start(list, format);
    vsnprintf(path, sizeof path, format, list);
    va_end(list);
    text[0] = '\0';
    if (linux_.number == NULL || strstr(path, "vfio") == NULL)
        return -ENOENT;
    return snprintf(text, size, "%s", strstr(path, "misc") != NULL ? "1:3" : linux_.number);
}

long hosted_sysfs_number(long otherwise, const char *format, ...)
{
    return linux_.map_count != 0 && strstr(format, "max_map_count") != NULL ? linux_.map_count : otherwise;
}

bool hosted_list_valid(const char *list)
{
    (void)list;
    return true;
}

unsigned hosted_list_rank(const char *list, unsigned id)
{
    (void)list;
    (void)id;
    return 0;
}

/* ---- VFIO ----------------------------------------------------------------------------------------- */

static bool fails(void)
{
    if (++linux_.calls != linux_.fail_after)
        return false;
    errno = linux_.fail_errno;
    return true;
}

int stat(const char *path, struct stat *file)
{
    if (strncmp(path, "/dev/vfio/", 10) == 0)
        path = "/dev/null"; /* which is 1:3 */
    return fstatat(AT_FDCWD, path, file, 0);
}

int open(const char *path, int flags, ...)
{
    if (strncmp(path, "/dev/vfio/", 10) != 0)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
    if (fails())
        return -1;
    if (linux_.in_use && strcmp(path, "/dev/vfio/vfio") != 0) {
        errno = EBUSY;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
}

/* Region n is at n << 20 in the device's file: BAR 0 has 24 KiB, BAR 1 is I/O ports, BAR 2 is 16 bytes. */
static const uint64_t region_sizes[VFIO_PCI_NUM_REGIONS] = {24576, 32,
                                                            16, [VFIO_PCI_CONFIG_REGION_INDEX] = 256};

static int get_region(struct vfio_region_info *info)
{
    struct {
        struct vfio_region_info info;
        struct vfio_region_info_cap_sparse_mmap sparse;
        struct vfio_region_sparse_mmap_area areas[2];
    } answer = {.info = *info, .sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP};
    uint32_t room = info->argsz;

    if (info->index >= VFIO_PCI_NUM_REGIONS) {
        errno = EINVAL;
        return -1;
    }
    answer.info.size = region_sizes[info->index];
    answer.info.offset = (uint64_t)info->index << 20;
    answer.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    answer.info.cap_offset = 0;
    answer.info.argsz = sizeof answer.info;
    if (info->index == 0 || info->index == 2)
        answer.info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
    if (info->index == 0 && linux_.areas[0].last != 0) {
        answer.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
        answer.info.argsz = sizeof answer;
        if (room >= sizeof answer)
            answer.info.cap_offset = offsetof(typeof(answer), sparse);
        for (unsigned i = 0; i < 2 && linux_.areas[i].last != 0; i++, answer.sparse.nr_areas++)
            answer.areas[i] = (struct vfio_region_sparse_mmap_area){
                linux_.areas[i].first, linux_.areas[i].last + 1 - linux_.areas[i].first};
    }
    memcpy(info, &answer, room < answer.info.argsz ? room : answer.info.argsz);
    return 0;
}

/* The ranges stand in the second capability: the first is one that nobody here knows. */
static int get_iommu(struct vfio_iommu_type1_info *info)
{
    struct {
        struct vfio_iommu_type1_info info;
        struct vfio_info_cap_header strange;
        struct vfio_iommu_type1_info_cap_iova_range cap;
        struct range ranges[2];
    } answer = {.info = {.argsz = sizeof answer, .flags = VFIO_IOMMU_INFO_CAPS}, .strange.id = 99};
    uint32_t room = info->argsz;

    if (linux_.ranges[0].last == 0) {
        info->flags = 0;
        return 0;
    }
    answer.strange.next = linux_.chain != 0 ? linux_.chain : offsetof(typeof(answer), cap);
    answer.cap.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
    answer.cap.nr_iovas = linux_.ranges[1].last != 0 ? 2 : 1;
    memcpy(answer.cap.iova_ranges, linux_.ranges, sizeof linux_.ranges);
    if (room >= sizeof answer)
        answer.info.cap_offset = offsetof(typeof(answer), strange);
    memcpy(info, &answer, room < sizeof answer ? room : sizeof answer);
    return 0;
}

static int set_irqs(const struct vfio_irq_set *set)
{
    const int32_t *fds = (const int32_t *)set->data;

    if (set->index == VFIO_PCI_REQ_IRQ_INDEX || set->index == VFIO_PCI_ERR_IRQ_INDEX) {
        assert_int_equal(set->flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
        *(set->index == VFIO_PCI_REQ_IRQ_INDEX ? &linux_.request : &linux_.failure) = fds[0];
        return 0;
    }
    assert_int_equal(set->index, linux_.pin ? VFIO_PCI_INTX_IRQ_INDEX : VFIO_PCI_MSIX_IRQ_INDEX);
    assert_true(set->start + set->count <= linux_.vectors);
    if ((set->flags & VFIO_IRQ_SET_ACTION_UNMASK) != 0) {
        linux_.unmasked++;
    } else if (set->count == 0) {
        memset(linux_.eventfds, 0xff, sizeof linux_.eventfds);
    } else if (set->start + set->count > linux_.vectors_to_have) {
        return (int)linux_.vectors_to_have;
    } else {
        assert_int_equal(set->argsz, sizeof *set + set->count * sizeof *fds);
        linux_.arrays += set->count > 1;
        memcpy(linux_.eventfds + set->start, fds, set->count * sizeof *fds);
    }
    return 0;
}

static int make_device(void)
{
    int fd = memfd_create("device", MFD_CLOEXEC);
    const uint32_t identity = 0x00101b36, ports = 1;
    const uint64_t config = (uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << 20;

    assert_int_equal(ftruncate(fd, 9 << 20), 0);
    assert_int_equal(pwrite(fd, &identity, 4, (off_t)config), 4);
    assert_int_equal(pwrite(fd, &ports, 4, (off_t)config + 0x14), 4);
    return fd;
}

int ioctl(int fd, unsigned long request, ...)
{
    void *argument;
    va_list list;

    (void)fd;
    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if (request != VFIO_DEVICE_SET_IRQS && request != VFIO_DEVICE_RESET && fails())
        return -1;
    switch (request) {
    case VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
        return 1;
    case VFIO_SET_IOMMU:
    case VFIO_GROUP_SET_CONTAINER:
        return 0;
    case VFIO_GROUP_GET_STATUS:
        ((struct vfio_group_status *)argument)->flags = linux_.not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        return make_device();
    case VFIO_IOMMU_GET_INFO:
        return get_iommu(argument);
    case VFIO_IOMMU_MAP_DMA:
        linux_.maps++;
        return 0;
    case VFIO_IOMMU_UNMAP_DMA:
        linux_.unmaps++;
        return 0;
    case VFIO_DEVICE_GET_INFO:
        ((struct vfio_device_info *)argument)->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
        return 0;
    case VFIO_DEVICE_GET_REGION_INFO:
        return get_region(argument);
    case VFIO_DEVICE_GET_IRQ_INFO: {
        struct vfio_irq_info *info = argument;

        info->flags = VFIO_IRQ_INFO_EVENTFD;
        if (info->index == VFIO_PCI_REQ_IRQ_INDEX || info->index == VFIO_PCI_ERR_IRQ_INDEX)
            info->count = linux_.quiet ? 0 : 1;
        else
            info->count = (info->index == VFIO_PCI_INTX_IRQ_INDEX) == linux_.pin ? linux_.vectors : 0;
        return 0;
    }
    case VFIO_DEVICE_SET_IRQS:
        return set_irqs(argument);
    case VFIO_DEVICE_RESET:
        linux_.resets++;
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}

/* ---- before and after ----------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static unsigned descriptors;
static struct chalk_domain *domain;
static struct chalk_device *device;

static int start_with(const struct chalk_start_options *options)
{
    memset(&linux_, 0, sizeof linux_);
    console_clear();
    memset(linux_.eventfds, 0xff, sizeof linux_.eventfds);
    linux_.vectors = linux_.vectors_to_have = VECTORS;
    linux_.request = linux_.failure = -1;
    domain = NULL;
    device = NULL;
    descriptors = open_descriptors();
    return chalk_start(options);
}

static int start(void **state)
{
    (void)state;
    return start_with(&(struct chalk_start_options){.ordinary_pages = true, .no_uring = true});
}

static int start_ring(void **state)
{
    (void)state;
    return start_with(&(struct chalk_start_options){.ordinary_pages = true});
}

static int start_watching(void **state)
{
    (void)state;
    return start_with(&(struct chalk_start_options){.ordinary_pages = true, .handle_removal = true});
}

/* Whatever a test did, no descriptor is left behind. */
static int stop(void **state)
{
    (void)state;
    linux_.fail_after = 0;
    chalk_device_close(device);
    chalk_stop();
    if (open_descriptors() == descriptors)
        return 0;
    print_message("%u descriptors instead of %u; the console has:\n%s", open_descriptors(), descriptors,
                  console.text);
    return -1;
}

static void open_first(void)
{
    assert_int_equal(chalk_device_open(FIRST, &domain, &device), 0);
}

/* ---- open and close ------------------------------------------------------------------------------- */

static void bus_mastering_is_off_and_registers_answer(void **state)
{
    uint32_t command;

    (void)state;
    open_first();
    assert_int_equal(chalk_pci_bus_master(device, true), 0);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), 0);
    assert_int_equal(linux_.resets, 1);
    assert_int_equal(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command), 0);
    assert_int_equal(command, CHALK_PCI_COMMAND_MEMORY);
    assert_int_equal(chalk_config_read(device, 1, 2, &command), -EINVAL);
    assert_int_equal(chalk_config_read(device, 4096, 4, &command), -EINVAL);
    assert_int_equal(chalk_config_read(device, 0x100, 4, &command), 0);
    assert_int_equal(command, UINT32_MAX); /* a conventional device has no more than 256 bytes */
}

static void every_call_that_fails_is_undone(void **state)
{
    const int errors[] = {EIO, ENOMEM, EPERM};

    (void)state;
    for (unsigned e = 0; e < 3; e++) {
        int error = -1;

        for (unsigned call = 1; error != 0; call++) {
            unsigned before = open_descriptors();

            linux_.calls = 0;
            linux_.fail_after = call;
            linux_.fail_errno = errors[e];
            console.size = 0;
            error = chalk_device_open(FIRST, &domain, &device);
            if (error != 0) {
                assert_true(error < 0);
                assert_true(console.size > 0);
                assert_null(domain);
                assert_null(hosted_domains());
                assert_int_equal(open_descriptors(), before);
                continue;
            }
            assert_true(call > 10);
            chalk_device_close(device); /* what failed, nobody needed; or nothing did */
            domain = NULL;
            device = NULL;
            error = linux_.calls >= call ? -1 : 0;
        }
    }
}

static void what_is_in_the_way_is_named(void **state)
{
    (void)state;
    linux_.in_use = true;
    assert_int_equal(chalk_device_open(FIRST, &domain, &device), -EBUSY);
    assert_true(said("fuser -v /dev/vfio/7"));
    linux_.in_use = false;
    linux_.not_viable = true;
    assert_int_equal(chalk_device_open(FIRST, &domain, &device), -EPERM);
    assert_true(said("IOMMU group 7"));
    linux_.not_viable = false;
    assert_int_equal(chalk_device_open("0000:00:1f.0", &domain, &device), -ENODEV);
    open_first();
    assert_int_equal(chalk_device_open(FIRST, &domain, &device), -EBUSY);
}

/* A file of /dev that was made for another group, or for another machine, opens another device or none. */
static void a_device_file_with_another_number_is_named(void **state)
{
    (void)state;
    linux_.number = "243:7";
    assert_int_equal(chalk_device_open(FIRST, &domain, &device), -ENXIO);
    assert_true(said("/dev/vfio/7 is not the file"));
    assert_true(said("rm /dev/vfio/7 && mknod /dev/vfio/7 c 243 7"));
    linux_.number = "1:3";
    open_first();
}

static void one_group_is_one_domain(void **state)
{
    struct chalk_domain *other_domain = NULL, *third_domain = NULL;
    struct chalk_device *second, *third;

    (void)state;
    open_first();
    assert_int_equal(chalk_device_open(SECOND, &other_domain, &second), 0);
    assert_ptr_equal(other_domain, domain);
    assert_true(said(SECOND " shares the domain of " FIRST));
    chalk_device_close(second);

    assert_int_equal(chalk_device_open(THIRD, &third_domain, &third), 0);
    assert_ptr_not_equal(third_domain, domain);
    assert_int_equal(chalk_device_open(SECOND, &third_domain, &second), -EXDEV);
    assert_true(said(SECOND " cannot join the domain of " THIRD));
    assert_int_equal(chalk_device_open("vfio-user:/nothing", &third_domain, &second), -EXDEV);
    chalk_device_close(third);

    assert_int_equal(chalk_device_open(THIRD, &domain, &third), 0); /* another group may join */
    chalk_device_close(third);
}

/* ---- windows -------------------------------------------------------------------------------------- */

static void expect_window(uint64_t offset, size_t size, bool mapped)
{
    const uint32_t value = 0x1234abcd ^ (uint32_t)offset;
    struct chalk_mmio window;
    uint32_t there;

    assert_int_equal(chalk_window_map(device, 0, offset, size, CHALK_UNCACHED, &window), 0);
    assert_int_equal(window.ops == NULL, mapped);
    chalk_mmio_write32(&window, 0, value);
    assert_int_equal(pread(device->fd, &there, 4, (off_t)offset), 4);
    assert_int_equal(there, value);
    assert_int_equal(chalk_mmio_read32(&window, 0), value);
    if (!mapped) {
        assert_int_equal(chalk_mmio_read32(&window, size - 2), UINT32_MAX);
        assert_int_equal(chalk_mmio_read32(&window, SIZE_MAX - 1), UINT32_MAX);
    }
}

static void a_window_is_wholly_mapped_or_wholly_served(void **state)
{
    (void)state;
    linux_.areas[0] = (struct range){0, 8191};
    linux_.areas[1] = (struct range){12288, 24575};
    open_first();
    expect_window(0, 8192, true);
    expect_window(4, 8, true);
    expect_window(4096, 4097, false);
    expect_window(8192, 4096, false);
    expect_window(12288, 12288, true);
    expect_window(8188, 4104, false);
}

static void only_whole_pages_are_mapped(void **state)
{
    (void)state;
    linux_.areas[0] = (struct range){512, 12287 + 512};
    open_first();
    expect_window(512, 8, false);
    expect_window(4096, 8192, true);
    expect_window(12288, 8, false);
}

static void windows_end_with_their_bar(void **state)
{
    struct chalk_mmio window;

    (void)state;
    open_first();
    console_clear();
    assert_int_equal(chalk_window_map(device, 0, 24576, 1, CHALK_UNCACHED, &window), -ERANGE);
    assert_true(said("base address register 0 has 0x6000 bytes, not 0x1 of them at 0x6000"));
    assert_int_equal(chalk_window_map(device, 0, 4, 24576, CHALK_UNCACHED, &window), -ERANGE);
    assert_int_equal(chalk_window_map(device, 0, UINT64_MAX, 2, CHALK_UNCACHED, &window), -ERANGE);
    assert_int_equal(chalk_window_map(device, 0, 0, 0, CHALK_UNCACHED, &window), -ERANGE);
    assert_int_equal(chalk_window_map(device, 1, 0, 4, CHALK_UNCACHED, &window), -ENODEV);
    assert_true(said("has I/O ports at base address register 1, not memory"));
    assert_int_equal(chalk_window_map(device, 3, 0, 4, CHALK_UNCACHED, &window), -ENODEV);
    assert_true(said("has nothing at base address register 3"));
    assert_int_equal(chalk_window_map(device, 6, 0, 4, CHALK_UNCACHED, &window), -ENODEV);
    assert_int_equal(chalk_window_map(device, 2, 8, 8, CHALK_UNCACHED, &window), 0);
    assert_null(window.ops); /* less than a page, and mapped */
}

static void the_same_window_again_takes_nothing(void **state)
{
    struct chalk_mmio first, again;

    (void)state;
    open_first();
    assert_int_equal(chalk_window_map(device, 0, 4096, 8, CHALK_UNCACHED, &first), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(chalk_window_map(device, 0, 4104, 8, CHALK_UNCACHED, &again), 0);
    assert_int_equal(again.base, first.base + 8);
}

/* ---- memory --------------------------------------------------------------------------------------- */

static void what_no_memory_has_is_a_lack_of_it(void **state)
{
    struct chalk_span span;

    (void)state;
    assert_int_equal(chalk_span_grow(SIZE_MAX, 0, 0, UINT64_MAX, &span), -ENOMEM);
    assert_int_equal(chalk_span_grow(SIZE_MAX, 4096, 0, UINT64_MAX, &span), -ENOMEM);
    assert_int_equal(chalk_span_grow(0, 0, 0, UINT64_MAX, &span), -EINVAL);
    assert_int_equal(chalk_span_grow(4096, 12288, 0, UINT64_MAX, &span), -EINVAL);
}

/* It is of interest to who uses a device, at the end, when it stands before no other message. */
static void a_lack_of_hugepages_is_told_once_and_last(void **state)
{
    struct chalk_span span;

    (void)state;
    for (unsigned opened = 0; opened < 2; opened++) {
        chalk_stop();
        assert_int_equal(start_with(&(struct chalk_start_options){.no_uring = true}), 0);
        assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
        assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
        if (span.page != 4096)
            skip(); /* this machine has some */
        if (opened) {
            open_first();
            chalk_device_close(device);
            device = NULL;
        }
        assert_string_equal(console.text, "");
        chalk_stop();
        assert_int_equal(said("ordinary pages are used, which are slower: 0 pages of 2048 KiB are free"),
                         opened);
        assert_true(!opened || said("of 1 needed; for 66 MiB root writes: echo 33 > "
                                    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"));
        assert_true(strstr(console.text + (opened ? strlen("chalk: ") : 0), "chalk: ") == NULL);
        assert_int_equal(start(state), 0);
    }
}

static void only_what_the_iommu_translates_is_mapped(void **state)
{
    struct chalk_span high, low;

    (void)state;
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &high), 0);
    linux_.ranges[0] = (struct range){0, 0xfedfffff};
    linux_.ranges[1] = (struct range){0xfef00000, 0xffffffff};
    open_first();
    assert_int_equal(chalk_dma_map(domain, high.va, 4096, high.iova, CHALK_DEVICE_READS), -ERANGE);
    assert_true(said("translates only 0x0-0xfedfffff 0xfef00000-0xffffffff"));
    assert_int_equal(chalk_dma_map(domain, high.va, 4096, 0xfee00000, CHALK_DEVICE_READS), -ERANGE);
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &low), 0);
    assert_true(low.iova < 1ull << 32); /* spans that come later stay within */
    assert_int_equal(chalk_dma_map(domain, low.va, 4096, low.iova, CHALK_DEVICE_READS), 0);
    assert_int_equal(linux_.maps, 1);
}

static void a_chain_of_capabilities_that_leads_nowhere_ends(void **state)
{
    const uint32_t wrong[] = {sizeof(struct vfio_iommu_type1_info), 1u << 31, UINT32_MAX, 1u << 12};
    struct chalk_span span;

    (void)state;
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
    linux_.ranges[0] = (struct range){0x1000, 0x1fff};
    for (unsigned i = 0; i < 4; i++) {
        linux_.chain = wrong[i];
        open_first();
        assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, CHALK_DEVICE_READS), 0);
        chalk_device_close(device);
        device = NULL;
        domain = NULL;
    }
}

static void mappings_are_counted_and_never_overlap(void **state)
{
    struct chalk_span span;

    (void)state;
    assert_int_equal(chalk_span_grow(16384, 0, 0, UINT64_MAX, &span), 0);
    open_first();
    assert_int_equal(chalk_dma_map(domain, span.va, 8192, span.iova, 3), 0);
    assert_int_equal(chalk_dma_map(domain, span.va, 8192, span.iova, 3), 0);
    assert_int_equal(linux_.maps, 1);
    assert_int_equal(chalk_dma_map(domain, span.va, 8192, span.iova, 1), -EEXIST);
    assert_int_equal(chalk_dma_map(domain, span.va, 16384, span.iova, 3), -EEXIST);
    assert_int_equal(chalk_dma_map(domain, (char *)span.va + 8192, 12288, span.iova + 8192, 3), -EINVAL);
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, UINT64_MAX - 4095, 3), -ERANGE);
    assert_int_equal(chalk_dma_map(domain, span.va, 8192, UINT64_MAX - 4095, 3), -EINVAL);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 4096), -ENOENT);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 8192), 0);
    assert_int_equal(linux_.unmaps, 0);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 8192), 0);
    assert_int_equal(linux_.unmaps, 1);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 8192), -ENOENT);

    linux_.fail_after = linux_.calls + 1;
    linux_.fail_errno = ENOSPC;
    assert_int_equal(chalk_dma_map(domain, span.va, 8192, span.iova, 3), -ENOSPC);
    assert_true(said("dma_entry_limit"));
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 8192), -ENOENT);
}

/* The limit less one, the limit, and one more; a page that is lifted makes room. */
static void guard_pages_leave_mappings_to_others(void **state)
{
    struct chalk_span span;

    (void)state;
    linux_.map_count = 160;
    assert_int_equal(chalk_span_grow(2 * 62 * 4096, 4096, 0, UINT64_MAX, &span), 0);
    for (unsigned i = 0; i < 59; i++)
        assert_int_equal(chalk_page_guard((char *)span.va + i * 8192, "one"), 0);
    assert_int_equal(chalk_page_guard((char *)span.va + 59 * 8192, "the last"), 0);
    assert_false(said("guard pages"));
    assert_int_equal(chalk_page_guard((char *)span.va + 60 * 8192, "one too many"), -ENOMEM);
    assert_true(said("all 60 guard pages are in use"));
    assert_true(said("sysctl vm.max_map_count="));
    assert_int_equal(chalk_page_guard((char *)span.va + 59 * 8192, "the same"), 0);
    assert_int_equal(chalk_page_guard((char *)span.va, NULL), 0);
    assert_int_equal(chalk_page_guard((char *)span.va, NULL), 0); /* was none: makes no room */
    assert_int_equal(chalk_page_guard((char *)span.va + 60 * 8192, "in its place"), 0);
    console_clear();
    assert_int_equal(chalk_page_guard((char *)span.va, "once more"), -ENOMEM);
    assert_false(said("guard pages"));
}

/* ---- interrupts ----------------------------------------------------------------------------------- */

static void fire(unsigned vector)
{
    const uint64_t one = 1;

    assert_true(linux_.eventfds[vector] >= 0);
    assert_int_equal(write(linux_.eventfds[vector], &one, sizeof one), sizeof one);
}

static uint32_t events(void)
{
    struct chalk_core_info info;

    assert_int_equal(chalk_core_get_info(0, &info), 0);
    return *info.events;
}

static void interrupts_count_and_end_a_wait(void **state)
{
    _Atomic(uint32_t) first = 0, second = 0;
    uint32_t seen;

    (void)state;
    open_first();
    assert_int_equal(chalk_vector_attach(device, VECTORS, 0, &first), -ERANGE);
    assert_int_equal(chalk_vector_attach(device, 0, 100000, &first), -EINVAL);
    assert_int_equal(chalk_vector_attach(device, 1, 0, NULL), 0); /* was never attached */
    assert_int_equal(chalk_vector_attach(device, 1, 0, &first), 0);
    assert_int_equal(linux_.arrays, 1); /* all vectors at once: */
    assert_int_equal(linux_.eventfds[0], -1);
    assert_int_equal(chalk_vector_attach(device, 3, 0, &second), 0);
    assert_int_equal(linux_.arrays, 1);

    seen = events();
    fire(1);
    fire(1);
    fire(3);
    assert_int_equal(first + second, 0); /* only a wait changes them */
    while (first < 2 || second < 1) {
        chalk_core_wait(0, seen, chalk_deadline(10 * CHALK_S));
        assert_int_not_equal(events(), seen);
        seen = events();
    }
    assert_int_equal(first, 2);

    assert_int_equal(chalk_vector_attach(device, 1, 0, NULL), 0);
    assert_int_equal(linux_.eventfds[1], -1);
    fire(3);
    chalk_core_wait(0, events(), chalk_deadline(10 * CHALK_S));
    assert_int_equal(first, 2);
    assert_int_equal(second, 2);
    assert_int_equal(chalk_vector_rearm(device, 3), 0);
}

/* Whoever is always late would otherwise never hear of an interrupt. */
static void a_wait_whose_deadline_has_passed_collects(void **state)
{
    _Atomic(uint32_t) counter = 0;
    uint64_t patience;

    (void)state;
    open_first();
    assert_int_equal(chalk_vector_attach(device, 0, 0, &counter), 0);
    chalk_core_wait(0, events(), 0);
    fire(0);
    patience = chalk_deadline(CHALK_S);
    while (counter == 0 && !chalk_expired(patience))
        chalk_core_wait(0, events(), 1);
    assert_int_equal(counter, 1);
}

static void an_attached_vector_moves(void **state)
{
    _Atomic(uint32_t) first = 0, second = 0;
    int before;

    (void)state;
    open_first();
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(chalk_vector_attach(device, 0, 0, i % 2 != 0 ? &first : &second), 0);
        if (i == 100)
            before = (int)open_descriptors();
    }
    assert_int_equal(open_descriptors(), before);
    fire(0);
    while (first == 0)
        chalk_core_wait(0, events(), chalk_deadline(10 * CHALK_S));
    assert_int_equal(second, 0);
}

static void *attach_often(void *argument)
{
    for (unsigned i = 0; i < 100; i++)
        if (chalk_vector_attach(device, i % 2, 0, argument) != 0)
            return device;
    for (unsigned i = 0; i < 100; i++) {
        struct chalk_domain *other_domain = NULL;
        struct chalk_device *other;

        if (chalk_device_open(THIRD, &other_domain, &other) != 0 ||
            chalk_vector_attach(other, 0, 0, argument) != 0)
            return device;
        chalk_device_close(other);
    }
    return NULL;
}

/* As the resets of a driver do, made by another core, while the vectors' own core polls and waits for
 * nothing. */
static void vectors_that_another_core_attaches_again_leave_nothing(void **state)
{
    static _Atomic(uint32_t) counter;
    pthread_t thread;
    unsigned before;
    void *failed;

    (void)state;
    open_first();
    for (unsigned vector = 0; vector < 2; vector++)
        assert_int_equal(chalk_vector_attach(device, vector, 0, &counter), 0);
    chalk_core_wait(0, 0, 0);
    before = open_descriptors();
    assert_int_equal(pthread_create(&thread, NULL, attach_often, &counter), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_in_range(open_descriptors(), before,
                    before + 4); /* of two sources the core may still be at work */
    chalk_core_wait(0, 0, 0);
    chalk_core_wait(0, 0, 0);
    assert_int_equal(open_descriptors(), before);
}

/* Interrupts that cannot be had are missed: the platform says why. */
static void a_vector_without_a_descriptor_is_told(void **state)
{
    struct rlimit before, none;
    int error, left;

    (void)state;
    open_first();
    left = dup(0);
    assert_true(left >= 0);
    close(left);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){(rlim_t)left, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    error = chalk_vector_attach(device, 0, 0, &(_Atomic(uint32_t)){0});
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(error, -EMFILE);
    assert_true(said("interrupt vector 0 cannot be used: Too many open files"));
}

static void fewer_vectors_than_the_device_has(void **state)
{
    _Atomic(uint32_t) counter = 0;

    (void)state;
    linux_.vectors_to_have = 2;
    open_first();
    assert_int_equal(chalk_vector_attach(device, 2, 0, &counter), -ERANGE);
    assert_int_equal(chalk_vector_attach(device, 1, 0, &counter), 0);
    assert_true(said("has 4 interrupt vectors, but Linux grants only 2"));
    console_clear();
    assert_int_equal(chalk_vector_attach(device, 2, 0, &counter), -ERANGE);
    assert_true(said("has no interrupt vector 2: it has 2, numbered from 0"));
    assert_int_equal(chalk_vector_attach(device, 1, 5000, &counter), -EINVAL);
    assert_true(said("chalk_vector_attach(): there is no core 5000"));
}

static struct chalk_domain *domain_of_it;

static int use_closed_device(unsigned which)
{
    struct chalk_mmio window;
    uint32_t value;

    chalk_device_close(device);
    switch (which) {
    case 0:
        chalk_device_close(device);
        return 0;
    case 1:
        return chalk_config_read(device, 0, 2, &value);
    case 2:
        return chalk_config_write(device, 4, 2, 0);
    case 3:
        return chalk_window_map(device, 0, 0, 4, CHALK_UNCACHED, &window);
    case 4:
        return chalk_vector_attach(device, 0, 0, NULL);
    case 5:
        return chalk_vector_rearm(device, 0);
    case 6:
        return chalk_device_reset(device, 0);
    case 7:
        return chalk_dma_unmap(domain_of_it, 0x1000, 0x1000);
    default:
        return chalk_dma_map(domain_of_it, NULL, 0x1000, 0x1000, CHALK_DEVICE_READS);
    }
}

/* Twice closed, or closed under who uses it: the device is named. */
static void a_closed_device_is_not_used(void **state)
{
    static const char *const calls[] = {"chalk_device_close", "chalk_config_read",   "chalk_config_write",
                                        "chalk_window_map",   "chalk_vector_attach", "chalk_vector_rearm",
                                        "chalk_device_reset"};
    char text[96];

    (void)state;
    open_first();
    domain_of_it = device->domain;
    for (unsigned which = 0; which < sizeof calls / sizeof calls[0]; which++) {
        snprintf(text, sizeof text, "%s(): " FIRST " is not open: it was closed already", calls[which]);
        expect_misuse(use_closed_device, which, text);
    }
    expect_misuse(use_closed_device, 7, "chalk_dma_unmap(): the domain of " FIRST " has ended");
    expect_misuse(use_closed_device, 8, "chalk_dma_map(): the domain of " FIRST " has ended");
}

static void a_pin_is_rearmed_by_the_driver(void **state)
{
    _Atomic(uint32_t) counter = 0;

    (void)state;
    linux_.pin = true;
    linux_.vectors = linux_.vectors_to_have = 1;
    open_first();
    assert_int_equal(chalk_vector_rearm(device, 0), -EINVAL);
    assert_int_equal(chalk_vector_attach(device, 0, 0, &counter), 0);
    fire(0);
    while (counter == 0)
        chalk_core_wait(0, events(), chalk_deadline(10 * CHALK_S));
    assert_int_equal(chalk_vector_rearm(device, 0), 0);
    assert_int_equal(linux_.unmasked, 1);
    assert_int_equal(chalk_vector_attach(device, 0, 0, NULL), 0);
    assert_int_equal(linux_.eventfds[0], -1);
    assert_int_equal(chalk_vector_rearm(device, 0), -EINVAL);
}

static void no_interrupts_at_all(void **state)
{
    _Atomic(uint32_t) counter = 0;

    (void)state;
    linux_.vectors = 0;
    open_first();
    console_clear();
    assert_int_equal(chalk_vector_attach(device, 0, 0, &counter), -ENOTSUP);
    assert_true(said("has no MSI-X and no interrupt pin"));
    assert_int_equal(chalk_vector_rearm(device, 0), -ENOTSUP);
}

static void what_is_still_open_is_closed_at_the_end(void **state)
{
    _Atomic(uint32_t) counter = 0;

    (void)state;
    open_first();
    assert_int_equal(chalk_vector_attach(device, 0, 0, &counter), 0);
    device = NULL; /* forgotten */
    chalk_stop();
    assert_true(said(FIRST " was still open"));
    assert_int_equal(chalk_start(&(struct chalk_start_options){.ordinary_pages = true}), 0);
}

/* ---- taken away ----------------------------------------------------------------------------------- */

/* As a driver has it: two windows, one of them served by calls, and bus mastering on. */
static void open_for_use(struct chalk_mmio *mapped, struct chalk_mmio *served)
{
    linux_.areas[0] = (struct range){0, 8191};
    open_first();
    assert_int_equal(chalk_window_map(device, 0, 0, 8192, CHALK_UNCACHED, mapped), 0);
    assert_int_equal(chalk_window_map(device, 0, 8192, 64, CHALK_UNCACHED, served), 0);
    assert_null(mapped->ops);
    assert_non_null(served->ops);
    assert_int_equal(chalk_pci_bus_master(device, true), 0);
    assert_int_equal(chalk_mmio_read32(mapped, 4096) | chalk_mmio_read32(served, 0), 0);
    assert_true(mapped->lost == NULL || !*mapped->lost); /* NULL: no thread waits for questions */
}

static void expect_gone(const struct chalk_mmio *mapped, const struct chalk_mmio *served)
{
    const uint64_t deadline = chalk_deadline(10 * CHALK_S);
    struct chalk_mmio window;
    uint32_t value;

    while (chalk_mmio_read32(mapped, 4096) != UINT32_MAX && !chalk_expired(deadline))
        chalk_pause();
    assert_int_equal(chalk_mmio_read64(mapped, 8184), UINT64_MAX);
    assert_true(mapped->lost == NULL || *mapped->lost);
    assert_ptr_equal(mapped->lost, served->lost);
    assert_int_equal(chalk_mmio_read32(served, 0), UINT32_MAX);
    chalk_mmio_write32(mapped, 0, 5);
    chalk_mmio_write32(served, 0, 5);
    assert_int_equal(chalk_mmio_read32(served, 0), UINT32_MAX);
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
    assert_int_equal(value, 0xffff);
    assert_int_equal(chalk_config_write(device, CHALK_PCI_COMMAND, 2, CHALK_PCI_COMMAND_MASTER), -ENODEV);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), -ENODEV);
    assert_int_equal(chalk_window_map(device, 0, 4096, 8, CHALK_UNCACHED, &window), -ENODEV);
}

static uint16_t command_register(void)
{
    const off_t at = ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 20) + CHALK_PCI_COMMAND;
    uint16_t command;

    assert_int_equal(pread(device->fd, &command, sizeof command, at), sizeof command);
    return command;
}

enum asked { REQUEST, FAILURE };

static void expect_taken_away(enum asked asked, const char *message)
{
    struct chalk_mmio mapped, served;
    uint32_t seen, there = 1;

    open_for_use(&mapped, &served);
    seen = events();
    assert_int_equal(eventfd_write(asked == REQUEST ? linux_.request : linux_.failure, 1), 0);
    expect_gone(&mapped, &served);
    while (events() == seen) /* whoever sleeps is to look */
        chalk_core_wait(0, seen, chalk_deadline(10 * CHALK_S));
    assert_int_equal(command_register() & CHALK_PCI_COMMAND_MASTER, 0);
    assert_int_equal(pread(device->fd, &there, sizeof there, 0), sizeof there);
    assert_int_equal(there, 0); /* what was written after it, the device did not see */
    assert_true(said(message));

    chalk_device_close(device);
    domain = NULL;
    open_first(); /* the next is a new one */
    assert_int_equal(chalk_window_map(device, 0, 0, 8192, CHALK_UNCACHED, &mapped), 0);
    assert_int_equal(chalk_mmio_read32(&mapped, 4096), 0);
}

static void what_linux_wants_back_reads_as_all_ones(void **state)
{
    (void)state;
    expect_taken_away(REQUEST, FIRST ": the system wants this device back");
}

static void so_does_what_the_bus_gives_up(void **state)
{
    (void)state;
    expect_taken_away(FAILURE, FIRST ": an error on the bus");
}

/* Vendor and device are Linux's to answer; its wait for a function that is not there takes a minute. */
static void one_that_does_not_answer_is_not_reset(void **state)
{
    const off_t header = ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 20) + 0x0e;
    const uint8_t ones = 0xff;
    uint32_t identity;

    (void)state;
    open_first();
    assert_int_equal(chalk_config_read(device, 0, 4, &identity), 0);
    assert_int_equal(pwrite(device->fd, &ones, 1, header), 1);
    assert_int_equal(chalk_config_read(device, 0, 4, &identity), -ENODEV);
    assert_int_equal(identity, UINT32_MAX);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), -ENODEV);
    assert_int_equal(linux_.resets, 0);
}

static void a_device_need_not_ask(void **state)
{
    (void)state;
    linux_.quiet = true;
    open_first();
    assert_int_equal(linux_.request, -1);
}

static void without_the_option_nobody_listens(void **state)
{
    (void)state;
    open_first();
    assert_int_equal(linux_.request, -1);
}

/* CMocka handles signals itself while a test runs, so the platform has to start in the test. */
static void start_over(void)
{
    chalk_stop();
    assert_int_equal(start_watching(NULL), 0);
}

/* A file that ends before its mapping does what registers do whose device has gone. */
static void registers_that_are_gone_read_as_all_ones(void **state)
{
    struct chalk_mmio mapped, served;

    (void)state;
    start_over();
    open_for_use(&mapped, &served);
    assert_int_equal(ftruncate(device->fd, 0), 0);
    assert_int_equal(chalk_mmio_read32(&mapped, 4), UINT32_MAX);
    expect_gone(&mapped, &served);
    assert_true(said(FIRST ": its registers cannot be reached any more"));
}

static void a_write_to_registers_that_are_gone_is_for_nobody(void **state)
{
    struct chalk_mmio mapped, served;

    (void)state;
    start_over();
    open_for_use(&mapped, &served);
    assert_int_equal(ftruncate(device->fd, 0), 0);
    chalk_mmio_write32(&mapped, 4, 0);
    expect_gone(&mapped, &served);
}

static sigjmp_buf elsewhere;

static void on_bus_error(int signal)
{
    siglongjmp(elsewhere, signal);
}

static void a_bus_error_elsewhere_goes_to_the_earlier_handler(void **state)
{
    struct chalk_mmio mapped, served;
    int fd = memfd_create("no device", MFD_CLOEXEC);
    volatile char *memory;

    (void)state;
    signal(SIGBUS, on_bus_error);
    start_over();
    open_for_use(&mapped, &served);
    memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    if (sigsetjmp(elsewhere, 1) == 0) {
        (void)*memory;
        fail_msg("a page that is not there was read");
    }
    munmap((void *)(uintptr_t)memory, 4096);
    close(fd);
    assert_int_equal(chalk_mmio_read32(&mapped, 4096), 0);
    chalk_device_close(device);
    chalk_stop();
    assert_true(signal(SIGBUS, SIG_DFL) == on_bus_error); /* which is there again */
    assert_int_equal(start(NULL), 0);
}

int main(void)
{
#define BOTH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, start, stop),                                                      \
        cmocka_unit_test_setup_teardown(test, start_ring, stop)
#define ONE(test)      cmocka_unit_test_setup_teardown(test, start, stop)
#define WATCHING(test) cmocka_unit_test_setup_teardown(test, start_watching, stop)
    const struct CMUnitTest tests[] = {
        ONE(bus_mastering_is_off_and_registers_answer),
        ONE(every_call_that_fails_is_undone),
        WATCHING(every_call_that_fails_is_undone),
        ONE(a_device_file_with_another_number_is_named),
        ONE(what_is_in_the_way_is_named),
        ONE(one_group_is_one_domain),
        ONE(a_window_is_wholly_mapped_or_wholly_served),
        ONE(only_whole_pages_are_mapped),
        ONE(windows_end_with_their_bar),
        ONE(the_same_window_again_takes_nothing),
        ONE(what_no_memory_has_is_a_lack_of_it),
        ONE(a_lack_of_hugepages_is_told_once_and_last),
        ONE(only_what_the_iommu_translates_is_mapped),
        ONE(a_chain_of_capabilities_that_leads_nowhere_ends),
        ONE(mappings_are_counted_and_never_overlap),
        ONE(guard_pages_leave_mappings_to_others),
        BOTH(interrupts_count_and_end_a_wait),
        BOTH(a_wait_whose_deadline_has_passed_collects),
        BOTH(an_attached_vector_moves),
        BOTH(vectors_that_another_core_attaches_again_leave_nothing),
        ONE(a_vector_without_a_descriptor_is_told),
        ONE(fewer_vectors_than_the_device_has),
        BOTH(a_pin_is_rearmed_by_the_driver),
        BOTH(a_closed_device_is_not_used),
        ONE(no_interrupts_at_all),
        BOTH(what_is_still_open_is_closed_at_the_end),
        WATCHING(what_linux_wants_back_reads_as_all_ones),
        WATCHING(so_does_what_the_bus_gives_up),
        ONE(one_that_does_not_answer_is_not_reset),
        WATCHING(a_device_need_not_ask),
        ONE(without_the_option_nobody_listens),
        ONE(registers_that_are_gone_read_as_all_ones),
        ONE(a_write_to_registers_that_are_gone_is_for_nobody),
        ONE(a_bus_error_elsewhere_goes_to_the_earlier_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
