/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans: memory asked of Linux. Each is a file of its own without a name, mapped shared, so that the pages
 * stay where they are and can be handed to a device model by descriptor; in hugepages where there are any,
 * because then the IOMMU walks fewer tables and VFIO pins in fewer steps. It is bound to its node before its
 * pages are allocated, allocated before it is touched (a lack is an error here, not a SIGBUS later), and kept
 * out of forked children, whose copies would take the pages away from under the device.
 */
#define _GNU_SOURCE
#include "memory.h"
#include "cgroup.h"
#include "iova.h"
#include "reason.h"
#include "state.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <hugetlbfs.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chalk/claim.h>
#include <chalk/error.h>
#include <chalk/log.h>

struct piece {
    struct chalk_range range; /* of its addresses */
    struct chalk_span span;
    struct chalk_span_books books;
    int fd;    /* -1: the program's own mapping (adopt.c) */
    bool told; /* why it is not given to another process */
};

static struct piece **pieces; /* in the order in which they came */
static unsigned piece_count, piece_room;
static struct chalk_ranges by_address;
/* Why the last piece was refused; and what is to be told of hugepages when the program ends, or empty. */
static char refusal[320], note[448];
static bool short_of_files; /* and that was why */
static bool for_devices;    /* a device has been opened */

#define SMALL_PAGE ((size_t)4096)
#define MAX_NODE   1023

/* Some of whose bytes are those, or NULL. */
static struct piece *find(const void *va, size_t size)
{
    const uint64_t first = (uintptr_t)va;

    return (struct piece *)(void *)chalk_range_find(&by_address, first, first + (size - 1));
}

bool hosted_memory_owned(const void *va, size_t size)
{
    const struct piece *piece = find(va, 1);

    return piece != NULL && size <= piece->span.size - ((uintptr_t)va - (uintptr_t)piece->span.va);
}

int hosted_memory_file(const void *va, uint64_t *offset)
{
    const struct piece *piece = find(va, 1);

    *offset = 0;
    if (piece == NULL || piece->fd < 0)
        return -1;
    *offset = (uint64_t)((const char *)va - (const char *)piece->span.va);
    return piece->fd;
}

/* ---- given to another process ---- */

/* Whether the memory at `va` is in a file of ours; `*sealed`: which its other owners cannot cut short. */
static bool is_in_file(const void *va, bool *sealed)
{
    const struct piece *piece;
    int fd, seals;

    hosted_lock();
    piece = find(va, 1);
    fd = piece != NULL ? piece->fd : -1;
    seals = fd >= 0 ? fcntl(fd, F_GET_SEALS) : -1;
    hosted_unlock();
    *sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
    return fd >= 0;
}

static bool say_why_not(const char *name, const void *va, const char *why, const char *owner)
{
    struct piece *piece;
    bool first;

    hosted_lock();
    piece = find(va, 1);
    first = piece != NULL && !piece->told;
    if (first)
        piece->told = true;
    hosted_unlock();
    if (first)
        chalk_log(CHALK_WARNING, "%s gets memory at %p by messages, which are slower: %s%s", name, va, why,
                  owner);
    return false;
}

bool hosted_memory_expose(const char *name, const void *va)
{
    const char *owner;
    bool sealed;

    if (!is_in_file(va, &sealed))
        return false;
    if (!sealed)
        return say_why_not(name, va, "its process could cut the file short, as hugetlbfs has no seals", "");
    owner = chalk_claim_expose(va);
    if (owner != NULL)
        return say_why_not(name, va, "in the same file there is private memory of ", owner);
    return true;
}

bool hosted_memory_overlaps(const void *va, size_t size)
{
    return find(va, size) != NULL;
}

int hosted_memory_span(const void *va, struct chalk_span *span)
{
    const struct piece *piece;

    hosted_lock();
    piece = find(va, 1);
    if (piece != NULL)
        *span = piece->span;
    hosted_unlock();
    return piece != NULL ? 0 : -ENOENT;
}

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    int error = -ENOENT;

    hosted_lock();
    if (i < piece_count) {
        *span = pieces[i]->span;
        error = 0;
    }
    hosted_unlock();
    return error;
}

/* A file of pages of that size without any mount, which can be sealed; or in a hugetlbfs that we may write
 * to. */
