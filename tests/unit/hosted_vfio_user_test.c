/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices in another process, when that process lies: a server in a thread of this one answers each command
 * as it should, but for what a test wants to be wrong. Whatever it does, opening ends with an error within
 * the deadline, and no descriptor is left behind.
 */
#define _GNU_SOURCE
#include "hosted/device.h"
#include "hosted/vfio_user/json.h"
#include "hosted/vfio_user/message.h"
#include "hosted_console.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/device.h>
#include <chalk/hosted.h>
#include <chalk/memory.h>
#include <chalk/mmio.h>

/* What is wrong with the answer to one command. */
enum fault {
    NOTHING,
    SILENCE,       /* no answer */
    CLOSES,        /* closes instead */
    HALF_A_HEADER, /* and then closes */
    SHORT,         /* a payload that is shorter than it has to be */
    LONG,          /* longer than was asked for */
    HUGE_SIZE,     /* a header that announces 4 GiB */
    TINY_SIZE,     /* one that announces less than itself */
    WRONG_ID,
    WRONG_COMMAND,
    NO_REPLY,       /* a command where the reply should be, that nobody knows */
    MANY_FDS,       /* more than can be taken */
    STRAY_FD,       /* one that nobody wants */
    REFUSED,        /* an error */
    REFUSED_ODDLY,  /* an error that is no errno value */
    REFUSED_LOUDLY, /* an error with a payload, as libvfio-user sends */
    FAULTS,

    /* Of one test each. */
    SLOW,         /* the right answer, after half a second */
    BREAKS_TWIN,  /* nonsense on the twin instead of an answer */
    ASKS_INSTEAD, /* ever more commands, and no answer before they are many */
    ANSWERS_LAST, /* and closes */
};

static struct {
    /* what a test wants */
    unsigned command; /* the command with the fault */
    unsigned skip;    /* of its occurrences */
    enum fault fault;
    const char *version; /* what the version message has instead */
    uint16_t major, minor;
    bool twin, no_twin_fd;
    uint32_t flags;                 /* of the device, VFIO's */
    struct vfio_region_info region; /* of BAR 0 */
    struct vfio_region_sparse_mmap_area areas[2];
    uint32_t area_count, next;
    uint64_t file_size; /* 0: no file comes with it */
    bool file_on_disk;  /* of a file system that may be anybody's */

    /* what happened */
    int listener, client, twin_end;
    pthread_t thread;
    atomic_int connections;
    int eventfds[4];
    int bar_file;
    int memory; /* the last descriptor that was mapped */
    uint64_t memory_offset;
    atomic_uint maps, unmaps, resets, writes;
    uint8_t config[256];
    uint8_t bar[8192];
    char path[64];
} peer;

/* Time flies: a deadline of five seconds comes after a tenth of one. */
static unsigned haste = 1;

unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((unsigned long long)high << 32 | low) * haste;
}

/* ---- the server ---- */

static void reply(const struct vfio_user_header *command, const void *payload, size_t size, const int *fds,
                  unsigned fd_count)
{
    struct vfio_user_header header = {
        .id = command->id, .command = command->command, .flags = VFIO_USER_REPLY};
    struct iovec part = {(void *)(uintptr_t)payload, size};

    message_send(peer.client, &header, &part, 1, fds, fd_count, CHALK_FOREVER);
}

/* A header as it is, whatever it says. */
static void send_raw(const struct vfio_user_header *header)
{
    (void)!send(peer.client, header, sizeof *header, MSG_NOSIGNAL);
}

/* Many of them: more than the deadline of anybody lasts. */
static bool ask_instead(const struct vfio_user_header *command)
{
    struct vfio_user_dma_access nothing = {.count = 4};
    struct vfio_user_header header = {.command = VFIO_USER_DMA_READ, .flags = VFIO_USER_NO_REPLY};
    struct iovec part = {&nothing, sizeof nothing};

    for (unsigned i = 0; i < 20000; i++)
        if (message_send(peer.client, &header, &part, 1, NULL, 0, CHALK_FOREVER) != 0)
            return false;
    reply(command, NULL, 0, NULL, 0);
    return true;
}

/* Returns whether the connection goes on. */
static bool answer_wrongly(const struct vfio_user_header *command, size_t size)
{
    struct vfio_user_header header = {
        .id = command->id, .command = command->command, .size = 16, .flags = VFIO_USER_REPLY};
    char zeros[8192] = {0};
    int fds[12];

    switch (peer.fault) {
    case SILENCE:
        return true;
    case CLOSES:
        return false;
    case HALF_A_HEADER:
        (void)!send(peer.client, &header, 7, MSG_NOSIGNAL);
        return false;
    case SHORT:
        reply(command, zeros, size > 0 ? size - 1 : 0, NULL, 0);
        return true;
    case LONG:
        reply(command, zeros, sizeof zeros, NULL, 0);
        return true;
    case HUGE_SIZE:
        header.size = UINT32_MAX;
        send_raw(&header);
        return true;
    case TINY_SIZE:
        header.size = 8;
        send_raw(&header);
        return true;
    case WRONG_ID:
        header.id++;
        send_raw(&header);
        return true;
    case WRONG_COMMAND:
        header.command++;
        send_raw(&header);
        return true;
    case NO_REPLY:
        header.flags = 2;
        send_raw(&header);
        return true;
    case MANY_FDS:
    case STRAY_FD:
        for (unsigned i = 0; i < 12; i++)
            fds[i] = peer.listener;
        reply(command, zeros, size, fds, peer.fault == MANY_FDS ? 12 : 1);
        return true;
    case REFUSED:
    case REFUSED_ODDLY:
    case REFUSED_LOUDLY:
        header.flags |= VFIO_USER_ERROR;
        header.error = peer.fault == REFUSED_ODDLY ? UINT32_MAX : EPERM;
        header.size += peer.fault == REFUSED_LOUDLY ? 4 : 0;
        send_raw(&header);
        if (peer.fault == REFUSED_LOUDLY)
            (void)!send(peer.client, zeros, 4, MSG_NOSIGNAL);
        return true;
    case BREAKS_TWIN:
        header.size = UINT32_MAX;
        (void)!send(peer.twin_end, &header, sizeof header, MSG_NOSIGNAL);
        return true;
    case ASKS_INSTEAD:
        return ask_instead(command);
    case ANSWERS_LAST:
        reply(command, zeros, size, NULL, 0);
        return false;
    default:
        return true;
    }
}

