/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NVMe controller for unit tests, on the fake platform: registers, an admin queue, I/O queues and a small
 * disk.
 *
 * It does what the specification says, at the moment a doorbell is written, and only through memory that was
 * mapped for it. What a test wants otherwise it writes into the model: lies in the identify structures, a
 * register that never changes, completions that are held back, forged or withheld. Whatever the driver does
 * wrong is counted in `faults`, and the first one told.
 */
#ifndef NVME_MODEL_H
#define NVME_MODEL_H

#include "drivers/nvme/registers.h"
#include "platform_fake.h"

#define MODEL_NAME   "0000:00:04.0"
#define MODEL_QUEUES 8 /* the admin queue included */
#define MODEL_CMB    16384
#define MODEL_DISK   ((size_t)4 << 20)
#define MODEL_TABLE  0x2000u /* the vectors' table, in BAR 0 */

/* An I/O command of this model alone: gives 64 bytes that begin with "vendor", and dwords 10, 11 and 15 as
 * its result, the last one exclusive-or-ed into the upper half. */
#define MODEL_VENDOR 0x82

struct nvme_model_queue {
    uint64_t commands, completions;
    uint32_t entries;    /* 0: there is none */
    uint32_t head, tail; /* of the submission queue */
    uint32_t posted, taken,
        phase; /* of the completion queue: where the next one goes; what the driver has told */
    uint16_t vector;
    bool interrupts, has_commands;
};

struct nvme_model {
    struct fake_device *device;

    /* what it says; a test may change it before the driver looks */
    uint64_t cap;
    uint32_t cmbloc, cmbsz;    /* its own memory, which is in BAR 2, if `cap` has it */
    uint32_t crto;             /* if `cap` has it */
    uint32_t version, granted; /* granted: dword 0 of Set Features (number of queues) */
    struct nvme_identify_controller controller;
    struct nvme_identify_namespace namespaces[3]; /* identifiers 1 to 3 */
    bool no_active_list;
    uint32_t lists; /* not 0: the only active namespace, by its list */
    bool admin_interrupts;
    bool table_hidden; /* of the vectors: reads as ones, and cannot be written */

    /* how it misbehaves */
    bool gone_in_zeroes; /* its registers read as zeroes once it is unplugged */
    bool fatal_once;     /* only the first time */
    bool never_ready, never_idle, never_shut_down, fatal; /* fatal: CSTS.CFS as soon as it is enabled */
    bool cmb_deaf;    /* it does not heed the address of its own memory, and breaks down when sent there */
    bool cmb_refused; /* it does not take the address of its own memory */
    bool mute;        /* takes commands and never completes them */
    bool mute_until_reset; /* the same, until CC.EN is cleared */
    bool aborts;           /* carries aborts of commands that were lost out; else it says that it has not */
    bool drops_identify;   /* completes Identify without having written anything */
    bool hold;             /* I/O commands stay in the submission queue until model_run() */
    bool hold_admin;       /* and so do admin commands */
    unsigned lose;         /* of I/O commands, the next so many are taken and forgotten */
    uint16_t refuse;       /* status of every I/O command */
    uint16_t refuse_admin; /* status of admin commands with opcode `refuse_opcode` */
    uint8_t refuse_opcode, refuse_other; /* the other: 0, or one more */
    /* Called with each completion before it is posted to queue `id`; false: it is not. */
    bool (*tamper)(struct nvme_model *model, unsigned id, struct nvme_completion *completion);

    /* Called before each access to a register. */
    void (*access)(struct nvme_model *model);

    /* Called with each command of queue `id` first: true, with its status and result, if that was all there
     * is to it. */
    bool (*execute)(struct nvme_model *model, unsigned id, const struct nvme_command *command,
                    uint16_t *status, uint64_t *result);

    /* what happened */
    uint32_t cc, csts, aqa, intms;
    uint64_t asq, acq, cmbmsc;
    unsigned fetched; /* commands from its own memory */
    struct nvme_model_queue queues[MODEL_QUEUES];
    uint64_t shadow, events;    /* where doorbells are in memory; 0: nowhere */
    uint16_t event_requests[8]; /* commands that wait for an event */
    unsigned event_count;
    uint8_t behaviour[512];       /* host behaviour support, as it was set */
    uint32_t events_wanted;       /* as the feature was set */
    uint32_t masks[FAKE_VECTORS]; /* the control words of the vectors' table */
    bool pending[FAKE_VECTORS];   /* interrupts that were masked */
    unsigned commands;            /* I/O commands executed */
    struct nvme_command last;     /* of them */
    unsigned doorbells, register_reads, enables, shutdowns, asked_to_abort;
    unsigned stray_doorbells; /* of queues that a reset took: allowed, since their owners cannot know yet */
    uint32_t
        lost[64]; /* command << 16 | queue, of the last I/O commands lost; what has the same index is older */
    unsigned lost_count;
    bool enabled_without_master, enabled_without_vectors;
    unsigned faults;
    _Alignas(4096) uint8_t cmb[MODEL_CMB];
    uint8_t disk[MODEL_DISK];
};

/* A controller with one namespace of 512-byte blocks, on the fake bus as MODEL_NAME. After fake_reset(). */
struct nvme_model *model_add(void);

/* Executes what is in the submission queue of `id`, at most `limit` commands (0: all). Returns how many. */
unsigned model_run(struct nvme_model *model, unsigned id, unsigned limit);

/* With doorbells in memory: the driver shall ring the register of queue `id` when its tail passes `tail`. */
void model_wake_at(struct nvme_model *model, unsigned id, uint32_t tail);

/* Posts a completion to queue `id`, whatever it says; its phase bit is made right. */
void model_post(struct nvme_model *model, unsigned id, struct nvme_completion completion);

/* Reports an event, in answer to the oldest request for one: `told` is dword 0, `about` dword 1. False: there
 * is none. */
bool model_event(struct nvme_model *model, uint32_t told, uint32_t about);

/* Moves `size` bytes of a command's data between `local` and where its PRPs say. False: it cannot be reached.
 */
bool model_transfer(struct nvme_model *model, const struct nvme_command *command, void *local, size_t size,
                    bool to_program);

/* Unplugs it: every register and all of configuration space read as ones. */
void model_unplug(struct nvme_model *model);

#endif
