/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console: the first serial port, a 16550 (National PC16550D), polled. Nothing here waits without a
 * bound, and a machine without the port loses its words but not its life.
 *
 * What is typed is as on a terminal: ^C asks the program to end, ^D ends the input for good, ^V takes the
 * byte after it as it is, and a return is the end of a line.
 *
 * Nobody can see on a serial line whether the program wants input, and what comes before it does would be
 * lost, or be the firmware's. So where a debug console (QEMU's isa-debugcon) is at port 0xe9, a byte there
 * says how many more may be sent. All that was asked for has room, so that a ^C is seen behind any input.
 */
#include "machine.h"
#include "x86.h"

#include <chalk/clock.h>

enum {
    PORT = 0x3f8,
    DATA = PORT,                 /* and the divisor's low byte, when DLAB is set */
    INTERRUPT_ENABLE = PORT + 1, /* and its high byte */
    FIFO_CONTROL = PORT + 2,
    LINE_CONTROL = PORT + 3,
    MODEM_CONTROL = PORT + 4,
    LINE_STATUS = PORT + 5,
    SCRATCH = PORT + 7,
    REQUEST = 0xe9, /* reads as its own number where it is there */

    LINE_8N1 = 0x03,
    LINE_DLAB = 0x80,
    FIFO_ENABLE_AND_CLEAR = 0x07,
    FIFO_WORKS = 0xc0, /* as read: both bits, since the 16550A */
    MODEM_DTR_RTS = 0x03,
    STATUS_DATA_READY = 0x01,
    STATUS_FIFO_EMPTY = 0x20,
    STATUS_IDLE = 0x40,

    FIFO_SIZE = 16,
    DIVISOR = 1, /* 115200 baud */
    CONTROL_C = 0x03,
    CONTROL_D = 0x04,
    CONTROL_V = 0x16,

    TYPED_SIZE = 256,
    REQUEST_MIN = 128, /* is worth a look of the other side */
    REQUEST_MAX = 255,
};

/*
 * A full FIFO takes 1.4 ms at 115200 baud, which is a few thousand port accesses. In a virtual machine it
 * takes as long as whoever reads the console is away: an emulated port access takes 0.1 us at the least, so
 * this is 5 s.
 */
#define WAIT_STEPS 50000000

static struct {
    struct chalk_lock
        lock; /* of writers, so that what is written at once stays together; panics do without */
    struct chalk_lock input_lock;
    bool present;
    unsigned fifo_size; /* 1: without a FIFO that works */
    atomic_bool exit_requested;
    _Atomic(uint64_t) next_look;
    unsigned head, tail; /* of what was typed and not yet read */
    char typed[TYPED_SIZE];
    bool quoted;        /* the next byte is taken as it is */
    bool ended;         /* nothing more is read behind what was typed */
    bool requests;      /* the other side waits until it is asked */
    unsigned requested; /* bytes that are still to come */
} serial;

void serial_start(void)
{
    out8(SCRATCH, 0x5a);
    serial.present = in8(SCRATCH) == 0x5a;
    if (!serial.present)
        return;
    serial.requests = in8(REQUEST) == REQUEST;
    out8(INTERRUPT_ENABLE, 0);
    out8(LINE_CONTROL, LINE_DLAB | LINE_8N1);
    out8(DATA, DIVISOR);
    out8(INTERRUPT_ENABLE, 0);
    out8(LINE_CONTROL, LINE_8N1);
    out8(FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR);
    serial.fifo_size = (in8(FIFO_CONTROL) & FIFO_WORKS) == FIFO_WORKS ? FIFO_SIZE : 1;
    out8(MODEM_CONTROL, MODEM_DTR_RTS);
}

static bool wait_for(uint8_t status)
{
    for (unsigned i = 0; i < WAIT_STEPS; i++)
        if (in8(LINE_STATUS) & status)
            return true;
    return false;
}

void serial_write(const char *bytes, size_t size)
{
    if (!serial.present)
        return;
    for (size_t i = 0; i < size; i++) {
        if (i % serial.fifo_size == 0 && !wait_for(STATUS_FIFO_EMPTY)) {
            serial.present = false; /* it sends nothing any more: nobody shall wait for it again */
            return;
        }
        out8(DATA, (uint8_t)bytes[i]);
    }
}

void serial_drain(void)
{
    if (serial.present)
        wait_for(STATUS_IDLE);
}

static void take_typed(uint8_t byte)
{
    bool quoted = serial.quoted;

    if (byte == CONTROL_C && !quoted) { /* was not asked for */
        serial.exit_requested = true;
        return;
    }
    if (serial.requested > 0)
        serial.requested--;
    serial.quoted = byte == CONTROL_V && !quoted;
    serial.ended |= byte == CONTROL_D && !quoted;
    if (serial.quoted || serial.ended || serial.head - serial.tail == TYPED_SIZE)
        return;
    serial.typed[serial.head++ % TYPED_SIZE] = byte == '\r' && !quoted ? '\n' : (char)byte;
}

static void collect_typed(void)
{
    for (unsigned i = 0; i < FIFO_SIZE && serial.present && in8(LINE_STATUS) & STATUS_DATA_READY; i++)
        take_typed(in8(DATA));
}

static void request_input(void)
{
    unsigned room = TYPED_SIZE - (serial.head - serial.tail) - serial.requested;

    if (!serial.requests || serial.ended || room < REQUEST_MIN)
        return;
    if (room > REQUEST_MAX)
        room = REQUEST_MAX;
    serial.requested += room;
    out8(REQUEST, (uint8_t)room);
}

long chalk_console(void *bytes, size_t size, bool write)
{
    char *to = bytes;
    size_t n = 0;

    if (write) {
        chalk_lock_take(&serial.lock);
        serial_write(bytes, size);
        chalk_lock_release(&serial.lock);
        return (long)size;
    }
    chalk_lock_take(&serial.input_lock);
    collect_typed();
    while (n < size && serial.tail != serial.head)
        to[n++] = serial.typed[serial.tail++ % TYPED_SIZE];
    if (size > 0)
        request_input();
    chalk_lock_release(&serial.input_lock);
    return (long)n;
}

bool serial_input_ended(void)
{
    bool ended;

    chalk_lock_take(&serial.input_lock);
    ended = serial.ended && serial.tail == serial.head;
    chalk_lock_release(&serial.input_lock);
    return ended;
}

/* A look at the port leaves a virtual machine, so a loop that asks all the time looks once a millisecond. */
bool chalk_exit_requested(void)
{
    uint64_t now = chalk_ticks();

    if (!serial.exit_requested && now >= serial.next_look && chalk_lock_try(&serial.input_lock)) {
        collect_typed();
        serial.next_look = now + chalk_clock_info()->hertz / 1000;
        chalk_lock_release(&serial.input_lock);
    }
    return serial.exit_requested;
}