static void answer_version(const struct vfio_user_header *command)
{
    struct {
        struct vfio_user_version version;
        char text[512];
    } answer = {.version = {peer.major, peer.minor}};
    const char *text = peer.version != NULL ? peer.version
                       : peer.twin          ? "{\"capabilities\": {\"max_msg_fds\": 8, \"twin_socket\": "
                                              "{\"supported\": true, \"fd_index\": 0}}}"
                                            : "{ }";
    int pair[2] = {-1, -1};

    strcpy(answer.text, text);
    if (peer.twin && !peer.no_twin_fd) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        peer.twin_end = pair[0];
    }
    reply(command, &answer, sizeof answer.version + strlen(text) + 1, &pair[1], pair[1] >= 0);
    if (pair[1] >= 0)
        close(pair[1]);
}

static void answer_region(const struct vfio_user_header *command, const struct vfio_region_info *asked)
{
    struct {
        struct vfio_region_info info;
        struct vfio_region_info_cap_sparse_mmap sparse;
        struct vfio_region_sparse_mmap_area areas[2];
    } answer = {.info = {.argsz = sizeof answer.info, .index = asked->index}};
    size_t size = sizeof answer.info;
    int fd = -1;

    if (asked->index == VFIO_PCI_CONFIG_REGION_INDEX) {
        answer.info.size = sizeof peer.config;
    } else if (asked->index == 0) {
        answer.info = peer.region;
        if (peer.area_count != 0) {
            answer.info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
            answer.info.argsz = sizeof answer;
            answer.info.cap_offset = sizeof answer.info;
            answer.sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
            answer.sparse.header.next = peer.next;
            answer.sparse.nr_areas = peer.area_count;
            memcpy(answer.areas, peer.areas, sizeof peer.areas);
            size = sizeof answer;
        }
        if (peer.file_size != 0) {
            fd = peer.file_on_disk ? open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                                   : memfd_create("bar", MFD_CLOEXEC);
            assert_int_equal(ftruncate(fd, (off_t)peer.file_size), 0);
            if (peer.bar_file >= 0)
                close(peer.bar_file);
            peer.bar_file = dup(fd);
        }
    }
    reply(command, &answer, size < asked->argsz ? size : asked->argsz, &fd, fd >= 0);
    if (fd >= 0)
        close(fd);
}

static void answer_access(const struct vfio_user_header *command, const char *body)
{
    char answer[16 + 256];
    struct vfio_user_access access;
    uint8_t *space;

    memcpy(&access, body, sizeof access);
    memcpy(answer, body, sizeof access);
    space = access.region == VFIO_PCI_CONFIG_REGION_INDEX ? peer.config : peer.bar;
    if (command->command == VFIO_USER_REGION_READ) {
        memcpy(answer + 16, space + access.offset, access.count);
        reply(command, answer, 16 + access.count, NULL, 0);
        return;
    }
    memcpy(space + access.offset, body + 16, access.count);
    atomic_fetch_add(&peer.writes, 1);
    if ((command->flags & VFIO_USER_NO_REPLY) == 0)
        reply(command, answer, 16, NULL, 0);
}

static void answer_irqs(const struct vfio_user_header *command, const char *body,
                        struct descriptors *descriptors)
{
    struct vfio_irq_set set;

    memcpy(&set, body, sizeof set);
    if ((set.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0)
        for (unsigned i = 0; i < set.count && set.start + i < 4; i++) {
            if (peer.eventfds[set.start + i] >= 0)
                close(peer.eventfds[set.start + i]);
            peer.eventfds[set.start + i] = message_take(descriptors, i);
        }
    reply(command, NULL, 0, NULL, 0);
}

/* How large the answer to it has to be. */
static size_t answer_size(const struct vfio_user_header *command)
{
    switch (command->command) {
    case VFIO_USER_VERSION:
        return 4;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        return sizeof(struct vfio_region_info);
    case VFIO_USER_DEVICE_GET_INFO:
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        return 16;
    case VFIO_USER_REGION_READ:
        return 18;
    case VFIO_USER_REGION_WRITE:
        return 16;
    default:
        return 0;
    }
}

static bool serve(void)
{
    struct vfio_user_header command;
    struct descriptors descriptors;
    char body[4096];
    struct vfio_user_device_info info = {sizeof info, 0, 9, 5};
    struct vfio_irq_info irq;

    if (message_receive(peer.client, &command, &descriptors, CHALK_FOREVER) != 0)
        return false;
    if (message_receive_bytes(peer.client, body, command.size - sizeof command, CHALK_FOREVER) != 0)
        return false;
    if (command.command == peer.command && peer.fault == SLOW) {
        peer.fault = NOTHING;
        usleep(500000);
    }
    if (command.command == peer.command && peer.fault != NOTHING && peer.skip-- == 0) {
        message_drop(&descriptors);
        return answer_wrongly(&command, answer_size(&command));
    }
    switch (command.command) {
    case VFIO_USER_VERSION:
        answer_version(&command);
        break;
    case VFIO_USER_DEVICE_GET_INFO:
        info.flags = peer.flags;
        reply(&command, &info, sizeof info, NULL, 0);
        break;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        answer_region(&command, (const void *)body);
        break;
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        memcpy(&irq, body, sizeof irq);
        irq.flags = VFIO_IRQ_INFO_EVENTFD;
        irq.count = irq.index == VFIO_PCI_MSIX_IRQ_INDEX ? 4 : 0;
        reply(&command, &irq, sizeof irq, NULL, 0);
        break;
    case VFIO_USER_DEVICE_SET_IRQS:
        answer_irqs(&command, body, &descriptors);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        answer_access(&command, body);
        break;
    case VFIO_USER_DMA_MAP:
        if (peer.memory >= 0)
            close(peer.memory);
        peer.memory = message_take(&descriptors, 0); /* -1: none came */
        memcpy(&peer.memory_offset, body + 8, 8);
        atomic_fetch_add(&peer.maps, 1);
        reply(&command, NULL, 0, NULL, 0);
        break;
    case VFIO_USER_DMA_UNMAP:
        atomic_fetch_add(&peer.unmaps, 1);
        reply(&command, body, 24, NULL, 0);
        break;
    default:
        atomic_fetch_add(&peer.resets, 1);
        reply(&command, NULL, 0, NULL, 0);
    }
    message_drop(&descriptors);
    return true;
}

static void hang_up(void)
{
    close(peer.client);
    if (peer.twin_end >= 0)
        close(peer.twin_end);
    if (peer.memory >= 0)
        close(peer.memory);
    if (peer.bar_file >= 0)
        close(peer.bar_file);
    for (unsigned i = 0; i < 4; i++)
        if (peer.eventfds[i] >= 0)
            close(peer.eventfds[i]);
    memset(peer.eventfds, 0xff, sizeof peer.eventfds);
    peer.twin_end = peer.memory = peer.bar_file = -1;
}

static void *serve_all(void *argument)
{
    (void)argument;
    for (;;) {
        peer.client = accept(peer.listener, NULL, NULL);
        if (peer.client < 0)
            return NULL;
        while (serve())
            ;
        hang_up();
        atomic_fetch_add(&peer.connections, 1);
    }
}

/* ---- before and after ---- */

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
static char name[80];

/* A test sees to eventfds, so all are run with io_uring, and without. */
static bool no_uring;

static int start(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    memset(&peer, 0, sizeof peer);
    console_clear();
    memset(peer.eventfds, 0xff, sizeof peer.eventfds);
    peer.minor = VFIO_USER_MINOR;
    peer.twin_end = peer.memory = peer.bar_file = -1;
    peer.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    peer.region = (struct vfio_region_info){.argsz = sizeof peer.region, .size = sizeof peer.bar};
    memcpy(peer.config, "\x34\x12\xe8\x11", 4);
    domain = NULL;
    device = NULL;
    haste = 1;
    snprintf(peer.path, sizeof peer.path, "/tmp/chalk-vfio-user-%d", getpid());
    snprintf(name, sizeof name, "vfio-user:%s", peer.path);
    unlink(peer.path);
    peer.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, peer.path);
    if (bind(peer.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(peer.listener, 4) != 0)
        return -1;
    if (pthread_create(&peer.thread, NULL, serve_all, NULL) != 0)
        return -1;
    descriptors = open_descriptors();
    return chalk_start(
        &(struct chalk_start_options){.ordinary_pages = true, .no_uring = no_uring, .patience = "5"});
}

static int start_poll(void **state)
{
    no_uring = true;
    return start(state);
}

static int start_ring(void **state)
{
    no_uring = false;
    return start(state);
}

/* The server notices that a client has gone a little after it went. */
static unsigned settled_descriptors(unsigned before)
{
    for (unsigned i = 0; i < 500 && open_descriptors() > before; i++)
        usleep(2000);
    return open_descriptors();
}

static int stop(void **state)
{
    unsigned left;

    (void)state;
    chalk_device_close(device);
    chalk_stop();
    left = settled_descriptors(descriptors);
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    unlink(peer.path);
    if (left == descriptors)
        return 0;
    print_message("%u descriptors instead of %u; the console has:\n%s", left, descriptors, console.text);
    return -1;
}

static void open_it(void)
{
    int error = chalk_device_open(name, &domain, &device);

    if (error != 0)
        print_message("%s", console.text);
    assert_int_equal(error, 0);
}

/* ---- a server that behaves ---- */

static void registers_are_read_and_written_by_messages(void **state)
{
    struct chalk_mmio window;
    uint32_t command;

    (void)state;
    open_it();
    assert_int_equal(chalk_pci_bus_master(device, true), 0);
    assert_int_equal(peer.config[CHALK_PCI_COMMAND], CHALK_PCI_COMMAND_MASTER | CHALK_PCI_COMMAND_MEMORY);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), 0);
    assert_int_equal(peer.resets, 1);
    assert_int_equal(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command), 0);
    assert_int_equal(command, CHALK_PCI_COMMAND_MEMORY);
    assert_int_equal(chalk_window_map(device, 0, 16, 64, CHALK_UNCACHED, &window), 0);
    assert_non_null(window.ops);
    chalk_mmio_write64(&window, 8, 0x1122334455667788);
    assert_int_equal(chalk_mmio_read32(&window, 12), 0x11223344);
    assert_int_equal(peer.bar[24], 0x88);
    assert_int_equal(chalk_mmio_read32(&window, 62), UINT32_MAX); /* beyond its end */
}

