/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plugin-host PLUGIN ADDRESS: a program that knows nothing of Chalk loads a plugin that does, uses it twice,
 * unloads it, and does all of that again. In the end no descriptor, thread or signal handler is left behind.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int count_entries(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}

static int use(const char *path, const char *address)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*read_block)(const char *, unsigned char *);
    *(void **)&read_block = dlsym(plugin, "plugin_read_block");
    for (int round = 0; round < 2; round++) {
        unsigned char first[16] = {0};
        int error = read_block ? read_block(address, first) : -1;
        printf("round %d: %d %.16s\n", round, error, (const char *)first);
        if (error)
            return 1;
    }
    return dlclose(plugin);
}

int main(int argc, char *argv[])
{
    if (argc != 3)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (use(argv[1], argv[2]))
        return 1;
    int files = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    if (use(argv[1], argv[2]))
        return 1;
    struct sigaction action;
    sigaction(SIGINT, NULL, &action);
    int left = count_entries("/proc/self/fd") - files + count_entries("/proc/self/task") - threads;
    printf("left behind: %d descriptors and threads, %s\n", left,
           action.sa_handler == SIG_DFL ? "no handler" : "a signal handler");
    return left != 0 || action.sa_handler != SIG_DFL;
}
