/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the control groups of this process still allow. Linux ends a process that takes more memory than its
 * group may have (or another one of the group), instead of refusing it; so who is about to take much asks
 * here.
 */
#ifndef HOSTED_CGROUP_H
#define HOSTED_CGROUP_H

#include <stddef.h>
#include <stdint.h>

struct cgroup_room {
    uint64_t bytes;  /* that may still be taken; UINT64_MAX: no group has a limit */
    char limit[224]; /* the file with the limit that is met first, else empty */
};

/*
 * For ordinary memory, and for hugepages of `page` bytes; the least of the process's groups and those above
 * them. `proc` is "/proc/self", but in tests. Both kinds of hierarchy are known (cgroups(7)). What cannot be
 * read is no limit.
 */
void hosted_cgroup_memory(const char *proc, struct cgroup_room *room);
void hosted_cgroup_hugepages(const char *proc, size_t page, struct cgroup_room *room);

#endif