/* What a process reaches is no IOMMU's to say. */
static void a_domain_of_processes_has_no_others(void **state)
{
    struct chalk_device *other = NULL;

    (void)state;
    open_it();
    assert_int_equal(chalk_device_open("ffff:ff:1f.7", &domain, &other), -EXDEV);
    assert_true(said("cannot join the domain of"));
}

/* The limit less one, the limit, and one more, which is not even asked for. */
static void a_process_takes_so_many_mappings(void **state)
{
    struct chalk_span span;

    (void)state;
    peer.version = "{\"capabilities\":{\"max_dma_maps\":3}}";
    open_it();
    assert_int_equal(chalk_span_grow(4 * 4096, 0, 0, UINT64_MAX, &span), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(chalk_dma_map(domain, (char *)span.va + i * 4096, 4096, span.iova + i * 4096, 3), 0);
    assert_int_equal(chalk_dma_map(domain, (char *)span.va + 12288, 4096, span.iova + 12288, 3), -ENOSPC);
    assert_true(said("all 3 mappings that its process takes are in use: map larger pieces"));
    assert_int_equal(peer.maps, 3);
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0); /* again, which takes none */
    assert_int_equal(chalk_dma_unmap(domain, span.iova + 4096, 4096), 0);
    assert_int_equal(chalk_dma_map(domain, (char *)span.va + 12288, 4096, span.iova + 12288, 3), 0);
}

/* Over a socket there is no difference. */
static void io_ports_are_a_window_too(void **state)
{
    struct chalk_mmio window;

    (void)state;
    peer.config[0x10] = 1; /* PCI 3.0 6.2.5.1 */
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 64, CHALK_UNCACHED, &window), 0);
    chalk_mmio_write8(&window, 3, 5);
    assert_int_equal(chalk_mmio_read8(&window, 3), 5);
}

/* Where there is a twin, a write does not wait for an answer. */
static void writes_with_a_twin_are_posted(void **state)
{
    struct chalk_mmio window;

    (void)state;
    peer.twin = true;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 64, CHALK_UNCACHED, &window), 0);
    for (unsigned i = 0; i < 100; i++)
        chalk_mmio_write32(&window, 4, i);
    assert_int_equal(chalk_mmio_read32(&window, 4), 99); /* and stays in order */
}

static void shared_registers_are_mapped(void **state)
{
    struct chalk_mmio mapped, served;

    (void)state;
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.areas[0] = (struct vfio_region_sparse_mmap_area){4096, 4096};
    peer.area_count = 1;
    peer.file_size = sizeof peer.bar;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &mapped), 0);
    assert_null(mapped.ops);
    chalk_mmio_write32(&mapped, 0, 5);
    assert_int_equal(chalk_window_map(device, 0, 0, 4096, CHALK_UNCACHED, &served), 0);
    assert_non_null(served.ops);
}

/* A program that has its memory from elsewhere can come so far below `ulimit -f`; SIGXFSZ would end it. */
static void the_limit_of_file_sizes_is_named_before_registers_are_mapped(void **state)
{
    struct chalk_mmio window;
    struct rlimit before, small;

    (void)state;
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.areas[0] = (struct vfio_region_sparse_mmap_area){4096, 4096};
    peer.area_count = 1;
    peer.file_size = sizeof peer.bar;
    open_it();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){4096, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &window), -ENOMEM);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(said("its registers cannot be mapped"));
    assert_true(said("4 KiB"));
    assert_true(said("ulimit -f unlimited"));
    assert_int_equal(chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &window), 0);
}

