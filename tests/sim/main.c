/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *     sim-DRIVER FIRST COUNT               runs that many seeds
 *     sim-DRIVER [--verbose] --seed N      one seed
 *     sim-DRIVER [--verbose] --file FILE   a scenario from a text
 *     sim-DRIVER --print N                 writes the text of a seed
 *
 * It ends with 1 if something does not hold, and says the seed; with 2 if it was not understood.
 */
#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs a seed in a process of its own: nothing that another has left behind can change its steps. Its hash.
 */
static uint64_t run_apart(uint64_t seed)
{
    struct scenario scenario;
    uint64_t hash = 0;
    int ends[2], status;
    pid_t child;

    fflush(NULL);
    if (pipe(ends) != 0 || (child = fork()) < 0) {
        perror("sim");
        exit(2);
    }
    if (child == 0) {
        scenario_draw(&scenario, seed);
        trace_name(seed);
        driver.run(&scenario);
        hash = sim_trace_hash();
        _exit(write(ends[1], &hash, sizeof hash) == sizeof hash ? 0 : 2);
    }
    close(ends[1]);
    if (read(ends[0], &hash, sizeof hash) < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    close(ends[0]);
    return hash;
}

/* A hash of all that happened in them. */
static uint64_t run_seeds(uint64_t first, uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t seed = first; seed < first + count; seed++)
        sum = sum * 31 + run_apart(seed);
    return sum;
}

int main(int argc, char *argv[])
{
    struct scenario scenario;
    const char *name = argv[0];

    if (argc > 1 && strcmp(argv[1], "--verbose") == 0) {
        sim_verbose = true;
        argc--;
        argv++;
    }
    if (argc != 3) {
        fprintf(stderr, "usage: %s FIRST COUNT | [--verbose] (--seed N | --file FILE) | --print N\n", name);
        return 2;
    }
    trace_watch();
    platform_map();
    if (strcmp(argv[1], "--file") == 0) {
        scenario_read(&scenario, argv[2]);
        driver.run(&scenario);
    } else if (strcmp(argv[1], "--print") == 0) {
        scenario_draw(&scenario, strtoull(argv[2], NULL, 0));
        scenario_print(&scenario);
    } else {
        bool one = strcmp(argv[1], "--seed") == 0;
        uint64_t first = strtoull(argv[one ? 2 : 1], NULL, 0);

        printf("%016llx\n", (unsigned long long)run_seeds(first, one ? 1 : strtoull(argv[2], NULL, 0)));
    }
    return 0;
}
