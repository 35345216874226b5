/* SPDX-License-Identifier: BSD-2-Clause */
/* fault NAME: does one forbidden thing, for the panic's sake. */
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *volatile nowhere;
static unsigned char code[16] = {0xc3};

static __attribute__((noinline)) int read_null(void)
{
    return *nowhere;
}

static __attribute__((noinline)) void write_text(void)
{
    *(volatile unsigned char *)(void *)chalk_main = 0;
}

static __attribute__((noinline)) void run_data(void)
{
    void (*volatile call)(void);
    unsigned char *address = code;

    memcpy((void *)&call, &address, sizeof(address));
    call();
    __asm__ volatile("");
}

static __attribute__((noinline)) int exhaust_stack(unsigned depth)
{
    volatile char frame[1024];

    frame[depth % sizeof(frame)] = (char)depth;
    return depth == ~0u ? 0 : exhaust_stack(depth + 1) + frame[0];
}

static void dig(struct chalk_task *self, void *argument)
{
    (void)self, (void)argument;
    exhaust_stack(0);
}

/* Of a task's, which is smaller, and not its core's. */
static void exhaust_task(void)
{
    struct chalk_memory *memory;
    struct chalk_loop *loop;

    if (chalk_memory_create(NULL, &memory) != 0 ||
        chalk_loop_create(&(struct chalk_loop_options){.memory = memory}, &loop) != 0 ||
        chalk_task_start(loop, &(struct chalk_task_options){.name = "digger"}, dig, NULL, NULL) != 0)
        return;
    chalk_loop_run(loop);
}

static __attribute__((noinline)) void run_nonsense(void)
{
    __asm__ volatile("ud2");
}

int chalk_main(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : "";

    if (!strcmp(name, "null"))
        return read_null();
    if (!strcmp(name, "text"))
        write_text();
    if (!strcmp(name, "data"))
        run_data();
    if (!strcmp(name, "stack"))
        return exhaust_stack(0);
    if (!strcmp(name, "task"))
        exhaust_task();
    if (!strcmp(name, "opcode"))
        run_nonsense();
    if (!strcmp(name, "abort"))
        abort();
    printf("nothing happened: null, text, data, stack, task, opcode or abort?\n");
    return 0;
}