/* So does SPDK: its BAR 0 has four pages, of which the file ends with the second, that of the doorbells. */
static void a_file_need_only_have_what_is_mapped(void **state)
{
    struct chalk_mmio within, behind;

    (void)state;
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.region.size = 4 * 4096;
    peer.areas[0] = (struct vfio_region_sparse_mmap_area){4096, 4096};
    peer.areas[1] = (struct vfio_region_sparse_mmap_area){2 * 4096, 4096};
    peer.area_count = 2;
    peer.file_size = 2 * 4096;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &within), 0);
    assert_null(within.ops);
    assert_int_equal(chalk_window_map(device, 0, 2 * 4096, 4096, CHALK_UNCACHED, &behind), 0);
    assert_non_null(behind.ops);
}

/* To touch a page behind the end of a file is a signal. */
static void a_file_that_is_too_short_is_not_mapped(void **state)
{
    struct chalk_mmio window;

    (void)state;
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.file_size = sizeof peer.bar - 1;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 4096, CHALK_UNCACHED, &window), 0);
    assert_non_null(window.ops);
}

/* It could be of the other process's own file system, and an access to it would wait for that process. */
static void a_file_that_is_not_memory_is_not_mapped(void **state)
{
    struct chalk_mmio window;
    int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bool is_memory = fd < 0 || fcntl(fd, F_GET_SEALS) >= 0;

    (void)state;
    if (fd >= 0)
        close(fd);
    if (is_memory) {
        print_message("/var/tmp is not on a disk: not tried\n");
        return;
    }
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.file_size = sizeof peer.bar;
    peer.file_on_disk = true;
    open_it();
    assert_true(said("its file is not memory"));
    assert_int_equal(chalk_window_map(device, 0, 0, 4096, CHALK_UNCACHED, &window), 0);
    assert_non_null(window.ops);
}

static void share_registers(struct chalk_mmio *window)
{
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    peer.file_size = sizeof peer.bar;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 8192, CHALK_UNCACHED, window), 0);
    assert_null(window->ops);
    assert_int_equal(chalk_mmio_read32(window, 4096), 0);
}

static void a_file_that_is_cut_short_reads_as_all_ones(void **state)
{
    struct chalk_mmio window;
    uint32_t value;

    (void)state;
    chalk_stop(); /* to start in the test, because CMocka handles signals itself while one runs */
    assert_int_equal(chalk_start(&(struct chalk_start_options){
                         .ordinary_pages = true, .no_uring = no_uring, .handle_removal = true}),
                     0);
    share_registers(&window);
    assert_int_equal(ftruncate(peer.bar_file, 0), 0);
    assert_int_equal(chalk_mmio_read32(&window, 4096), UINT32_MAX);
    assert_int_equal(chalk_mmio_read32(&window, 0), UINT32_MAX);
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
    assert_true(said("its registers cannot be reached any more"));
}

static void what_a_dead_process_has_left_in_its_registers_is_not_read(void **state)
{
    const uint64_t deadline = chalk_deadline(10 * CHALK_S);
    struct chalk_mmio window;

    (void)state;
    share_registers(&window);
    shutdown(peer.client, SHUT_RDWR);
    while (chalk_mmio_read32(&window, 4096) != UINT32_MAX && !chalk_expired(deadline))
        usleep(2000);
    assert_int_equal(chalk_mmio_read32(&window, 4096), UINT32_MAX);
}

/* Without a question, and so without an answer to wait for. */
static void a_process_that_ends_is_told_by_a_word(void **state)
{
    const uint64_t deadline = chalk_deadline(10 * CHALK_S);
    struct chalk_core_info core;
    struct chalk_mmio window;
    uint32_t seen;

    (void)state;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 64, CHALK_UNCACHED, &window), 0);
    assert_int_equal(chalk_core_get_info(0, &core), 0);
    seen = atomic_load(core.events);
    assert_non_null(window.lost);
    assert_false(*window.lost);
    shutdown(peer.client, SHUT_RDWR);
    chalk_core_wait(0, seen, deadline);
    assert_false(chalk_expired(deadline)); /* it was woken */
    assert_true(*window.lost);
}

static void memory_goes_by_descriptor(void **state)
{
    struct chalk_span span;
    char seen[5];

    (void)state;
    open_it();
    assert_int_equal(chalk_span_grow(16384, 0, 0, UINT64_MAX, &span), 0);
    memcpy((char *)span.va + 4096, "hello", 5);
    assert_int_equal(chalk_dma_map(domain, (char *)span.va + 4096, 8192, span.iova + 4096, 3), 0);
    assert_int_equal(peer.memory_offset, 4096);
    assert_int_equal(pread(peer.memory, seen, 5, 4096), 5);
    assert_memory_equal(seen, "hello", 5);
    assert_int_equal(chalk_dma_map(domain, (char *)span.va + 4096, 8192, span.iova + 4096, 3), 0);
    assert_int_equal(peer.maps, 1);
    assert_int_equal(chalk_dma_unmap(domain, span.iova + 4096, 8192), 0);
    assert_int_equal(peer.unmaps, 0);
    assert_int_equal(chalk_dma_unmap(domain, span.iova + 4096, 8192), 0);
    assert_int_equal(peer.unmaps, 1);
}

static void memory_cannot_be_cut_short_by_the_device(void **state)
{
    struct chalk_span span;

    (void)state;
    open_it();
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0);
    assert_int_equal(ftruncate(peer.memory, 0), -1);
    *(volatile char *)span.va = 1;
}

/* All of a file can be mapped by who has its descriptor. */
static void a_file_with_private_memory_in_it_is_not_given(void **state)
{
    struct chalk_claim claim;
    struct chalk_memory *memory;
    struct chalk_span span;

    (void)state;
    open_it();
    assert_int_equal(chalk_span_grow(65536, 0, 0, UINT64_MAX, &span), 0);
    assert_int_equal(chalk_claim_range((char *)span.va + 32768, 4096, "a secret", &claim), 0);
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0);
    assert_int_equal(peer.maps, 1);
    assert_true(peer.memory < 0);
    assert_true(said("in the same file there is private memory of a secret"));
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 4096), 0);
    chalk_claim_release(&claim);

    /* Nor does it come into one that was given. */
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0);
    assert_true(peer.memory >= 0);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 4096), 0);
    assert_int_equal(chalk_claim_memory(4096, 0, UINT64_MAX, "a secret", &claim), 0);
    assert_false((uintptr_t)claim.va - (uintptr_t)span.va < span.size);

    /* What drivers take is given. */
    assert_int_equal(chalk_memory_create(NULL, &memory), 0);
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    assert_true(peer.memory >= 0);
    chalk_memory_unshare(memory, domain);
    chalk_memory_destroy(memory);
    chalk_claim_release(&claim);
}

