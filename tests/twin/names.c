/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program with functions and variables of its own that are named as those are inside of the platforms, and
 * which uses memory, cores, time and the console beside them. It cannot be linked if such a name is global in
 * an archive; and if the linker took one for the other, the platform would not work, or a number be another.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/memory.h>
#include <chalk/platform.h>

#include <stdlib.h>

#include "twin.h"

#define OWN(name, number)                                                                                    \
    int name(void);                                                                                          \
    __attribute__((noinline)) int name(void)                                                                 \
    {                                                                                                        \
        return number;                                                                                       \
    }

OWN(peer_open, 1)
OWN(peer_ask, 2)
OWN(json_number, 3)
OWN(message_send, 4)
OWN(book_free, 5)
OWN(patience_for, 6)
OWN(hosted_lock, 7)
OWN(hosted_domain_new, 8)
OWN(acpi_parse, 9)
OWN(arguments_split, 10)
OWN(start, 11)
OWN(startup, 12)
OWN(clock_start, 13)
OWN(core_begin, 14)
OWN(cpu_start, 15)
OWN(domain_join, 16)
OWN(heap_map, 17)
OWN(interrupt_send, 18)
OWN(libc_start, 19)
OWN(loader_parse, 20)
OWN(machine_exit, 21)
OWN(memory_start, 22)
OWN(memory_take, 23)
OWN(msi_reset, 24)
OWN(panic, 25)
OWN(pci_read, 26)
OWN(pci_start, 27)
OWN(pvh_start, 28)
OWN(serial_write, 29)
OWN(symbols_find, 30)
OWN(trap_sleep, 31)
OWN(trap_syscall, 32)

volatile int acpi = 1, boot = 2, memory_retries = 3, hosted_state = 4, image_start = 5, image_end = 6,
             text_start = 7, text_end = 8, constants_end = 9, data_end = 10, symbols_start = 11,
             symbols_end = 12;

static int (*const functions[])(void) = {
    peer_open,         peer_ask,     json_number,     message_send,   book_free,  patience_for, hosted_lock,
    hosted_domain_new, acpi_parse,   arguments_split, start,          startup,    clock_start,  core_begin,
    cpu_start,         domain_join,  heap_map,        interrupt_send, libc_start, loader_parse, machine_exit,
    memory_start,      memory_take,  msi_reset,       panic,          pci_read,   pci_start,    pvh_start,
    serial_write,      symbols_find, trap_sleep,      trap_syscall};
static volatile int *const variables[] = {&acpi,          &boot,      &memory_retries, &hosted_state,
                                          &image_start,   &image_end, &text_start,     &text_end,
                                          &constants_end, &data_end,  &symbols_start,  &symbols_end};

static bool are_own(void)
{
    bool own = true;

    for (unsigned i = 0; i < sizeof functions / sizeof functions[0]; i++)
        own = own && functions[i]() == (int)i + 1;
    for (unsigned i = 0; i < sizeof variables / sizeof variables[0]; i++)
        own = own && *variables[i] == (int)i + 1;
    return own;
}

int chalk_main(int argc, char *argv[])
{
    uint64_t before = chalk_ticks();
    struct chalk_memory *memory;
    struct chalk_dma page;
    void *block;

    (void)argc, (void)argv;
    expect(are_own(), "functions and variables are the program's own");
    expect_result(chalk_memory_create(NULL, &memory), 0, "memory");
    expect_result(chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &page), 0, "a page for devices");
    chalk_dma_put(memory, &page);
    chalk_memory_destroy(memory);
    block = malloc(1 << 20);
    expect(block != NULL, "malloc");
    free(block);
    chalk_core_wait(0, 0, chalk_deadline(CHALK_MS));
    expect(chalk_ticks() > before, "time goes on");
    expect(are_own(), "and they still are");
    return twin_failures != 0;
}
