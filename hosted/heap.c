/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The limit of the heap. glibc asks the kernel, by brk() and private mappings; RLIMIT_DATA bounds the sum of
 * those (since Linux 4.7) with whatever else the process maps privately, so what there is beside the heap is
 * added.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

#include <chalk/heap.h>

/* Private writable memory of the process, in bytes, as RLIMIT_DATA counts it. */
static size_t data_size(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    unsigned long kib = 0;
    char line[128];

    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "VmData: %lu", &kib) != 1)
        ;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

int chalk_heap_limit(size_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return -errno;
    if (bytes == SIZE_MAX) {
        limit.rlim_cur = limit.rlim_max;
    } else {
        size_t all = data_size();
        struct mallinfo2 heap = mallinfo2();
        size_t others = all > heap.arena + heap.hblkhd ? all - heap.arena - heap.hblkhd : 0;

        if (__builtin_add_overflow(bytes, others, &limit.rlim_cur))
            limit.rlim_cur = limit.rlim_max;
    }
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_cur > limit.rlim_max)
        return -EPERM;
    return setrlimit(RLIMIT_DATA, &limit) == 0 ? 0 : -errno;
}