/* Of what could be cut short a device gets no more than the bytes that it asks for. */
static void hugepages_cannot_be_cut_short_by_the_device_either(void **state)
{
    struct chalk_span span;

    (void)state;
    chalk_stop();
    assert_int_equal(chalk_start(&(struct chalk_start_options){.no_uring = no_uring}), 0);
    open_it();
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
    if (span.page == 4096) {
        print_message("no free hugepages: not tried\n");
        return;
    }
    assert_int_equal(chalk_dma_map(domain, span.va, span.page, span.iova, 3), 0);
    if (peer.memory >= 0)
        assert_int_equal(ftruncate(peer.memory, 0), -1);
    *(volatile char *)span.va = 1;
}

static void interrupts_come_through_eventfds(void **state)
{
    _Atomic(uint32_t) counter = 0;
    struct chalk_core_info core;
    uint64_t one = 1, patience;

    (void)state;
    open_it();
    assert_int_equal(chalk_vector_attach(device, 4, 0, &counter), -ERANGE);
    assert_int_equal(chalk_vector_attach(device, 2, 0, &counter), 0);
    assert_true(peer.eventfds[2] >= 0 && peer.eventfds[0] < 0);
    assert_int_equal(write(peer.eventfds[2], &one, sizeof one), sizeof one);
    patience = chalk_deadline(10 * CHALK_S);
    assert_int_equal(chalk_core_get_info(0, &core), 0);
    while (counter == 0 && !chalk_expired(patience))
        chalk_core_wait(0, *core.events, patience);
    assert_int_equal(counter, 1);
    assert_int_equal(chalk_vector_attach(device, 2, 0, NULL), 0);
    assert_true(peer.eventfds[2] < 0);
}

static void linger(unsigned core, void *argument)
{
    _Atomic(bool) *end = argument;

    while (!*end)
        chalk_sleep(core, CHALK_MS);
}

static void what_a_core_may_still_use_stays_open(void **state)
{
    static _Atomic(bool) end;
    uint32_t value;

    (void)state;
    end = false;
    open_it();
    if (chalk_core_start_any(linger, &end) < 0)
        skip();
    haste = 20;
    chalk_stop();
    assert_true(said("still runs"));
    assert_int_equal(chalk_config_read(device, 0, 2, &value), 0);
    end = true;
}

/* ---- what the server asks for ---- */

/* Sends a command and returns the error of the answer; data comes back in place. */
static int device_asks(int socket, uint16_t command, uint64_t address, void *bytes, size_t size)
{
    struct vfio_user_dma_access access = {address, size};
    struct vfio_user_header header = {.id = 77, .command = command};
    struct iovec parts[] = {{&access, sizeof access}, {bytes, command == VFIO_USER_DMA_WRITE ? size : 0}};
    struct descriptors none;

    assert_int_equal(message_send(socket, &header, parts, 2, NULL, 0, CHALK_FOREVER), 0);
    assert_int_equal(message_receive(socket, &header, &none, CHALK_FOREVER), 0);
    assert_int_equal(header.id, 77);
    assert_int_equal(header.flags & VFIO_USER_TYPE, VFIO_USER_REPLY);
    if ((header.flags & VFIO_USER_ERROR) != 0)
        return (int)header.error;
    assert_int_equal(message_receive_bytes(socket, &access, sizeof access, CHALK_FOREVER), 0);
    if (command == VFIO_USER_DMA_READ)
        assert_int_equal(message_receive_bytes(socket, bytes, size, CHALK_FOREVER), 0);
    return 0;
}

static void a_device_without_descriptors_reaches_what_was_mapped(void **state)
{
    struct chalk_span span;
    char bytes[16] = "from the device";

    (void)state;
    peer.twin = true;
    open_it();
    assert_int_equal(chalk_span_grow(16384, 0, 0, UINT64_MAX, &span), 0);
    assert_int_equal(
        chalk_dma_map(domain, span.va, 4096, span.iova, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES), 0);
    assert_int_equal(
        chalk_dma_map(domain, (char *)span.va + 4096, 4096, span.iova + 4096, CHALK_DEVICE_READS), 0);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_WRITE, span.iova + 24, bytes, sizeof bytes), 0);
    assert_string_equal((char *)span.va + 24, "from the device");
    memcpy((char *)span.va + 4090, "across two pages", 16);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_READ, span.iova + 4090, bytes, sizeof bytes),
                     0);
    assert_memory_equal(bytes, "across two pages", 16);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_WRITE, span.iova + 4096, bytes, 8), EFAULT);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_READ, span.iova + 8190, bytes, 4), EFAULT);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_READ, 0, bytes, 4), EFAULT);
    assert_int_equal(device_asks(peer.twin_end, VFIO_USER_DMA_READ, UINT64_MAX - 1, bytes, 4), EFAULT);
    assert_int_equal(device_asks(peer.twin_end, 99, span.iova, bytes, 4), ENOTSUP);
}

static struct chalk_span toggled;

/* Its words are all zeroes or all ones, never a part of each. */
static void *toggle(void *argument)
{
    const _Atomic(bool) *end = argument;

    while (!*end)
        for (unsigned i = 1; i < 16; i++)
            ((volatile uint32_t *)toggled.va)[i] ^= UINT32_MAX;
    return NULL;
}

/* As on the bus: what tells of something, such as a doorbell in memory, is never seen in halves. */
static void words_are_moved_at_once(void **state)
{
    _Atomic(bool) end = false;
    uint32_t words[15], torn = 0;
    pthread_t thread;

    (void)state;
    open_it();
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &toggled), 0);
    assert_int_equal(chalk_dma_map(domain, toggled.va, 4096, toggled.iova, CHALK_DEVICE_READS), 0);
    assert_int_equal(pthread_create(&thread, NULL, toggle, &end), 0);
    for (unsigned i = 0; i < 500000; i++) {
        if (hosted_domain_move(domain, toggled.iova + 4, words, sizeof words, false) != 0)
            break;
        for (unsigned word = 0; word < 15; word++)
            torn += words[word] != 0 && words[word] != UINT32_MAX;
    }
    end = true;
    pthread_join(thread, NULL);
    assert_int_equal(torn, 0);
}

static void a_command_that_makes_no_sense_ends_the_connection(void **state)
{
    struct vfio_user_header header = {.command = VFIO_USER_DMA_READ, .size = UINT32_MAX};
    uint32_t value;

    (void)state;
    peer.twin = true;
    open_it();
    assert_int_equal(send(peer.twin_end, &header, sizeof header, MSG_NOSIGNAL), sizeof header);
    for (unsigned i = 0; i < 1000 && !said("malformed command"); i++)
        usleep(2000);
    assert_true(said("malformed command"));
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
}

