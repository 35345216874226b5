/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The platform contract: everything that Chalk needs from the world below it.
 *
 * Two worlds implement it: hosted/ (a Linux process over VFIO and hugepages) and baremetal/ (ring 0 of a
 * PC). The portable archive, libchalk.a, calls nothing else, and is linked to one of them by name: there
 * is no table of function pointers in between, so a call costs a call.
 *
 * The set is as small as it can be. Each function says why the others cannot express it. Whoever adds one
 * defends it; whoever removes one is thanked.
 *
 * Conventions. Functions return 0 or a negative errno value; where a cause can be named, the platform has
 * also logged one message that says what failed, on which device, and the cure (see <chalk/log.h>).
 * Deadlines are absolute, in ticks (see struct chalk_clock); CHALK_FOREVER never comes. Unless a comment
 * says otherwise a function may be called from any core, may block for a short time, and is not for hot
 * paths: hot paths use the inline functions of <chalk/mmio.h>, <chalk/dma.h> and <chalk/clock.h>.
 */
#ifndef CHALK_PLATFORM_H
#define CHALK_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A counter that interrupts and other cores change: C11 and C++ spell the same thing differently. */
#ifdef __cplusplus
#include <atomic>
#define CHALK_ATOMIC(type) std::atomic<type>
#else
#define CHALK_ATOMIC(type) _Atomic(type)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_FOREVER UINT64_MAX

/* ---- memory -------------------------------------------------------------------------------------- */

enum chalk_span_kind {
    CHALK_SPAN_RAM,    /* memory, free to use; what it holds is not defined: whoever hands it out zeroes it */
    CHALK_SPAN_MODULE, /* a file that the boot loader left in memory; read-only by convention */
    CHALK_SPAN_OUTSIDE, /* memory that the program brought itself (hosted); only who names it gets it */
};

/*
 * A NUMA node, wherever one is asked for or told: 0 is any node, or an unknown one, and n + 1 is node n as
 * the platform numbers it (hosted: as Linux does; bare: the firmware's proximity domains, ACPI 6.5 5.2.16).
 * So what an initializer leaves out means "any".
 */
#define CHALK_NODE(n)           ((unsigned)(n) + 1)
#define CHALK_NODE_NUMBER(node) ((int)((unsigned)(node)-1)) /* the reverse, for messages; -1: none */

/*
 * What claims know of a span (<chalk/claim.h>): memory of the platform's that no device reaches. It is zero
 * when the span is new, stays where it is, and goes with the span.
 */
struct chalk_span_books {
    uint64_t words[48];
};

/* A contiguous piece of memory that the program owns until it ends. */
struct chalk_span {
    void *va;
    size_t size;   /* bytes; a multiple of page */
    size_t page;   /* bytes: the size of the pages that it is made of, 4 KiB to 1 GiB */
    uint64_t iova; /* byte 0's address for devices, the same in every domain; iova = va modulo page */
    unsigned node; /* CHALK_NODE(), 0: unknown */
    enum chalk_span_kind kind;
    char name[24]; /* of a module, or of memory from outside; else empty */
    /* The whole span may be given to a device's process by its descriptor. So claims for devices and private
     * claims do not share it. */
    bool apart;
    struct chalk_span_books *books; /* kept by the platform for this span; never NULL */
};

/*
 * The i-th span that the program owns. Returns -ENOENT past the last one.
 * Why: on bare metal all of memory is there from the start, and no other call could say where.
 */
int chalk_span_get(unsigned i, struct chalk_span *span);

/*
 * Adds a span of at least `size` bytes, in pages of `page` bytes (or the largest that are to be had, when
 * 0), on NUMA node `node` (CHALK_NODE(), 0: any), whose iovas all lie at or below `max_address`.
 * Errors: -ENOMEM (hosted: with the command that reserves hugepages in the log; bare: always, since every
 * span was there from the start), -ERANGE (no iova below max_address is free), -EINVAL (hosted: no size, no
 * such node, or no such pages; logged).
 * Why: a process owns only what it asks its kernel for.
 */
int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span);

/*
 * Makes one 4 KiB page inaccessible for the program: touching it is a fault whose message says that it guards
 * `name`, such as "stack of task 3". `page` is page-aligned, and lies in memory that the caller owns and no
 * device uses; `name` stays where it is. NULL makes the page ordinary memory again, with undefined contents.
 * Why: only the owner of the page tables can do it, and a stack that overflows silently is the worst bug.
 * Errors: -EINVAL (not page-aligned), -ENOTSUP (page size of the span forbids it), -ENOMEM (for page tables).
 */
int chalk_page_guard(void *page, const char *name);

/* ---- devices ------------------------------------------------------------------------------------- */

#define CHALK_NAME_SIZE 128 /* a socket's path has up to 107 characters */

