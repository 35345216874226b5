/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile vfio-user server: what it answers to each command comes from the fuzzer, but for the identifier
 * and, mostly, the size. The client opens the device, uses what it was told is there, and closes it. Bytes
 * are used up in the order of the commands: first what the server asks for before it answers, as it would of
 * memory (and the client's replies are judged), then a byte that says what is wrong, then the length of the
 * payload, then the payload.
 */
#define _GNU_SOURCE
#include "hosted/device.h"
#include "hosted/vfio_user/message.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/hosted.h>
#include <chalk/mmio.h>

enum { WRONG_ID = 1, WRONG_SIZE = 2, ERROR = 4, DESCRIPTOR = 8, AS_COMMAND = 16, STOP = 32, RAW = 64 };

static const uint8_t *data;
static size_t left;
static int listener;
static char name[80];

long chalk_console(void *bytes, size_t size, bool write)
{
    (void)bytes;
    return write ? (long)size : 0;
}

/* Two hundred times as fast as it is: to wait is to waste time. */
unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    uint32_t low, high;
    static unsigned long long first;
    unsigned long long now;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    now = (unsigned long long)high << 32 | low;
    if (first == 0)
        first = now;
    return first + (now - first) * 200;
}

static size_t take(void *bytes, size_t size)
{
    size_t some = size < left ? size : left;

    memset(bytes, 0, size);
    memcpy(bytes, data, some);
    data += some;
    left -= some;
    return some;
}

/* What is right, so that the fuzzer need not find it out: it changes what it likes. */
static size_t honest(const struct vfio_user_header *command, const char *body, char *answer)
{
    struct vfio_user_device_info info = {sizeof info, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET, 9, 5};
    struct vfio_region_info region = {.argsz = sizeof region, .flags = 7, .size = 8192};
    struct vfio_irq_info irq = {.argsz = sizeof irq, .flags = VFIO_IRQ_INFO_EVENTFD, .count = 2};
    struct vfio_user_access access;

    switch (command->command) {
    case VFIO_USER_VERSION:
        memcpy(answer, "\0\0\0\0{}", 7);
        return 7;
    case VFIO_USER_DEVICE_GET_INFO:
        memcpy(answer, &info, sizeof info);
        return sizeof info;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        memcpy(&region.index, body + 8, 4);
        memcpy(answer, &region, sizeof region);
        return sizeof region;
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        memcpy(&irq.index, body + 8, 4);
        memcpy(answer, &irq, sizeof irq);
        return sizeof irq;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        memcpy(&access, body, sizeof access);
        memcpy(answer, body, sizeof access);
        memset(answer + sizeof access, 0x10, 8);
        return sizeof access + (command->command == VFIO_USER_REGION_READ ? access.count : 0);
    default:
        return 0;
    }
}

/* ---- what it asks for ---- */

enum { WRITES = 1, ANY_COMMAND = 2, ANYWHERE = 4, ANY_COUNT = 8, OTHER_SIZE = 16, QUIETLY = 32 };

/* Of what the client has ever lent. */
static uint64_t lent_address, lent_size;

static bool is_lent(const struct vfio_user_dma_access *access)
{
    return access->address - lent_address < lent_size &&
           access->count <= lent_size - (access->address - lent_address);
}

/* The reply is one to this command: an error alone, or the access and the data that were asked for. */
static bool take_reply(int client, const struct vfio_user_header *command,
                       const struct vfio_user_dma_access *access)
{
    static char reply[sizeof *access + VFIO_USER_DATA_MAX];
    struct vfio_user_header header;
    struct descriptors none;

    if (message_receive(client, &header, &none, CHALK_FOREVER) != 0)
        return false;
    if (header.id != command->id || header.command != command->command ||
        (header.flags & VFIO_USER_TYPE) != VFIO_USER_REPLY || none.count != 0 || header.size < sizeof header)
        abort();
    if ((header.flags & VFIO_USER_ERROR) != 0)
        return header.size == sizeof header && header.error != 0 ? true : (abort(), false);
    if (header.size - sizeof header !=
            sizeof *access + (command->command == VFIO_USER_DMA_READ ? access->count : 0) ||
        (access->count != 0 && !is_lent(access)))
        abort();
    return message_receive_bytes(client, reply, header.size - sizeof header, CHALK_FOREVER) == 0;
}

/* A command before an answer. Returns whether the connection goes on. */
static bool ask(int client)
{
    static char bytes[2 * 8192];
    struct vfio_user_dma_access access = {.address = lent_address};
    struct vfio_user_header header = {.id = 77, .command = VFIO_USER_DMA_READ};
    struct iovec parts[] = {{&access, sizeof access}, {bytes, 0}};
    uint16_t offset, count, size;
    uint8_t kind;

    take(&kind, 1);
    take(&offset, 2);
    take(&count, 2);
    access.address += offset % 8192u;
    access.count = count % 8192u;
    if ((kind & WRITES) != 0)
        header.command = VFIO_USER_DMA_WRITE;
    if ((kind & ANY_COMMAND) != 0)
        take(&header.command, sizeof header.command);
    if ((kind & ANYWHERE) != 0)
        take(&access.address, sizeof access.address);
    if ((kind & ANY_COUNT) != 0)
        take(&access.count, sizeof access.count);
    parts[1].iov_len =
        header.command == VFIO_USER_DMA_WRITE && access.count < sizeof bytes ? access.count : 0;
    if ((kind & OTHER_SIZE) != 0) {
        take(&size, sizeof size);
        parts[1].iov_len = size % sizeof bytes;
    }
    header.flags = (kind & QUIETLY) != 0 ? VFIO_USER_NO_REPLY : 0;
    if (message_send(client, &header, parts, 2, NULL, 0, CHALK_FOREVER) != 0)
        return false;
    return (kind & QUIETLY) != 0 || take_reply(client, &header, &access);
}