/* ---- a server that does not ---- */

static void open_then(unsigned command, enum fault fault)
{
    open_it();
    peer.command = command;
    peer.fault = fault;
}

static void start_with_patience(const char *list)
{
    chalk_stop();
    assert_int_equal(chalk_start(&(struct chalk_start_options){
                         .ordinary_pages = true, .no_uring = no_uring, .patience = list}),
                     0);
    open_it();
}

/* It needs ten seconds: as long as its socket is open it is not gone. */
static void who_is_slow_is_waited_for(void **state)
{
    uint32_t value;

    (void)state;
    haste = 20;
    start_with_patience(NULL);
    peer.command = VFIO_USER_REGION_READ;
    peer.fault = SLOW;
    assert_int_equal(chalk_config_read(device, 0, 2, &value), 0);
    assert_int_equal(value, 0x1234);
    assert_true(said("has the socket open"));
    assert_false(said("the time is up"));
}

/* And who has to answer at once, by name, and does not, has lost its device: but not before its time. */
static void patience_is_for_each_device(void **state)
{
    static const char *const wrong[] = {
        "", "x", "0", "-1", "60,", "60s", "vfio-user:/a=", "=", "99999999999"};
    char list[128];
    uint32_t value;

    (void)state;
    haste = 20;
    snprintf(list, sizeof list, "60,%s=7,vfio-user:/none=600", name);
    start_with_patience(list);
    peer.command = VFIO_USER_REGION_READ;
    peer.fault = SLOW;
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ETIMEDOUT);
    assert_true(said("has the socket open"));
    assert_true(said("the time is up"));
    chalk_device_close(device);
    device = NULL;
    chalk_stop();
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(chalk_start(&(struct chalk_start_options){.patience = wrong[i]}), -EINVAL);
    assert_int_equal(chalk_start(&(struct chalk_start_options){.patience = "5"}), 0);
}

static void come_back_or_not(const char *text)
{
    for (unsigned i = 0; i < 2000 && !said(text); i++)
        usleep(2000);
    if (!said(text))
        print_message("no '%s' in:\n%s", text, console.text);
    assert_true(said(text));
}

/* It ends, and another one serves the same device at the same path: what the first was told, the second is.
 */
static void who_comes_back_is_told_again(void **state)
{
    struct chalk_mmio window, served;
    _Atomic(uint32_t) counter = 0;
    struct chalk_span span;
    uint32_t value = 0;

    (void)state;
    for (unsigned twin = 0; twin < 2; twin++) {
        chalk_stop();
        console_clear();
        peer.twin = twin != 0;
        peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
        peer.areas[0] = (struct vfio_region_sparse_mmap_area){4096, 4096};
        peer.area_count = 1;
        peer.file_size = sizeof peer.bar;
        memcpy(peer.config, "\x34\x12\xe8\x11", 4);
        assert_int_equal(chalk_start(&(struct chalk_start_options){
                             .ordinary_pages = true, .no_uring = no_uring, .reconnect = "20"}),
                         0);
        domain = NULL;
        open_it();
        assert_int_equal(chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &window), 0);
        assert_int_equal(chalk_window_map(device, 0, 0, 64, CHALK_UNCACHED, &served), 0);
        assert_int_equal(chalk_span_grow(16384, 0, 0, UINT64_MAX, &span), 0);
        assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0);
        assert_int_equal(chalk_dma_map(domain, (char *)span.va + 8192, 4096, span.iova + 8192, 3), 0);
        assert_int_equal(chalk_dma_unmap(domain, span.iova, 4096), 0);
        assert_int_equal(chalk_vector_attach(device, 2, 0, &counter), 0);
        assert_int_equal(chalk_pci_bus_master(device, true), 0);
        for (unsigned round = 0; round < 3; round++) {
            console_clear();
            peer.config[CHALK_PCI_COMMAND] = 0;
            atomic_store(&peer.maps, 0);
            shutdown(peer.client, SHUT_RDWR);
            if (round % 2 == 0) /* who asks, waits; else the thread sees it */
                assert_int_equal(chalk_config_read(device, 0, 2, &value), 0);
            come_back_or_not("has come back");
            assert_int_equal(chalk_config_read(device, 0, 2, &value), 0);
            assert_int_equal(value, 0x1234);
            assert_int_equal(peer.maps, 1);
            assert_int_equal(peer.memory_offset, 8192);
            assert_true(peer.memory >= 0 && peer.eventfds[2] >= 0 && peer.eventfds[0] < 0);
            assert_int_equal(peer.config[CHALK_PCI_COMMAND],
                             CHALK_PCI_COMMAND_MASTER | CHALK_PCI_COMMAND_MEMORY);
            chalk_mmio_write32(&window, 0, 5 + round); /* the new file is mapped */
            assert_int_equal(pread(peer.bar_file, &value, 4, 4096), 4);
            assert_int_equal(value, 5 + round);
            chalk_mmio_write32(&served, 4, 7);
            assert_int_equal(chalk_mmio_read32(&served, 4), 7);
        }
        console_clear();
        peer.config[0] = 0x35; /* another device */
        shutdown(peer.client, SHUT_RDWR);
        come_back_or_not("the process that has this device has closed the connection");
        assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
        chalk_device_close(device);
        device = NULL;
    }
}

/* Another program, or the same with other options, cannot take the place of the one before. */
static void who_comes_back_without_its_twin_is_named(void **state)
{
    uint32_t value;

    (void)state;
    chalk_stop();
    peer.twin = true;
    memcpy(peer.config, "\x34\x12\xe8\x11", 4);
    assert_int_equal(chalk_start(&(struct chalk_start_options){
                         .ordinary_pages = true, .no_uring = no_uring, .reconnect = "20"}),
                     0);
    domain = NULL;
    open_it();
    console_clear();
    peer.twin = false;
    shutdown(peer.client, SHUT_RDWR);
    come_back_or_not("the process that has come back offers no twin socket, unlike the one before");
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
}

/* And who does not come back in time is gone. */
static void who_stays_away_is_gone(void **state)
{
    uint32_t value;

    (void)state;
    chalk_stop();
    assert_int_equal(chalk_start(&(struct chalk_start_options){
                         .ordinary_pages = true, .no_uring = no_uring, .reconnect = "1"}),
                     0);
    open_it();
    assert_int_equal(rename(peer.path, "/tmp/chalk-vfio-user-away"), 0);
    shutdown(peer.client, SHUT_RDWR);
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
    assert_true(said("1 s are waited for it to come back"));
    assert_true(hosted_device_lost(device));
    assert_int_equal(rename("/tmp/chalk-vfio-user-away", peer.path), 0);
}