static int open_pages(size_t page, bool mounted)
{
    const char *mount;
    int fd;

    if (!mounted)
        return memfd_create(
            "chalk",
            MFD_CLOEXEC | MFD_ALLOW_SEALING |
                (page != SMALL_PAGE ? MFD_HUGETLB | ((unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT) : 0));
    mount = hugetlbfs_find_path_for_size((long)page);
    if (mount == NULL || access(mount, W_OK | X_OK) != 0) {
        errno = ENOENT;
        return -1;
    }
    fd = hugetlbfs_unlinked_fd_for_size((long)page);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int refused(const char *call)
{
    int error = -errno;

    chalk_format(refusal, sizeof refusal, "%s: %s", call, hosted_reason(error));
    short_of_files = error == -EMFILE || error == -ENFILE;
    return error;
}

/* By raw system call: libnuma would be a dependency for two of them. */
static int bind_to_node(void *va, size_t size, unsigned node)
{
    unsigned long mask[(MAX_NODE + 1) / (8 * sizeof(unsigned long))] = {0};
    unsigned bits = 8 * sizeof mask[0];

    mask[(node - 1) / bits] = 1ul << ((node - 1) % bits);
    return syscall(SYS_mbind, va, size, MPOL_BIND, mask, (unsigned long)MAX_NODE + 1, 0) == 0
               ? 0
               : refused("mbind");
}

unsigned hosted_memory_node(void *va)
{
    int number;

    return syscall(SYS_get_mempolicy, &number, NULL, 0, va, MPOL_F_NODE | MPOL_F_ADDR) == 0
               ? CHALK_NODE(number)
               : 0;
}

static unsigned long long available_kib(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long kib = UINT64_MAX / 1024;
    char line[128];

    while (file != NULL && fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "MemAvailable: %llu", &kib) != 1)
        ;
    if (file != NULL)
        fclose(file);
    return kib;
}

/*
 * Asked for more ordinary pages than there are, or than the process's control groups allow, Linux does not
 * refuse them: it kills a process. Tables for these pages are counted, too: a page for 512, and some room.
 */
static bool too_much(size_t size)
{
    unsigned long long kib = available_kib(), wanted = (size + (size >> 7)) / 1024 + 1024;
    struct cgroup_room room;

    hosted_cgroup_memory("/proc/self", &room);
    if (room.bytes / 1024 < kib) {
        kib = room.bytes / 1024;
        chalk_format(refusal, sizeof refusal, "a control group of this process allows %llu KiB more; see %s",
                     kib, room.limit);
    } else {
        chalk_format(refusal, sizeof refusal, "%llu KiB are available", kib);
    }
    return wanted > kib;
}

bool hosted_memory_file_fits(size_t size, char *why, size_t space)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || size <= limit.rlim_cur)
        return true;
    chalk_format(
        why, space,
        "files of this process may have %llu KiB, shared memory too; before starting: ulimit -f unlimited",
        (unsigned long long)limit.rlim_cur / 1024);
    return false;
}

/* fallocate() obeys the policy that mbind() gave a shared mapping, and fails where a first touch would kill.
 */
static int allocate(int fd, void *va, size_t size, size_t page)
{
    while (fallocate(fd, 0, 0, (off_t)size) != 0)
        if (errno != EINTR)
            return refused("fallocate");
    for (size_t i = 0; i < size; i += page)
        (void)*(volatile char *)((char *)va + i);
    return 0;
}

static int map_pages(struct piece *piece, size_t size, size_t page, unsigned node, bool mounted)
{
    void *va = MAP_FAILED;
    int error = 0;
    int fd;

    if (!hosted_memory_file_fits(size, refusal, sizeof refusal) || (page == SMALL_PAGE && too_much(size)))
        return -ENOMEM;
    fd = open_pages(page, mounted);
    if (fd < 0)
        return refused("memfd_create");
    if (ftruncate(fd, (off_t)size) == 0)
        va = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (va == MAP_FAILED) {
        error = refused("mmap");
        close(fd);
        return error;
    }
    if (node != 0)
        error = bind_to_node(va, size, node);
    if (error == 0)
        error = allocate(fd, va, size, page);
    if (error == 0 && madvise(va, size, MADV_DONTFORK) != 0)
        error = refused("madvise");
    if (error != 0) {
        munmap(va, size);
        close(fd);
        return error;
    }
    /* Device models get the descriptor, and may not take our pages away. A mounted hugetlbfs has no seals. */
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
    piece->fd = fd;
    piece->span = (struct chalk_span){
        .va = va, .size = size, .page = page, .node = hosted_memory_node(va), .apart = true};
    return 0;
}

/* ---- hugepages that are not to be had ---- */

/*
 * Why there are not `size` bytes in pages of `page`, and the command that mends it: root reserves what is
 * missing for `wanted` bytes, beyond the pages that there are. To be called before anything else is tried.
 */
