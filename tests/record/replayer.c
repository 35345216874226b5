/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs a program on a recording, without the device: PROGRAM RECORDING ARGUMENT...
 *
 * What the driver asks its device is answered by the recording, as long as it does what it did then. The
 * first difference ends the program, with both steps, and those before. On the fake platform, so time is
 * virtual, and every wait ends with an interrupt: interrupts are hints, and the recording has what the driver
 * found.
 */
#include "seam.h"

#include <chalk/main.h>
#include <platform_fake.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERS  3    /* exit status */
#define PATIENCE 1000 /* polls in a row that the recording has only once */
#define SHOWN    8    /* steps before a difference */

const bool seam_replays = true;

static struct fake_device *device;
static char **lines;
static size_t line_count, next;

static void read_recording(const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    if (file == NULL) {
        fprintf(stderr, "recording %s: cannot be read\n", path);
        exit(2);
    }
    while ((length = getline(&line, &room, file)) > 0) {
        lines = realloc(lines, (line_count + 1) * sizeof *lines);
        line[strcspn(line, "\n")] = 0;
        lines[line_count++] = line;
        line = NULL;
    }
    free(line);
    fclose(file);
}

static _Noreturn void differs(const char *did)
{
    fprintf(stderr, "step %zu differs. Before it:\n", next + 1);
    for (size_t i = next > SHOWN ? next - SHOWN : 0; i < next; i++)
        fprintf(stderr, "  %.120s\n", lines[i]);
    fprintf(stderr, "- %.1000s\n+ %.1000s\n", next < line_count ? lines[next] : "(the recording ends)", did);
    exit(DIFFERS);
}

/* Whether a line is that step; then its answer. */
static bool is_step(const char *line, const char *step, const char **answer)
{
    size_t length = strlen(step);

    if (strncmp(line, step, length) != 0 || (line[length] != 0 && strncmp(line + length, " = ", 3) != 0))
        return false;
    *answer = line[length] != 0 ? line + length + 3 : "";
    return true;
}

void seam_step(const char *step, void *answer, size_t size)
{
    static unsigned again;
    const char *text;

    if (next < line_count && is_step(lines[next], step, &text)) {
        next++;
        again = 0;
    } else if (next == 0 || size == 0 || !is_step(lines[next - 1], step, &text) || ++again > PATIENCE) {
        differs(step);
    }
    if (size > 8) {
        if (!seam_parse(text, answer, size))
            differs("(what it is answered cannot be read)");
    } else if (size != 0) {
        uint64_t number = strtoull(text, NULL, 0);

        memcpy(answer, &number, size);
    }
}

void seam_place_span(uint64_t iova)
{
    fake.next_iova = iova;
}

static void interrupt(void *argument)
{
    (void)argument;
    for (unsigned vector = 0; vector < FAKE_VECTORS; vector++)
        if (device->vectors[vector].counter != NULL)
            fake_interrupt(device, vector);
}

/* Registers and memory are answered above; what is below the seam only has to be there. */
static uint64_t nothing_read(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    (void)window;
    (void)offset;
    (void)width;
    return 0;
}

static void nothing_written(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    (void)window;
    (void)offset;
    (void)width;
    (void)value;
}

static int nothing_reset(struct fake_device *that)
{
    (void)that;
    return 0;
}

int main(int argc, char *argv[])
{
    static const struct chalk_mmio_ops nothing = {nothing_read, nothing_written};
    int status = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: %s RECORDING DEVICE ARGUMENT...\n", argv[0]);
        return 2;
    }
    read_recording(argv[1]);
    fake_reset();
    device = fake_device_add(argv[2], 0, 0, 0);
    device->reset = nothing_reset;
    for (unsigned bar = 0; bar < 6; bar++) {
        device->bars[bar].size = 1ull << 40;
        device->bars[bar].ops = &nothing;
    }
    fake.idle = interrupt;
    argv[1] = argv[0];
    if (fake_exits(status = chalk_main(argc - 1, argv + 1)))
        status = fake.exit_status;
    fputs(fake.console, stderr);
    if (next < line_count)
        differs("(the program ends)");
    return status;
}