/* Who waits for an answer when the other socket ends the connection hears what everybody hears from then on.
 */
static void a_twin_that_breaks_ends_a_question(void **state)
{
    uint32_t value;

    (void)state;
    peer.twin = true;
    open_then(VFIO_USER_REGION_READ, BREAKS_TWIN);
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
    assert_true(said("malformed command"));
}

static void commands_do_not_put_an_answer_off(void **state)
{
    (void)state;
    open_then(VFIO_USER_DEVICE_RESET, ASKS_INSTEAD);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_MS)), -ETIMEDOUT);
    assert_true(said("does not answer"));
}

static void who_is_gone_after_a_reset_is_not_waited_for(void **state)
{
    (void)state;
    open_then(VFIO_USER_DEVICE_RESET, ANSWERS_LAST);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(10 * CHALK_S)), -ENODEV);
}

/* Two walks along the bus at once: the end of one is not the other's. */
static void a_walk_goes_on_when_another_has_ended(void **state)
{
    struct chalk_bus_info info = {0}, other;
    char bus[2 * sizeof name];

    (void)state;
    chalk_stop();
    snprintf(bus, sizeof bus, "%s,%s", name, name);
    assert_int_equal(
        chalk_start(&(struct chalk_start_options){.ordinary_pages = true, .no_uring = no_uring, .bus = bus}),
        0);
    assert_int_equal(chalk_bus_next(&info), 0);
    assert_int_equal(chalk_bus_find(CHALK_CLASS_NVME, &other), -ENOENT);
    assert_int_equal(chalk_bus_next(&info), 0);
    assert_string_equal(info.name, name);
    assert_int_equal(chalk_bus_next(&info), -ENOENT);
}

static void whatever_is_wrong_is_an_error_in_time(void **state)
{
    static const struct {
        unsigned command, skip;
    } places[] = {
        {VFIO_USER_VERSION, 0},
        {VFIO_USER_DEVICE_GET_INFO, 0},
        {VFIO_USER_DEVICE_GET_REGION_INFO, 0},
        {VFIO_USER_DEVICE_GET_REGION_INFO, 3},
        {VFIO_USER_REGION_READ, 0},
        {VFIO_USER_REGION_WRITE, 0},
    };

    unsigned before = open_descriptors();

    (void)state;
    haste = 50;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++)
        for (unsigned twin = 0; twin < 2; twin++)
            for (peer.fault = NOTHING + 1; peer.fault < FAULTS; peer.fault++) {
                enum fault fault = peer.fault;
                int error;

                if ((fault == SHORT && places[i].command == VFIO_USER_VERSION) ||
                    ((fault == STRAY_FD || fault == LONG || fault == SHORT) &&
                     (places[i].command == VFIO_USER_DEVICE_GET_REGION_INFO ||
                      places[i].command == VFIO_USER_VERSION)))
                    continue; /* a descriptor may come with those, and their length is open */
                peer.twin = twin != 0;
                peer.command = places[i].command;
                peer.skip = places[i].skip;
                console.size = 0;
                error = chalk_device_open(name, &domain, &device);
                if (error == 0)
                    print_message("command %u, fault %d\n", peer.command, (int)fault);
                assert_true(error < 0);
                console.text[console.size] = '\0';
                assert_true(console.size > 0);
                assert_null(domain);
                assert_null(hosted_domains());
                if (settled_descriptors(before) != before)
                    print_message("command %u, fault %d:\n%s", peer.command, (int)fault, console.text);
                assert_int_equal(open_descriptors(), before);
            }
    peer.fault = NOTHING;
}

static void it_may_end_at_any_time(void **state)
{
    struct chalk_mmio window;
    struct chalk_span span;
    uint32_t value;

    (void)state;
    open_it();
    assert_int_equal(chalk_window_map(device, 0, 0, 64, CHALK_UNCACHED, &window), 0);
    assert_int_equal(chalk_span_grow(4096, 0, 0, UINT64_MAX, &span), 0);
    assert_int_equal(chalk_dma_map(domain, span.va, 4096, span.iova, 3), 0);
    shutdown(peer.client, SHUT_RDWR);
    for (unsigned i = 0; i < 1000 && !said("has closed the connection"); i++)
        usleep(2000);
    assert_true(said("has closed the connection"));
    assert_int_equal(chalk_mmio_read32(&window, 0), UINT32_MAX);
    chalk_mmio_write32(&window, 0, 1);
    assert_int_equal(chalk_config_read(device, 0, 2, &value), -ENODEV);
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), -ENODEV);
    assert_int_equal(chalk_dma_unmap(domain, span.iova, 4096), 0);
}

/* Linux notes who calls listen(). */
static void who_listens_is_this_user_or_root(void **state)
{
    (void)state;
    open_it();
    chalk_device_close(device);
    device = NULL;
    domain = NULL;
    if (geteuid() != 0) {
        print_message("not root: another user's socket was not tried\n");
        return;
    }
    assert_int_equal(seteuid(12345), 0);
    assert_int_equal(listen(peer.listener, 4), 0);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chalk_device_open(name, &domain, &device), -EACCES);
    assert_true(said("of user 12345 listens there"));
}

static void versions_are_agreed_on(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,",
                                      "{\"capabilities\": {\"max_msg_fds\": }}",
                                      "\"no end",
                                      "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
                                      "{\"capabilities\": {\"max_data_xfer_size\": 1}}"};

    (void)state;
    peer.major = 1;
    assert_int_equal(chalk_device_open(name, &domain, &device), -EPROTO);
    assert_true(said("speaks version 1.1 of vfio-user"));
    peer.major = 0;
    peer.minor = 99;
    assert_int_equal(chalk_device_open(name, &domain, &device), -EPROTO);
    peer.minor = 0;
    for (unsigned i = 1; i < sizeof bad / sizeof bad[0]; i++) {
        peer.version = bad[i];
        assert_int_equal(chalk_device_open(name, &domain, &device), -EPROTO);
    }
    peer.version = bad[0]; /* no capabilities at all are good */
    open_it();
}

static void a_twin_that_was_promised_has_to_come(void **state)
{
    (void)state;
    peer.twin = peer.no_twin_fd = true;
    assert_int_equal(chalk_device_open(name, &domain, &device), -EPROTO);
    assert_true(said("offered a twin socket, and sent none"));
    peer.no_twin_fd = false;
    peer.version = "{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":4294967295}}}";
    assert_int_equal(chalk_device_open(name, &domain, &device), -EPROTO);
}

