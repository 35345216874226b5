/* SPDX-License-Identifier: BSD-2-Clause */
/* See store.h. */
#define _GNU_SOURCE
#include "store.h"

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/log.h>

/* A disk that is full fails each write: of one store so often. */
#define COMPLAIN_EVERY (10 * CHALK_S)

struct store {
    char *name;           /* as the command line has it */
    uint64_t complain_at; /* ticks: not before that of another failed request */
    uint64_t size;
    bool null;
    char *memory;
    int fd; /* -1: no file */
    struct io_uring ring;
    bool at_once; /* there is no ring: a request is finished when it has been begun */
    int finished; /* then: an eventfd that can be read while some have not been taken */
    struct store_request *first, **end;
    unsigned under_way;
};

static int wake = -1; /* an epoll of the rings, or eventfds, of all stores */

/* A file that is too large is mostly so for this process, not for the file system. */
static const char *cure(int error)
{
    return error == -EFBIG ? ": 'ulimit -f unlimited' before" : "";
}

static int failed(const char *backing, int error)
{
    chalk_log(CHALK_ERROR, "%s: %s%s", backing, strerror(-error), cure(error));
    return error;
}

static bool watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (wake < 0)
        wake = epoll_create1(EPOLL_CLOEXEC);
    return wake >= 0 && epoll_ctl(wake, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Many systems forbid io_uring, and so do containers; then requests are carried out one by one. */
static int open_ring(struct store *store)
{
    int error = io_uring_queue_init(STORE_DEPTH, &store->ring, 0);

    store->at_once = error != 0;
    if (error == 0)
        return watch(store->ring.ring_fd) ? 0 : -errno;
    chalk_log(CHALK_WARNING,
              "%s: io_uring cannot be used (%s), so requests are carried out one by one, which is slower;\n"
              "  if it was disabled, root allows it with: sysctl kernel.io_uring_disabled=0",
              store->name, strerror(-error));
    store->end = &store->first;
    store->finished = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return store->finished >= 0 && watch(store->finished) ? 0 : -errno;
}

static void close_ring(struct store *store)
{
    if (!store->at_once)
        io_uring_queue_exit(&store->ring);
    else if (store->finished >= 0)
        close(store->finished);
}

/* Whether the bytes of a file can be those of a disk: a file of another format would be destroyed by writes.
 */
static int check_content(const struct store *store, const char *path, uint64_t size)
{
    const char *format = image_format(store->fd, size);

    if (format == NULL)
        return 0;
    chalk_log(CHALK_ERROR,
              "%s: is a %s image, not a raw one: 'qemu-img convert -O raw %s %s.raw' makes a raw one;\n"
              "  raw:%s says that all of these bytes are the disk",
              store->name, format, path, path, path);
    return -EINVAL;
}

/* --size is for a file that has none yet: one that has bytes is neither cut nor made longer. */
static int check_size(struct store *store, uint64_t size)
{
    if (store->size == 0)
        store->size = size;
    if (size == 0 || size == store->size)
        return 0;
    chalk_log(CHALK_ERROR,
              "--size %llu, but %s has %llu bytes: leave --size out, or change the file with truncate(1)",
              (unsigned long long)store->size, store->name, (unsigned long long)size);
    return -EINVAL;
}

static int open_descriptor(struct store *store, const char *path)
{
    bool raw = strncmp(store->name, "raw:", 4) == 0;
    struct stat status;
    int error;

    store->fd = open(path, O_RDWR | O_CLOEXEC | (store->size != 0 ? O_CREAT : 0), 0600);
    if (store->fd < 0 || fstat(store->fd, &status) != 0)
        return failed(store->name, -errno);
    if (!S_ISREG(status.st_mode)) {
        chalk_log(CHALK_ERROR, "%s: not an ordinary file", store->name);
        return -EINVAL;
    }
    error = raw ? 0 : check_content(store, path, (uint64_t)status.st_size);
    if (error == 0)
        error = check_size(store, (uint64_t)status.st_size);
    if (error == 0 && store->size != (uint64_t)status.st_size &&
        ftruncate(store->fd, (off_t)store->size) != 0)
        error = failed(store->name, -errno);
    return error;
}

static int open_file(struct store *store, const char *path)
{
    int error = open_descriptor(store, path);

    if (error == 0) {
        error = open_ring(store);
        if (error == 0)
            return 0;
        close_ring(store);
        failed("waiting for a file's requests", error);
    }
    if (store->fd >= 0)
        close(store->fd);
    store->fd = -1;
    return error;
}

static int open_backing(struct store *store, const char *backing)
{
    if (store_is_file(backing))
        return open_file(store, strchr(backing, ':') + 1);
    if (store->size == 0) {
        chalk_log(CHALK_ERROR, "%s: its size is missing: give --size", backing);
        return -EINVAL;
    }
    if (strcmp(backing, "null") == 0) {
        store->null = true;
        return 0;
    }
    if (strcmp(backing, "ram") != 0) {
        chalk_log(CHALK_ERROR, "--backing %s: must be null, ram, file:PATH or raw:PATH", backing);
        return -EINVAL;
    }
    store->memory =
        mmap(NULL, store->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (store->memory != MAP_FAILED)
        return 0;
    store->memory = NULL;
    return failed(backing, -errno);
}

bool store_is_file(const char *backing)
{
    return strncmp(backing, "file:", 5) == 0 || strncmp(backing, "raw:", 4) == 0;
}

int store_open(const char *backing, uint64_t size, struct store **store)
{
    struct store *made = calloc(1, sizeof *made);
    int error;

    if (made == NULL)
        return -ENOMEM;
    made->size = size;
    made->fd = -1;
    made->name = strdup(backing);
    error = made->name == NULL   ? -ENOMEM
            : size > PTRDIFF_MAX ? failed(backing, -EOVERFLOW)
                                 : open_backing(made, backing);
    if (error != 0) {
        store_close(made);
        return error;
    }
    *store = made;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    while (store_finished(store, true) != NULL)
        ;
    if (store->fd >= 0) {
        close_ring(store);
        close(store->fd);
    }
    if (store->memory != NULL)
        munmap(store->memory, store->size);
    free(store->name);
    free(store);
}

uint64_t store_size(const struct store *store)
{
    return store->size;
}

bool store_is_null(const struct store *store)
{
    return store->null;
}

char *store_memory(const struct store *store)
{
    return store->memory;
}

/* ---- zeroes ---- */

/* A file keeps its size. */
#define HOLE (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* Less of it is zeroed faster than Linux takes pages back. */
#define WORTH_IT ((uint64_t)64 << 10)

static void zero_memory(char *bytes, uint64_t size)
{
    uint64_t page = 4096, before = -(uintptr_t)bytes % page;

    if (size >= WORTH_IT && madvise(bytes + before, (size - before) / page * page, MADV_DONTNEED) == 0) {
        uint64_t after = (size - before) % page;

        memset(bytes, 0, before);
        memset(bytes + size - after, 0, after);
    } else {
        memset(bytes, 0, size);
    }
}

static int write_zeroes(int fd, uint64_t offset, uint64_t size)
{
    static const char zeroes[1 << 16];

    while (size > 0) {
        ssize_t written =
            pwrite(fd, zeroes, size < sizeof zeroes ? (size_t)size : sizeof zeroes, (off_t)offset);

        if (written < 0 && errno != EINTR)
            return -errno;
        offset += written > 0 ? (uint64_t)written : 0;
        size -= written > 0 ? (uint64_t)written : 0;
    }
    return 0;
}

int store_zero(struct store *store, uint64_t offset, uint64_t size)
{
    if (store->memory != NULL)
        zero_memory(store->memory + offset, size);
    if (store->fd < 0 || size == 0 || fallocate(store->fd, HOLE, (off_t)offset, (off_t)size) == 0)
        return 0;
    return write_zeroes(store->fd, offset, size); /* there are file systems without holes */
}

/* ---- requests ---- */

static int queue_in_ring(struct store *store, struct store_request *request)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&store->ring);

    if (entry == NULL)
        return -EAGAIN;
    if (request->op == STORE_READ)
        io_uring_prep_read(entry, store->fd, request->bytes, (unsigned)request->size, request->offset);
    else if (request->op == STORE_WRITE || request->op == STORE_WRITE_THROUGH)
        io_uring_prep_write(entry, store->fd, request->bytes, (unsigned)request->size, request->offset);
    else if (request->op == STORE_ZERO)
        io_uring_prep_fallocate(entry, store->fd, HOLE, (off_t)request->offset, (off_t)request->size);
    else
        io_uring_prep_fsync(entry, store->fd, IORING_FSYNC_DATASYNC);
    if (request->op == STORE_WRITE_THROUGH)
        entry->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data(entry, request);
    io_uring_submit(&store->ring);
    return 0;
}

