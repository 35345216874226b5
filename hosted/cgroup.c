/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of control groups: the group of a controller is in /proc/self/cgroup, where that hierarchy is
 * mounted in /proc/self/mountinfo (cgroups(7), proc(5)), and each group up to the mount may have a limit of
 * its own.
 */
#define _GNU_SOURCE
#include "cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The files of one resource in a group. */
struct resource {
    char limit[64], usage[64], stat[64];
    const char *reclaimable[2]; /* in `stat`: the memory that Linux takes back before it ends a process */
};

/* Whether `word` is in a list with commas. */
static bool listed(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (; list != NULL; list = strchr(list, ','), list = list != NULL ? list + 1 : NULL)
        if (strncmp(list, word, length) == 0 && (list[length] == ',' || list[length] == '\0'))
            return true;
    return false;
}

static FILE *open_in(const char *folder, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* Lines are "id:controllers:path"; the unified hierarchy's is "0::path". Its own hierarchy comes before that.
 */
static bool find_group(const char *proc, const char *controller, bool *unified, char group[PATH_MAX])
{
    FILE *file = open_in(proc, "cgroup");
    char line[PATH_MAX + 64], *controllers, *path;
    bool found = false;

    *unified = true;
    while (file != NULL && *unified && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if ((controllers = strchr(line, ':')) == NULL || (path = strchr(++controllers, ':')) == NULL)
            continue;
        *path++ = '\0';
        if (controllers[0] != '\0' && !listed(controllers, controller))
            continue;
        *unified = controllers[0] == '\0';
        found = snprintf(group, PATH_MAX, "%s", path) < PATH_MAX;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* Lines are "id parent device root mount options ... - type source superoptions". */
static bool find_mount(const char *proc, const char *controller, bool unified, char root[PATH_MAX],
                       char mount[PATH_MAX])
{
    FILE *file = open_in(proc, "mountinfo");
    char *line = NULL, *rest, type[32], options[256];
    bool found = false;
    size_t room = 0;

    while (file != NULL && !found && getline(&line, &room, file) > 0) {
        rest = strstr(line, " - ");
        found = rest != NULL && room < PATH_MAX && sscanf(line, "%*s %*s %*s %s %s", root, mount) == 2 &&
                sscanf(rest, " - %31s %*s %255s", type, options) == 2 &&
                (unified ? strcmp(type, "cgroup2") == 0
                         : strcmp(type, "cgroup") == 0 && listed(options, controller));
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

/* A number that stands alone in a file, or "max"; `otherwise` if there is none. */
static uint64_t number(const char *folder, const char *name, uint64_t otherwise)
{
    FILE *file = open_in(folder, name);
    unsigned long long value = otherwise;

    if (file != NULL) {
        if (fscanf(file, "%llu", &value) != 1)
            value = otherwise;
        fclose(file);
    }
    return value;
}

static uint64_t reclaimable(const char *folder, const struct resource *resource)
{
    FILE *file = open_in(folder, resource->stat);
    unsigned long long value, sum = 0;
    char key[64];

    while (file != NULL && fscanf(file, "%63s %llu", key, &value) == 2)
        if (strcmp(key, resource->reclaimable[0]) == 0 || strcmp(key, resource->reclaimable[1]) == 0)
            sum += value;
    if (file != NULL)
        fclose(file);
    return sum;
}

static void look(const char *folder, const struct resource *resource, struct cgroup_room *room)
{
    uint64_t limit = number(folder, resource->limit, UINT64_MAX);
    uint64_t used = number(folder, resource->usage, 0), spare = reclaimable(folder, resource);

    used -= spare < used ? spare : used;
    limit = limit == UINT64_MAX ? limit : limit > used ? limit - used : 0;
    if (limit >= room->bytes)
        return;
    room->bytes = limit;
    if (snprintf(room->limit, sizeof room->limit, "%s/%s", folder, resource->limit) >=
        (int)sizeof room->limit) /* its name is worth more than its place */
        snprintf(room->limit, sizeof room->limit, "%s", resource->limit);
}

/* From the process's group up to the one that is mounted. A group outside of the mount cannot be looked at.
 */
static void look_upwards(const char *root, const char *mount, const char *group,
                         const struct resource *resource, struct cgroup_room *room)
{
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root), top = strlen(mount);
    char folder[PATH_MAX];

    group = strncmp(group, root, length) == 0 && strncmp(group, "/..", 3) != 0 ? group + length : "";
    if (snprintf(folder, sizeof folder, "%s%s", mount, strcmp(group, "/") != 0 ? group : "") >=
        (int)sizeof folder)
        return;
    for (;;) {
        char *last;

        look(folder, resource, room);
        last = strrchr(folder, '/');
        if (last == NULL || (size_t)(last - folder) < top)
            return;
        *last = '\0';
    }
}

/* Limit, use and what can be reclaimed are in files that begin with `prefix`. */
static void ask(const char *proc, const char *controller, const char *prefix, struct cgroup_room *room)
{
    char group[PATH_MAX], root[PATH_MAX], mount[PATH_MAX];
    struct resource resource;
    bool unified;

    if (!find_group(proc, controller, &unified, group) || !find_mount(proc, controller, unified, root, mount))
        return;
    snprintf(resource.limit, sizeof resource.limit, "%s%s", prefix, unified ? "max" : "limit_in_bytes");
    snprintf(resource.usage, sizeof resource.usage, "%s%s", prefix, unified ? "current" : "usage_in_bytes");
    snprintf(resource.stat, sizeof resource.stat, "%sstat", prefix);
    resource.reclaimable[0] = unified ? "inactive_file" : "total_inactive_file";
    resource.reclaimable[1] = unified ? "active_file" : "total_active_file";
    look_upwards(root, mount, group, &resource, room);
}

void hosted_cgroup_memory(const char *proc, struct cgroup_room *room)
{
    *room = (struct cgroup_room){.bytes = UINT64_MAX};
    ask(proc, "memory", "memory.", room);
}

/* Linux limits the pages that are in use, and since 5.7 those that are reserved: a span has all of its own.
 */
void hosted_cgroup_hugepages(const char *proc, size_t page, struct cgroup_room *room)
{
    bool gib = page >= (size_t)1 << 30;
    char prefix[40];

    *room = (struct cgroup_room){.bytes = UINT64_MAX};
    for (unsigned reserved = 0; reserved < 2; reserved++) {
        snprintf(prefix, sizeof prefix, "hugetlb.%zu%s%s", gib ? page >> 30 : page >> 20, gib ? "GB." : "MB.",
                 reserved ? "rsvd." : "");
        ask(proc, "hugetlb", prefix, room);
    }
}