static void regions_are_not_believed(void **state)
{
    static const struct {
        uint64_t size, offset, area, area_size, file;
        uint32_t areas, next;
        int error;
    } cases[] = {
        {UINT64_MAX, 0, 0, 4096, 8192, 1, 0, -EPROTO},
        {8192, UINT64_MAX, 0, 4096, 8192, 1, 0, -EPROTO},
        {8192, INT64_MAX, 0, 4096, 8192, 1, 0, -EPROTO},
        {8192, 0, UINT64_MAX - 4095, 4096, 8192, 1, 0, 0}, /* not mapped */
        {8192, 0, 4096, UINT64_MAX, 8192, 1, 0, 0},        /* as far as the region goes */
        {8192, 0, 0, 4096, 8192, UINT32_MAX, 0, 0},        /* that many areas there are not */
        {8192, 0, 0, 4096, 8192, 1, 33, 0},                /* no capability can be there */
        {8192, 0, 0, 4096, 8192, 1, 32, 0},                /* a list without end */
        {8192, 0, 0, 4096, 8192, 1, UINT32_MAX - 7, 0},
    };

    (void)state;
    peer.region.flags = VFIO_REGION_INFO_FLAG_MMAP;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chalk_mmio window;

        peer.region.size = cases[i].size;
        peer.region.offset = cases[i].offset;
        peer.areas[0] = (struct vfio_region_sparse_mmap_area){cases[i].area, cases[i].area_size};
        peer.area_count = cases[i].areas;
        peer.next = cases[i].next;
        peer.file_size = cases[i].file;
        assert_int_equal(chalk_device_open(name, &domain, &device), cases[i].error);
        if (cases[i].error != 0)
            continue;
        if (chalk_window_map(device, 0, 4096, 4096, CHALK_UNCACHED, &window) == 0 && window.ops == NULL)
            chalk_mmio_write32(&window, 0, 1);
        chalk_device_close(device);
        device = NULL;
        domain = NULL;
    }
}

static void it_has_to_be_a_pci_device(void **state)
{
    (void)state;
    peer.flags = VFIO_DEVICE_FLAGS_RESET;
    assert_int_equal(chalk_device_open(name, &domain, &device), -ENXIO);
    peer.flags = VFIO_DEVICE_FLAGS_PCI;
    open_it();
    assert_int_equal(chalk_device_reset(device, chalk_deadline(CHALK_S)), -ENOTSUP);
}

static void what_cannot_be_the_path_of_a_socket_is_no_name(void **state)
{
    static const size_t lengths[] = {0, 108, 120, 300};
    char text[400];

    (void)state;
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memset(text, 'a', sizeof text);
        memcpy(text, HOSTED_VFIO_USER, strlen(HOSTED_VFIO_USER));
        text[strlen(HOSTED_VFIO_USER) + lengths[i]] = '\0';
        assert_int_equal(chalk_device_open(text, &domain, &device), -EINVAL);
    }
    text[strlen(HOSTED_VFIO_USER) + 107] = '\0';
    assert_int_equal(chalk_device_open(text, &domain, &device), -ENODEV);
}

static void json_is_read_as_far_as_it_is_valid(void **state)
{
    static const char *const bad[] = {"",      " ",      "{",    "}",   "{\"a\"}", "{\"a\":1,}",
                                      "[1 2]", "\"\n\"", "\"\\", "tru", "1 1",     "{1:2}"};
    const char *good =
        " { \"a\" : [ 1, {\"b\":2} ], \"b.c\":3, \"d\": {\"\\\"e\": true, \"e\": false, \"f\": 1e9, "
        "\"g\": 99999999999999999999, \"h\": 42 } } ";
    uint32_t number = 7;
    bool flag = true;

    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(json_valid(bad[i]));
    assert_true(json_valid(good));
    assert_true(json_number(good, "d.h", &number));
    assert_int_equal(number, 42);
    assert_true(json_number(good, "d.g", &number));
    assert_int_equal(number, UINT32_MAX);
    assert_false(json_number(good, "d.f", &number));
    assert_false(json_number(good, "d.x", &number));
    assert_false(json_number(good, "a.b", &number));
    assert_false(json_number(good, "d.h.i", &number));
    assert_true(json_boolean(good, "d.e", &flag));
    assert_false(flag);
    assert_false(json_boolean(good, "d.h", &flag));
}

int main(void)
{
#define ONE(test)                                                                                            \
    cmocka_unit_test_setup_teardown(test, start_poll, stop),                                                 \
        cmocka_unit_test_setup_teardown(test, start_ring, stop)
    const struct CMUnitTest tests[] = {
        ONE(registers_are_read_and_written_by_messages),
        ONE(a_domain_of_processes_has_no_others),
        ONE(a_process_takes_so_many_mappings),
        ONE(io_ports_are_a_window_too),
        ONE(writes_with_a_twin_are_posted),
        ONE(shared_registers_are_mapped),
        ONE(the_limit_of_file_sizes_is_named_before_registers_are_mapped),
        ONE(a_file_need_only_have_what_is_mapped),
        ONE(a_file_that_is_too_short_is_not_mapped),
        ONE(a_file_that_is_not_memory_is_not_mapped),
        ONE(a_file_that_is_cut_short_reads_as_all_ones),
        ONE(what_a_dead_process_has_left_in_its_registers_is_not_read),
        ONE(a_process_that_ends_is_told_by_a_word),
        ONE(memory_goes_by_descriptor),
        ONE(memory_cannot_be_cut_short_by_the_device),
        ONE(a_file_with_private_memory_in_it_is_not_given),
        ONE(hugepages_cannot_be_cut_short_by_the_device_either),
        ONE(interrupts_come_through_eventfds),
        ONE(what_a_core_may_still_use_stays_open),
        ONE(a_device_without_descriptors_reaches_what_was_mapped),
        ONE(words_are_moved_at_once),
        ONE(a_command_that_makes_no_sense_ends_the_connection),
        ONE(who_is_slow_is_waited_for),
        ONE(patience_is_for_each_device),
        ONE(who_comes_back_is_told_again),
        ONE(who_comes_back_without_its_twin_is_named),
        ONE(who_stays_away_is_gone),
        ONE(a_twin_that_breaks_ends_a_question),
        ONE(commands_do_not_put_an_answer_off),
        ONE(who_is_gone_after_a_reset_is_not_waited_for),
        ONE(a_walk_goes_on_when_another_has_ended),
        ONE(whatever_is_wrong_is_an_error_in_time),
        ONE(it_may_end_at_any_time),
        ONE(who_listens_is_this_user_or_root),
        ONE(versions_are_agreed_on),
        ONE(a_twin_that_was_promised_has_to_come),
        ONE(regions_are_not_believed),
        ONE(it_has_to_be_a_pci_device),
        ONE(what_cannot_be_the_path_of_a_socket_is_no_name),
        cmocka_unit_test(json_is_read_as_far_as_it_is_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