static ssize_t carry_out(const struct store *store, const struct store_request *request)
{
    struct iovec bytes = {request->bytes, request->size};
    off_t offset = (off_t)request->offset;

    if (request->op == STORE_READ)
        return preadv2(store->fd, &bytes, 1, offset, 0);
    if (request->op == STORE_WRITE || request->op == STORE_WRITE_THROUGH)
        return pwritev2(store->fd, &bytes, 1, offset, request->op == STORE_WRITE ? 0 : RWF_DSYNC);
    if (request->op == STORE_ZERO)
        return fallocate(store->fd, HOLE, offset, (off_t)request->size);
    return fdatasync(store->fd);
}

static void do_at_once(struct store *store, struct store_request *request)
{
    ssize_t result = carry_out(store, request);

    request->result = result < 0 ? -errno : (int)result;
    request->next = NULL;
    *store->end = request;
    store->end = &request->next;
    (void)eventfd_write(store->finished, 1);
}

int store_begin(struct store *store, struct store_request *request)
{
    int error = store->under_way < STORE_DEPTH ? 0 : -EAGAIN;

    if (error == 0 && store->at_once)
        do_at_once(store, request);
    else if (error == 0)
        error = queue_in_ring(store, request);
    store->under_way += error == 0;
    return error;
}

