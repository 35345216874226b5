/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every program here does before its work, and after it: memory, device, domain, controller, namespace
 * and queue opened in this order, and closed in the reverse of it.
 */
#ifndef TOOLS_NVME_SESSION_H
#define TOOLS_NVME_SESSION_H

#include <chalk/dma.h>
#include <chalk/nvme.h>

/* What --help says of the operand that names the controller. */
#define SESSION_ADDRESS_HELP                                                                                 \
    "the controller: a PCI address, or vfio-user: and the path of a socket;\n"                               \
    "                               the first one on the bus if absent"

struct session_options {
    const char *address; /* PCI address of the controller; NULL: the first on the bus */
    uint32_t nsid;       /* 0: the first active namespace */
    unsigned depth;      /* of the queue; 0: open none */
    unsigned queues;     /* of that depth, that the program will open itself; 0: one is opened here */
    enum chalk_nvme_interrupts interrupts;
    unsigned coalesce, coalesce_us; /* interrupts, as struct chalk_nvme_options has it */
    bool controller_memory;         /* keep commands there, if there is any */
    bool shadow_doorbells;          /* ring them in memory, if the controller can */
    uint64_t timeout_ns;            /* of each command; 0: the driver's own */
};

struct session_buffers; /* session.c */

struct session {
    struct chalk_bus_info bus;
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    bool shared; /* memory, with the domain */
    struct chalk_nvme *nvme;
    struct chalk_nvme_namespace ns;  /* when a depth was given */
    struct chalk_block_queue *queue; /* unless the program opens its own */
    const _Atomic(uint32_t) *events; /* of core 0, on which everything here runs */
    struct session_buffers *buffers; /* of the program */
    struct session_memory *private;  /* of the program, which the controller does not reach */
};

/*
 * Opens everything. On failure it has said why, has closed what was open, and returns false.
 * `session` need not be initialised.
 */
bool session_open(struct session *session, const struct session_options *options);

/* The exit status after session_open() failed: EXIT_INTERRUPTED if the program was asked to end meanwhile. */
int session_failed(void);

/* Fills in session->ns: the namespace `nsid`, or the first active one if that is 0. False, and said: none. */
bool session_find_namespace(struct session *session, uint32_t nsid);

/*
 * Claims `size` bytes for the program's own requests, at a multiple of `align` (a power of two), and lets the
 * controller reach them. A program asks for them when it has checked everything else: they may be gigabytes,
 * and to claim those only to refuse an option takes seconds. They are session_put_buffers()'s to give back,
 * or session_close()'s. Errors: as chalk_arena_create() and chalk_arena_share() (logged).
 */
int session_get_buffers(struct session *session, size_t size, size_t align, struct chalk_dma *buffers);

/* Gives them back, when no request uses them any more. Does nothing if `buffers` was never filled in. */
void session_put_buffers(struct session *session, const struct chalk_dma *buffers);

/*
 * `count` times `size` bytes for the program alone, all zero; NULL: there is no memory (logged). For what an
 * option or a device makes large: the heap's pages are only taken when they are first written to, and Linux
 * ends a program that then has more than its control group allows. Here they are taken at once, or the limit
 * is named. They are session_put_memory()'s to give back, or session_close()'s.
 */
void *session_get_memory(struct session *session, size_t count, size_t size);

/* Gives it back. Does nothing if `va` is NULL. */
void session_put_memory(struct session *session, const void *va);

/* Whether the blocks have no metadata (logged if they have): requests without any are refused otherwise. */
bool session_has_plain_blocks(const struct session *session);

/* Closes everything, also of a session that was opened in part. */
void session_close(struct session *session);

/*
 * Asks for consent: whether `overwrite` was given. If not, it says which blocks of which disk would be
 * destroyed, and how to agree.
 */
bool session_may_write(const struct session *session, uint64_t start, uint64_t blocks, bool overwrite);

/*
 * Lets the processor rest until the queue's device interrupts, something else wakes the core, or 100 ms have
 * passed; only a pause if no interrupt would tell. `seen` is the event word from before the last poll.
 */
void session_rest(const struct session *session, uint32_t seen);

#endif
