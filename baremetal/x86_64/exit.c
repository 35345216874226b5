/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end: the status goes to whoever runs a test (QEMU's isa-debug-exit device, which ends QEMU with
 * value * 2 + 1), else the power goes off (ACPI 6.5 4.8.3.2.1 and 7.4.2), else it says so and stands still.
 */
#include "machine.h"
#include "x86.h"

#include <chalk/log.h>

enum {
    DEBUG_EXIT = 0xf4, /* on a PC, a coprocessor's port that has had no coprocessor since the 486 */
    SCI_ENABLE = 1 << 0,
    SLEEP_TYPE_SHIFT = 10,
    SLEEP_ENABLE = 1 << 13,
    SLEEP_UNKNOWN = 0xffff,
    ACPI_WAIT_STEPS = 1000000, /* port reads: about a second */
};

/* The type first, then the same with the order to sleep; the other bits (SCI_EN) are the firmware's. */
static void sleep_in(uint16_t port, uint16_t type)
{
    if (port == 0)
        return;
    uint16_t control = in16(port) & (uint16_t) ~(7u << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
    control |= (uint16_t)((type & 7u) << SLEEP_TYPE_SHIFT);
    out16(port, control);
    out16(port, control | SLEEP_ENABLE);
}

static void power_off(void)
{
    if (acpi.pm1a_control == 0 || acpi.sleep_type_a == SLEEP_UNKNOWN)
        return;
    if (acpi.smi_command != 0 && acpi.smi_acpi_enable != 0 && !(in16(acpi.pm1a_control) & SCI_ENABLE)) {
        out8(acpi.smi_command, acpi.smi_acpi_enable);
        for (unsigned i = 0; i < ACPI_WAIT_STEPS && !(in16(acpi.pm1a_control) & SCI_ENABLE); i++)
            continue;
    }
    sleep_in(acpi.pm1a_control, acpi.sleep_type_a);
    sleep_in(acpi.pm1b_control, acpi.sleep_type_b);
    for (unsigned i = 0; i < ACPI_WAIT_STEPS; i++) /* it takes a moment */
        in16(acpi.pm1a_control);
}

/*
 * A process has eight bits for its status, the device leaves seven of them. Statuses up to 123 are
 * themselves. 124 to 127 are tools/metal's own, so no program needs them, and they stand for what
 * tools/runner/machine.py makes of them: the statuses of a crash and of an interrupted program, and of any
 * other failure.
 */
static uint8_t debug_status(int status)
{
    unsigned low = (unsigned)status & 0xff;

    return low < 124 ? (uint8_t)low : low == 130 ? 125 : low == PANIC_STATUS ? 126 : 127;
}

_Noreturn void machine_exit(int status)
{
    cores_stop_others();
    serial_drain();
    out8(DEBUG_EXIT, debug_status(status));
    power_off();
    static const char stuck[] = "chalk: the program has ended, and this machine does not switch itself off\n";
    serial_write(stuck, sizeof stuck - 1);
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void machine_refuse(const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    chalk_format_list(text, sizeof text, format, list);
    va_end(list);
    chalk_log(CHALK_ERROR, "%s", text);
    machine_exit(1);
}