/* One device on the bus, as the bus describes it: nothing here needs the device to be opened. */
struct chalk_bus_info {
    unsigned cursor;            /* the platform's; 0 starts a scan */
    char name[CHALK_NAME_SIZE]; /* "0000:00:03.0"; what chalk_device_open() takes */
    uint16_t vendor, device;    /* PCI vendor and device identifier */
    uint16_t subsystem_vendor, subsystem_device;
    uint32_t class_code; /* class, subclass, programming interface: 0x010802 is NVMe */
    uint8_t revision;
    unsigned node;     /* CHALK_NODE(), 0: unknown */
    char bound_to[32]; /* hosted: the kernel driver that holds it now; else empty */
};

/*
 * Moves `info` to the next device: zero `info` first, call until it returns -ENOENT. Other walks do not
 * disturb this one. Errors: -ENXIO (the machine, or Linux, shows no bus), -ENOMEM.
 * Why: drivers find their devices, and only the platform knows how the bus is enumerated.
 */
int chalk_bus_next(struct chalk_bus_info *info);

struct chalk_device; /* an opened device: owned by the opener until chalk_device_close() */
struct chalk_domain; /* what a set of devices may touch; nothing, until something is mapped */

/*
 * Opens the device `name` (a PCI address; hosted also "vfio-user:PATH") for the caller alone, with bus
 * mastering off, and puts it into a domain:
 *   *domain NULL   into a new domain, returned in *domain. If the hardware cannot isolate the device from
 *                  others that are already open (one IOMMU group), into theirs, and a message says so.
 *   otherwise      into that domain; -EXDEV if the hardware ties the device to another one, or if either is
 *                  of a process and the other is not.
 * A domain lives until its last device is closed.
 * Errors: -EINVAL (not an address), -ENODEV (no such device, or it does not answer), -EACCES, -EBUSY (in
 * use, or held by a kernel driver), -ENXIO (no IOMMU, no VFIO), -EPERM (its group is not viable), -ENOMEM;
 * the message names the cure. Of a device that is a process also -EPROTO (it breaks the protocol),
 * -ETIMEDOUT, and what it answers.
 */
int chalk_device_open(const char *name, struct chalk_domain **domain, struct chalk_device **device);

/*
 * Closes the device: bus mastering off, vectors detached, windows unmapped, and the domain freed with its
 * last device. The driver has stopped the device before. Never fails. A device that is open when chalk_main()
 * returns is named in a message.
 */
void chalk_device_close(struct chalk_device *device);

/*
 * Resets the function (PCIe 6.6.2: at least 100 ms, retry status honoured), after which its registers hold
 * their defaults, bus mastering is off, and no DMA started before is still under way. Configuration that the
 * platform or firmware set (BARs, payload sizes) is restored.
 * Errors: -ENOTSUP (the function has no reset), -ETIMEDOUT (still not ready at the deadline), -ENODEV.
 * Why: hosted, it is the kernel's to do; config space alone is not enough (saved state, quirks, waiting).
 */
int chalk_device_reset(struct chalk_device *device, uint64_t deadline);

/*
 * Reads or writes `width` (1, 2 or 4) bytes at the aligned `offset` of configuration space (0-4095).
 * Errors: -EINVAL (offset or width), -EIO, -ENODEV (gone), or those of a process (see chalk_device_open()).
 * Writes to registers that the platform owns (BARs, MSI and MSI-X capabilities) may be refused with -EPERM.
 */
int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value);
int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value);

struct chalk_mmio; /* <chalk/mmio.h> */

enum chalk_attribute {
    CHALK_UNCACHED,      /* registers and doorbells */
    CHALK_WRITE_COMBINE, /* memory on the device: framebuffers, queues in a controller memory buffer */
};

/*
 * Makes `size` bytes at `offset` of base address register `bar` (0-5) accessible, until the device closes.
 * The window is wholly mapped or, where any part of it may not be, wholly served by calls; <chalk/mmio.h>
 * hides which. `offset` and `size` need no alignment. A platform that learns by itself when the device is
 * lost tells it in window->lost, and wakes every core. Errors, logged: -ENODEV (no such BAR, or it is I/O
 * ports; those of another process can be had), -ERANGE (beyond its end), -ENOMEM. Why: address space, and
 * what of it may be touched, belongs to the platform.
 */
int chalk_window_map(struct chalk_device *device, unsigned bar, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window);

/* ---- what a device may touch --------------------------------------------------------------------- */

enum chalk_protection {
    CHALK_DEVICE_READS = 1,  /* the device reads memory */
    CHALK_DEVICE_WRITES = 2, /* the device writes memory */
};

/*
 * Lets the devices of `domain` reach `size` bytes at `va`, through the addresses that start at `iova`.
 * All three are multiples of 4 KiB and the memory belongs to a span. Mapping the same again is counted,
 * not refused. Errors: -ERANGE (an address outside of what the device or the IOMMU can express; the
 * message names both), -EEXIST (overlaps another mapping), -ENOSPC (entries exhausted), -ENOMEM (locked
 * memory limit; the message has the bytes needed and the command), -EFAULT (hosted: memory that Linux lets no
 * device into), -EINVAL, or those of a process.
 * Why: default deny; nobody else can program the IOMMU. Without one (bare metal) iova must be the span's.
 */
int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection);

/* Takes it back. Returns when no device can reach it any more (after the IOTLB flush). Errors: -ENOENT, -EIO
 * (hosted: Linux did not; it is still mapped). */