static void explain(char *text, size_t space, size_t size, size_t wanted, size_t page, unsigned node)
{
    unsigned long need = (size - 1) / page + 1, all, unused, reserved;
    struct cgroup_room room;
    char folder[96];

    if (node != 0)
        chalk_format(folder, sizeof folder, "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB",
                     CHALK_NODE_NUMBER(node), page / 1024);
    else
        chalk_format(folder, sizeof folder, "/sys/kernel/mm/hugepages/hugepages-%zukB", page / 1024);
    all = (unsigned long)hosted_sysfs_number(0, "%s/nr_hugepages", folder);
    unused = (unsigned long)hosted_sysfs_number(0, "%s/free_hugepages", folder);
    reserved = (unsigned long)hosted_sysfs_number(0, "%s/resv_hugepages", folder);
    unused -= reserved < unused ? reserved : unused;
    hosted_cgroup_hugepages("/proc/self", page, &room);
    if (short_of_files)
        chalk_format(text, space, "%s", refusal);
    else if (room.bytes < size)
        chalk_format(text, space,
                     "a control group of this process allows %llu KiB of such pages more; see %s",
                     (unsigned long long)room.bytes / 1024, room.limit);
    else if (unused < need)
        chalk_format(text, space,
                     "%lu pages of %zu KiB are free, of %lu needed; for %zu MiB root writes: "
                     "echo %lu > %s/nr_hugepages",
                     unused, page / 1024, need, ((wanted - 1) / page + 1) * page >> 20,
                     all - unused + (wanted - 1) / page + 1, folder);
    else
        chalk_format(text, space, "Linux refuses pages of %zu KiB, though %lu are free: %s", page / 1024,
                     unused, refusal);
}

static bool round_up(size_t size, size_t page, size_t *rounded)
{
    if (__builtin_add_overflow(size, page - 1, rounded))
        return false;
    *rounded &= ~(page - 1);
    return *rounded <= PTRDIFF_MAX;
}

/* In pages of one size. */
static int grow_in(size_t size, size_t page, unsigned node, uint64_t limit, struct piece *piece)
{
    uint64_t iova;
    size_t rounded;
    int error;

    if (!round_up(size, page, &rounded))
        return -ENOMEM;
    error = hosted_iova_take(rounded, page, limit, &iova);
    if (error != 0)
        return error;
    error = map_pages(piece, rounded, page, node, false);
    if (error != 0 && page != SMALL_PAGE) { /* a mount can have pages reserved for it alone */
        char first[sizeof refusal];

        memcpy(first, refusal, sizeof first);
        error = map_pages(piece, rounded, page, node, true) != 0 ? error : 0;
        memcpy(refusal, first, sizeof first);
    }
    if (error != 0)
        hosted_iova_put(iova, rounded);
    else
        piece->span.iova = iova;
    return error;
}

static bool make_room(void)
{
    unsigned room = piece_room != 0 ? 2 * piece_room : 16;
    struct piece **grown;

    if (piece_count < piece_room)
        return true;
    grown = realloc(pieces, room * sizeof *grown);
    if (grown == NULL)
        return false;
    pieces = grown;
    piece_room = room;
    return true;
}

int hosted_memory_keep(struct chalk_span *span, int fd)
{
    struct piece *piece = make_room() ? calloc(1, sizeof *piece) : NULL;

    if (piece == NULL)
        return -ENOMEM;
    span->books = &piece->books;
    piece->span = *span;
    piece->fd = fd;
    piece->range.first = (uintptr_t)span->va;
    piece->range.last = (uintptr_t)span->va + (span->size - 1);
    chalk_assert(chalk_range_add(&by_address, &piece->range));
    pieces[piece_count++] = piece;
    return 0;
}

void hosted_memory_forget(const void *va)
{
    struct piece *piece = find(va, 1);
    unsigned i = 0;

    if (piece == NULL)
        return;
    while (pieces[i] != piece)
        i++;
    memmove(pieces + i, pieces + i + 1, (--piece_count - i) * sizeof *pieces);
    chalk_range_remove(&by_address, &piece->range);
    free(piece);
}

static void give_back(const struct piece *piece)
{
    if (piece->fd < 0)
        return;
    munmap(piece->span.va, piece->span.size);
    close(piece->fd);
}

/* The largest pages that do not waste most of themselves: 1 GiB only for what fills one. */
static size_t best_page(size_t size)
{
    const size_t huge = (size_t)1 << 30;

    return size >= huge && hosted_sysfs_exists("/sys/kernel/mm/hugepages/hugepages-1048576kB")
               ? huge
               : (size_t)2 << 20;
}

static int grow_largest(size_t size, unsigned node, uint64_t limit, struct piece *piece)
{
    size_t page = best_page(size);
    char why[sizeof note - 64];
    int error = -ENOMEM;

    if (!hosted_options()->ordinary_pages) {
        for (; page > SMALL_PAGE; page = page > (size_t)2 << 20 ? (size_t)2 << 20 : SMALL_PAGE) {
            error = grow_in(size, page, node, limit, piece);
            if (error == 0 || error == -ERANGE)
                return error;
        }
        if (note[0] == '\0') {
            /* More than this span takes, as it is seldom the last. */
            explain(why, sizeof why, size, size + ((size_t)64 << 20), (size_t)2 << 20, node);
            chalk_format(note, sizeof note, "ordinary pages are used, which are slower: %s", why);
        }
    }
    return grow_in(size, SMALL_PAGE, node, limit, piece);
}