/* Whether its result is a number of bytes. */
static bool moves(const struct store_request *request)
{
    return request->op != STORE_FLUSH && request->op != STORE_ZERO;
}

/* Says why a request failed. Its client hears a status, and cannot see that the disk of the file is full. */
static void complain_of(struct store *store, const struct store_request *request, int result)
{
    const char *what = request->op == STORE_READ ? "read" : request->op == STORE_FLUSH ? "flush" : "write";

    if (!chalk_expired(store->complain_at))
        return;
    store->complain_at = chalk_deadline(COMPLAIN_EVERY);
    if (result < 0)
        chalk_log(CHALK_ERROR, "%s: %s of %zu bytes at %llu failed: %s%s; the client gets an error",
                  store->name, what, request->size, (unsigned long long)request->offset, strerror(-result),
                  cure(result));
    else
        chalk_log(CHALK_ERROR,
                  "%s: %s of %zu bytes at %llu ended after %d: is its disk full? The client gets an error",
                  store->name, what, request->size, (unsigned long long)request->offset, result);
}

static struct store_request *take_from_ring(struct store *store, bool wait)
{
    struct io_uring_cqe *completion;
    struct store_request *request;

    if (wait)
        while (io_uring_wait_cqe(&store->ring, &completion) == -EINTR)
            ;
    else if (io_uring_peek_cqe(&store->ring, &completion) != 0)
        return NULL;
    request = io_uring_cqe_get_data(completion);
    request->result = completion->res;
    io_uring_cqe_seen(&store->ring, completion);
    return request;
}

static struct store_request *take_first(struct store *store)
{
    struct store_request *request = store->first;
    eventfd_t count;

    store->first = request->next;
    if (store->first == NULL) {
        store->end = &store->first;
        (void)eventfd_read(store->finished, &count);
    }
    return request;
}

struct store_request *store_finished(struct store *store, bool wait)
{
    struct store_request *request;

    if (store->under_way == 0)
        return NULL;
    request = store->at_once ? take_first(store) : take_from_ring(store, wait);
    if (request == NULL)
        return NULL;
    store->under_way--;
    request->error = request->result < 0                                          ? -request->result
                     : moves(request) && (size_t)request->result != request->size ? EIO
                                                                                  : 0;
    if (request->error != 0 && request->op != STORE_ZERO) /* that is no error yet: it may be written */
        complain_of(store, request, request->result);
    return request;
}

int store_wake(void)
{
    return wake;
}