int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size);

/* ---- interrupts ---------------------------------------------------------------------------------- */

/*
 * Aims interrupt `vector` of the device at (core, counter): when it fires the counter goes up and the core
 * leaves chalk_core_wait(). Counters change only inside chalk_core_wait() of that core, in every world: no
 * driver code ever runs in an interrupt handler. The counter is the caller's, and stays until the vector is
 * detached or aimed elsewhere, or the device closed. counter NULL detaches. Vectors are MSI-X entries. A
 * device without MSI-X has vector 0 alone: hosted its INTx pin, which is masked at delivery; bare its MSI
 * message. On bare metal a device that has only a pin has no vector: which input of which interrupt
 * controller a pin leads to is told by methods of the firmware's AML only (_PRT, ACPI 6.5 6.2.13), which the
 * image does not run. The first attach enables MSI-X for the device, so it comes before the device is
 * started. A driver may quiet an attached vector by its mask bit in the device's MSI-X table, where a window
 * there takes the write; the platform may clear it when it writes the entry.
 * Errors, logged: -ERANGE (the device has fewer vectors), -ENOTSUP (it has none, so the driver polls),
 * -EINVAL (there is no such core); bare also -ENOSPC (the core has no vectors left); hosted also -EMFILE,
 * -ENOMEM, and what Linux or a process answers: then the vector is detached.
 * Why: only the platform owns interrupt controllers.
 */
int chalk_vector_attach(struct chalk_device *device, unsigned vector, unsigned core,
                        CHALK_ATOMIC(uint32_t) *counter);

/*
 * INTx only: unmasks after the driver has quieted the device. MSI-X and MSI: does nothing. Errors, which are
 * not logged, because drivers call it for each interrupt: -ENOTSUP and -ERANGE as chalk_vector_attach(),
 * -EINVAL (the pin is not attached).
 * Why: a level-triggered line that nobody masks would fire for ever; only the driver knows when it is low.
 */
int chalk_vector_rearm(struct chalk_device *device, unsigned vector);

/* ---- cores --------------------------------------------------------------------------------------- */

struct chalk_core_info {
    unsigned package, core, thread;       /* topology */
    unsigned node;                        /* CHALK_NODE(), 0: unknown */
    bool running;                         /* started, adopted, or the one that main runs on */
    const CHALK_ATOMIC(uint32_t) *events; /* changes whenever something may have happened for this core */
};

/* What core `core` is; -ENOENT past the last. The program starts on core 0. */
int chalk_core_get_info(unsigned core, struct chalk_core_info *info);

/*
 * Gives core `core` to `entry`: from then on it runs that and nothing else. It is free again when entry
 * returns. Errors: -ENOENT, -EBUSY (running), -ENOTSUP (this platform runs one core), -EAGAIN.
 */
int chalk_core_start(unsigned core, void (*entry)(unsigned core, void *argument), void *argument);

/*
 * Called on `core` itself: collects events (interrupts, wakes), then sleeps until the event word differs
 * from `seen` or the deadline comes. A deadline of 0 collects and returns. No wake-up is lost when the caller
 * reads the event word, polls everything, and waits with what it read.
 * Why: sleeping without a race needs the interrupt controller or the kernel.
 */
void chalk_core_wait(unsigned core, uint32_t seen, uint64_t deadline);

/* Changes the event word of `core`, and ends its wait. Any core may call it. */
void chalk_core_wake(unsigned core);

/* ---- time, console, end -------------------------------------------------------------------------- */

/*
 * Time is the processor's time stamp counter: chalk_ticks() of <chalk/clock.h> reads it inline.
 * ns = ticks * ns_mult >> 32, ticks = ns * ticks_mult >> 32, with products of 128 bits: no overflow in 100
 * years.
 */
struct chalk_clock {
    uint64_t hertz;      /* ticks a second */
    uint64_t ns_mult;    /* 2^32 * 1e9 / hertz */
    uint64_t ticks_mult; /* 2^32 * hertz / 1e9 */
    uint64_t wall_ns;    /* nanoseconds since 1970-01-01 UTC, at tick wall_ticks; 0 when unknown */
    uint64_t wall_ticks;
};

/* The clock, constant from the start of the program on. Why: only the platform can calibrate it. */
const struct chalk_clock *chalk_clock_info(void);

/*
 * Writes `size` bytes to the console, or reads at most that many without waiting. Returns the number of
 * bytes moved, or a negative errno. Hosted, it is stderr and stdin.
 */
long chalk_console(void *bytes, size_t size, bool write);

/*
 * Whether somebody asked the program to end: SIGINT or SIGTERM hosted, ^C on the console bare. A program
 * that runs for long asks now and then, stops its devices, and returns from chalk_main().
 * Why: a device must be quieted by its driver; nobody else could end the program in good order.
 */
bool chalk_exit_requested(void);

/* Ends the program, with 0 for success. What is still open is not closed in order. */
__attribute__((noreturn)) void chalk_exit(int status);

#ifdef __cplusplus
}
#endif
#endif