static int grow(size_t size, size_t page, unsigned node, uint64_t limit, struct piece *piece)
{
    char why[sizeof note - 64];
    int error;

    if (page == 0)
        return grow_largest(size, node, limit, piece);
    if (page > SMALL_PAGE && !hosted_sysfs_exists("/sys/kernel/mm/hugepages/hugepages-%zukB", page / 1024)) {
        chalk_log(CHALK_ERROR,
                  "this machine has no pages of %zu KiB; those it has: ls /sys/kernel/mm/hugepages",
                  page / 1024);
        return -EINVAL;
    }
    error = grow_in(size, page, node, limit, piece);
    if (error != 0 && error != -ERANGE && page > SMALL_PAGE) {
        explain(why, sizeof why, size, size, page, node);
        chalk_log(CHALK_ERROR, "no %zu KiB of memory in pages of %zu KiB: %s", (size - 1) / 1024 + 1,
                  page / 1024, why);
        error = -ENOMEM;
    }
    return error;
}

/* A kernel without NUMA lists no nodes: then mbind() decides. */
static bool is_node(unsigned node)
{
    char online[256];

    if (node == 0)
        return true;
    if (node <= MAX_NODE + 1 &&
        (hosted_sysfs_text(online, sizeof online, "/sys/devices/system/node/online") <= 0 ||
         hosted_list_rank(online, node) > hosted_list_rank(online, node - 1)))
        return true;
    chalk_log(CHALK_ERROR,
              "this machine has no NUMA node %d; those it has: cat /sys/devices/system/node/online",
              CHALK_NODE_NUMBER(node));
    return false;
}

/* Of any machine: which of these it has is another question. */
static bool is_size_of_pages(size_t page)
{
    if (page == 0 || (page >= SMALL_PAGE && (page & (page - 1)) == 0 && page <= (size_t)1 << 30))
        return true;
    chalk_log(
        CHALK_ERROR,
        "chalk_span_grow(): pages of %zu bytes: must be a power of two from 4096 to 1 GiB, or 0 for the "
        "largest that there are",
        page);
    return false;
}

static bool is_size(size_t size)
{
    if (size == 0)
        chalk_log(CHALK_ERROR, "chalk_span_grow(): a span of 0 bytes");
    return size != 0;
}

int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    /* Who names no limit gets addresses that every IOMMU can translate. */
    uint64_t limit = max_address == UINT64_MAX ? HOSTED_IOVA_EASY : max_address;
    struct piece piece = {.fd = -1};
    char where[32] = "";
    int error;

    if (!is_size(size) || !is_node(node) || !is_size_of_pages(page))
        return -EINVAL;
    hosted_lock();
    chalk_format(refusal, sizeof refusal, "%s", strerror(ENOMEM));
    short_of_files = false;
    error = size <= PTRDIFF_MAX ? grow(size, page, node, limit, &piece) : -ENOMEM;
    if (error == 0) {
        error = hosted_memory_keep(&piece.span, piece.fd);
        if (error != 0) {
            hosted_iova_put(piece.span.iova, piece.span.size);
            give_back(&piece);
        } else {
            *span = piece.span;
        }
    } else if (error == -ERANGE) {
        chalk_log(CHALK_ERROR, "no %zu KiB of device addresses are free at or below 0x%llx",
                  (size - 1) / 1024 + 1, (unsigned long long)limit);
    } else if (page <= SMALL_PAGE) {
        if (node != 0)
            chalk_format(where, sizeof where, " on NUMA node %d", CHALK_NODE_NUMBER(node));
        chalk_log(CHALK_ERROR, "Linux %s %zu KiB of memory%s: %s",
                  short_of_files ? "does not give" : "has no", (size - 1) / 1024 + 1, where, refusal);
        error = -ENOMEM;
    }
    hosted_unlock();
    return error;
}

void hosted_memory_for_devices(void)
{
    for_devices = true;
}

/* At the end, where no other message hides it and it hides none; of no interest where no device was opened.
 */
static void tell_note(void)
{
    if (note[0] != '\0' && for_devices)
        chalk_log(CHALK_WARNING, "%s", note);
    note[0] = '\0';
    for_devices = false;
}

void hosted_memory_stop(void)
{
    tell_note();
    for (unsigned i = 0; i < piece_count; i++) {
        give_back(pieces[i]);
        free(pieces[i]);
    }
    free(pieces);
    pieces = NULL;
    piece_count = piece_room = 0;
    by_address.root = NULL;
}