/* ---- what it answers ---- */

static void note_memory(const struct vfio_user_header *command, const char *body)
{
    if (command->command != VFIO_USER_DMA_MAP)
        return;
    memcpy(&lent_address, body + offsetof(struct vfio_user_dma_map, address), sizeof lent_address);
    memcpy(&lent_size, body + offsetof(struct vfio_user_dma_map, size), sizeof lent_size);
}

static bool serve(int client)
{
    struct vfio_user_header command, header;
    struct descriptors descriptors;
    char body[4096], answer[8192] = {0};
    uint8_t asks, what, change[2];
    uint16_t size;
    int fd = -1;

    if (message_receive(client, &command, &descriptors, CHALK_FOREVER) != 0)
        return false;
    message_drop(&descriptors);
    if (command.size - sizeof command > sizeof body ||
        message_receive_bytes(client, body, command.size - sizeof command, CHALK_FOREVER) != 0)
        return false;
    if ((command.flags & VFIO_USER_NO_REPLY) != 0)
        return true;
    note_memory(&command, body);
    take(&asks, 1);
    for (unsigned i = 0; i < asks % 4u; i++)
        if (!ask(client))
            return false;
    take(&what, 1);
    size = (uint16_t)honest(&command, body, answer);
    header = (struct vfio_user_header){
        .id = command.id, .command = command.command, .size = 16u + size, .flags = VFIO_USER_REPLY};
    if ((what & STOP) != 0)
        return false;
    if ((what & WRONG_ID) != 0)
        take(&header.id, sizeof header.id);
    if ((what & WRONG_SIZE) != 0) {
        take(&size, sizeof size);
        size %= sizeof answer;
        header.size = 16u + size;
    }
    if ((what & ERROR) != 0) {
        header.flags |= VFIO_USER_ERROR;
        take(&header.error, sizeof header.error);
    }
    if ((what & AS_COMMAND) != 0) {
        take(&header.command, sizeof header.command);
        take(&header.flags, 1);
    }
    if ((what & RAW) != 0)
        take(answer, size);
    for (unsigned i = 0; i < (what >> 7 & 1) * 4u; i++) {
        take(change, 2);
        answer[change[0] % 64] = (char)change[1];
    }
    if ((what & DESCRIPTOR) != 0) {
        fd = memfd_create("bar", MFD_CLOEXEC);
        (void)!ftruncate(fd, 8192);
    }
    {
        struct iovec parts[] = {{answer, size}};
        uint32_t announced = header.size;

        /* message_send() fills the size in: what it announces and what it sends can only differ by hand */
        if ((what & (ERROR | WRONG_SIZE)) == (ERROR | WRONG_SIZE)) {
            header.size = announced ^ 0x80;
            (void)!send(client, &header, sizeof header, MSG_NOSIGNAL);
        } else {
            message_send(client, &header, parts, 1, &fd, fd >= 0, CHALK_FOREVER);
        }
    }
    if (fd >= 0)
        close(fd);
    /* Who is told of something that does not come would wait for it. */
    return (what & AS_COMMAND) == 0 && (what & (ERROR | WRONG_SIZE)) != (ERROR | WRONG_SIZE) &&
           (left > 0 || what == 0);
}

static void *serve_all(void *argument)
{
    (void)argument;
    for (;;) {
        int client = accept(listener, NULL, NULL);

        while (client >= 0 && serve(client))
            ;
        close(client);
    }
}

static void set_up(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;

    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/chalk-fuzz-%d", getpid());
    snprintf(name, sizeof name, "vfio-user:%s", address.sun_path);
    unlink(address.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0 ||
        pthread_create(&thread, NULL, serve_all, NULL) != 0 ||
        chalk_start(&(struct chalk_start_options){.ordinary_pages = true, .no_uring = true}) != 0)
        abort();
}

static void use(struct chalk_device *device, struct chalk_domain *domain)
{
    static _Atomic(uint32_t) counter;
    static struct chalk_span span;
    struct chalk_mmio window;
    unsigned offset;

    if (span.size == 0 && chalk_span_grow(8192, 0, 0, UINT64_MAX, &span) != 0)
        abort();
    chalk_vector_attach(device, 0, 0, &counter);
    chalk_dma_map(domain, span.va, 4096, span.iova, 3);
    for (unsigned bar = 0; bar < 6; bar++)
        if (chalk_window_map(device, bar, 4096, 64, CHALK_UNCACHED, &window) == 0 && window.ops != NULL) {
            chalk_mmio_write32(&window, 4, 1);
            chalk_mmio_read32(&window, 4);
        }
    chalk_pci_capability(device, CHALK_PCI_CAP_MSIX, 0, &offset);
    chalk_device_reset(device, chalk_deadline(CHALK_S));
    chalk_dma_unmap(domain, span.iova, 4096);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static bool ready;
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;

    if (!ready)
        set_up();
    ready = true;
    data = bytes;
    left = size;
    if (chalk_device_open(name, &domain, &device) == 0) {
        use(device, domain);
        chalk_device_close(device);
    }
    return 0;
}
