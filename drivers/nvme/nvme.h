/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of a controller and of a queue pair, and how the parts of the driver call each other:
 *
 *     controller.c  a controller's life: taken over, enabled, shut down
 *     settings.c    what it is told each time that it was enabled; the queues that it grants
 *     reset.c       the same, in trouble
 *     admin.c       admin commands, several under way
 *     identify.c    what the controller and its namespaces say of themselves, checked
 *     commands.c    admin commands with data, features, namespace management, firmware
 *     encode.c      commands from their parameters
 *     lists.c       lists of namespaces and controllers
 *     log.c         log pages
 *     behaviour.c   what the controller is told that this driver can do
 *     events.c      what the controller reports of its own accord
 *     await.c       the same, for a task that waits
 *     zns.c         zones; which command sets a controller is to use
 *     queue.c       a queue pair's life
 *     shape.c       what a queue relies on of its namespace
 *     vector.c      interrupt vectors, and who shares one
 *     adapt.c       queues that turn their interrupts on and off
 *     io.c          the hot path: submit, kick, poll
 *     request.c     requests that are not a plain read or write
 *     recovery.c    what becomes of requests when the controller is late, lies or goes
 *     cancel.c      requests that nobody wants any more
 *     split.c       requests that need several commands
 *     shadow.c      doorbells that are also in memory
 *     prp.c, sgl.c  where a command's data is
 *     protection.c  guards and tags, made and checked
 *     status.c      what a completion's status means
 */
#ifndef NVME_NVME_H
#define NVME_NVME_H

#include "data.h"
#include "registers.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/loan.h>
#include <chalk/lock.h>
#include <chalk/log.h>
#include <chalk/mmio.h>
#include <chalk/nvme_admin.h>
#include <chalk/vectors.h>
#include <stdatomic.h>
#include <string.h>

/* Queue identifiers are bits of one word; bit 0 is the admin queue. */
#define NVME_QUEUES 64

#define NVME_ADMIN_ENTRIES 32

/* Longer transfers would cost list memory in each slot, and gain nothing: 256 pages fill half a page of list.
 */
#define NVME_MAX_TRANSFER ((uint64_t)1 << 20)

/*
 * Bytes of the list that each slot has in memory. Lists lie at multiples of it, so each begins a page of its
 * own (or, where pages are larger, a part of one) and the longest, of pages, fills only half of it. Thus:
 *
 * - No entry is in the last 8 bytes of a page. Only a pointer to another list belongs there [Base 4.1.1], and
 *   some controllers take any entry there for one, even the last.
 * - The ranges of a discard have 4 KiB after them that are the slot's and zero. Some controllers fetch as
 * much as the most ranges there can be, or multiples of 512 bytes, however many ranges the command says.
 */
#define NVME_LIST_SIZE   4096u
#define NVME_LIST_PIECES (NVME_LIST_SIZE / sizeof(struct nvme_sgl))
_Static_assert(NVME_MAX_TRANSFER / 4096 * sizeof(uint64_t) <= NVME_LIST_SIZE - sizeof(uint64_t),
               "a list of pages never reaches the last entry of a page");

/* Leaves 4 of the 16 bits of a command identifier to tell old from new: see struct nvme_slot. */
#define NVME_MAX_DEPTH 4095

/* Somebody looks so often whether the controller is there, when nothing else would tell. */
#define NVME_LOOK_NS CHALK_S

/* A request is late when it has seen this many sweeps, so its deadline is kept to one part in that many. */
#define NVME_SWEEPS 64

/* The controller is reset, of the driver's own accord, so often before a request has to succeed. */
#define NVME_STRIKES 3

/* A request is submitted to the controller again at most so often. */
#define NVME_TRIES 3

enum nvme_state {
    NVME_STOPPED, /* no DMA, for good: requests may be called back */
    NVME_LIVE,
    NVME_MENDING, /* one core has it to itself, and resets it or takes memory away from it */
};

/* State and generation in one word, for one look: the generation goes up with each reset. */
#define NVME_STATE(epoch)        ((enum nvme_state)((epoch)&3u))
#define NVME_EPOCH(epoch, state) (((epoch) & ~3u) | (uint32_t)(state))
#define NVME_GENERATION          4u

/* Admin commands under way at once, the event requests included. Fewer than the ring has entries. */
#define NVME_ADMIN_CALLS 16
_Static_assert(NVME_ADMIN_CALLS < NVME_ADMIN_ENTRIES && (NVME_ADMIN_CALLS & (NVME_ADMIN_CALLS - 1)) == 0,
               "the ring is never full, and a command identifier's low bits are its slot");

/* An admin command: the memory of whoever asked, until its end. */
struct nvme_admin_call {
    const char *what;    /* its name in messages; NULL: a refusal is not logged */
    uint64_t timeout_ns; /* 0: the controller's; UINT64_MAX: as long as it likes */
    uint32_t epoch;      /* it is of use in no other (its end is -EIO); 0: in any */
    bool awake;          /* chalk_nvme_admin_run() does not sleep: it is called on any core */
    bool both;           /* dword 1 of its completion is wanted, too */
    bool mends;          /* it belongs to a reset, on the core that is about it */
    bool again;          /* chalk_nvme_admin_run() sends it again if it fails with a status that passes */
    /* Called at the end, by whichever core has seen it, and the last to touch the call. NULL: `finished` is
     * set instead. */
    void (*done)(struct nvme_admin_call *call);

    /* What became of it. Zero at the start. */
    int error;       /* 0; what chalk_nvme_status_error() makes of a refusal; or why it never ended */
    uint32_t result; /* dword 0 of the completion */
    uint32_t more;   /* dword 1, if wanted */
    uint16_t status;
    _Atomic(bool) finished;
    uint64_t deadline;
};

struct nvme_admin_slot {
    struct nvme_admin_call *call; /* NULL: free */
    uint16_t cid;                 /* the slot's index, and above it a count of its uses */
};

struct nvme_admin_queue {
    struct chalk_dma commands, completions;
    struct chalk_mmio doorbells;
    struct chalk_lock lock; /* of what follows */
    uint32_t tail, head, phase;
    _Atomic(uint64_t) look_after; /* ticks: before, nobody who waits for a command looks: it is too new */
    struct nvme_admin_slot slots[NVME_ADMIN_CALLS];
};

/* The controller's own memory: cmb.c. */
struct nvme_cmb {
    _Atomic(bool) wanted; /* for submission queues, and as far as is known it can be had */
    unsigned bar;
    uint64_t offset;          /* in it, bytes */
    struct chalk_mmio window; /* base 0: not mapped yet */
    struct nvme_cmb_piece {
        uint32_t at, size; /* of queue n's submission queue; size 0: it is elsewhere */
    } pieces[NVME_QUEUES];
};

/* One for each of the kinds of event that controllers know by heart. */
#define NVME_EVENT_REQUESTS 4

struct nvme_event_request {
    struct nvme_admin_call call;
    struct nvme_events *events;
    uint32_t turn; /* once it is finished: how many were answered before */
};

/* events.c. But for what two cores may touch, it is the core's that uses the controller. */
struct nvme_events {
    _Atomic(uint32_t) wanted;   /* as the feature; looked at by whoever resets the controller */
    _Atomic(uint32_t) answered; /* counted by whoever finds the answers */
    _Atomic(uint32_t) changes;  /* of namespaces, that were reported; counted likewise */
    _Atomic(bool) watched;      /* by a program; else by the queues, one at a time */
    struct chalk_lock tending;  /* of what follows, while it is the queues' */
    uint32_t asked;             /* of `wanted`, what the program asked for */
    bool of_queues;             /* queues want to know of changes of namespaces */
    bool asks;                  /* a request was sent in this step, which may be answered at once */
    struct nvme_event_request requests[NVME_EVENT_REQUESTS];
    uint32_t usable;      /* bit n: the controller takes requests[n] */
    uint32_t sent;        /* bit n: it has it, or has answered it */
    uint32_t epoch;       /* in which it was asked what had changed before */
    uint32_t told, about; /* the answer that is dealt with, dwords 0 and 1 */
    enum { NVME_EVENT_NONE, NVME_EVENT_TOLD, NVME_EVENT_READ } state; /* READ: its log page is on the way */
    bool untold; /* it is no answer: it is an event only if there is something in its log */
    struct nvme_admin_call reading;
    struct chalk_dma log; /* a page, into which that is read; va is NULL: nobody watches */
};

struct chalk_nvme {
    _Atomic(uint32_t) epoch;   /* NVME_EPOCH(); every queue looks at it when it is idle */
    int error;                 /* valid once stopped: -ENODEV, -EPROTO, -ETIMEDOUT, -EIO */
    _Atomic(uint32_t) strikes; /* resets since a request succeeded */
    /* Ticks: when a poll that finds nothing, on any core, looks whether the controller is there. */
    _Atomic(uint64_t) next_look;
    bool open;               /* wholly; before that, what fails is not mended */
    struct chalk_nvme *next; /* of those that are open: controller.c */
    struct chalk_device *device;
    struct chalk_domain *domain;
    struct chalk_memory *memory;
    struct chalk_mmio registers;
    struct chalk_mmio doorbells; /* of I/O queues, from queue 1 on */
    struct nvme_admin_queue admin;
    struct chalk_dma shadow; /* two pages: shadow doorbells and their events; none: va is NULL */
    struct nvme_cmb cmb;
    struct nvme_events events;
    struct chalk_dma behaviour; /* a feature's data; va is NULL: the controller need not know */
    /* Two pages, into which the controller writes identify structures: of commands that programs run, and of
     * a reset's. */
    struct chalk_dma answer;
    struct chalk_nvme_info info;
    uint64_t cap;
    uint64_t queue_ids;                   /* bit n: queue n is in use */
    unsigned cores[NVME_QUEUES];          /* that own them */
    _Atomic(uint32_t) nsids[NVME_QUEUES]; /* that they are for, as long as they rely on it; 0: none */
    unsigned coalesce, coalesce_us;       /* as in the options */
    struct chalk_vectors vectors;         /* vector 0 is the admin queue's */
    bool prompt[CHALK_VECTORS_MAX];       /* a queue of the vector does not want interrupts to be put off */
    unsigned page_shift;
    uint16_t retry_delays[3]; /* CRDT, in 100 ms */
    uint16_t error_entries;   /* of its error log; what is read beyond them is undefined [Base 5.16] */
    bool log_offsets;         /* log pages can be read from an offset on */
    bool no_active_list;      /* of namespaces: it was refused, or made no sense */
    uint16_t identify_status; /* of the last Identify; 0: it succeeded, or was not answered */
    uint32_t left_out;        /* namespaces that could not be identified */
    uint16_t queues_status;   /* of the request for I/O queues; 0: granted */
    uint16_t command_sets;    /* the combination of I/O command sets in use, if there is a choice */
    uint64_t ready_ns;        /* CAP.TO, CRTO */
    uint64_t shutdown_ns;     /* RTD3E */
    uint64_t timeout_ns;      /* of an admin command */
    /* What one command may be about; UINT64_MAX: the controller does not say. */
    uint64_t verify_bytes, zeroes_bytes, discard_blocks;
    unsigned core;
    bool interrupts;
    char name[CHALK_NAME_SIZE];
    _Alignas(8) uint8_t identity[4096], renewed[4096]; /* what was read from those, once */
};

/*
 * A request that may be in flight. The low bits of its command identifier are the slot's index, and never
 * change; the others, up to bit 15, count its uses, so that a completion that comes twice, or too late, is
 * told from the right one: at depth 4095 of 16 uses, at 127 of 512. There are more slots than requests, so no
 * slot's index is all ones, and no identifier is ffffh, which is no command [Base 3.3.3.1].
 *
 * A plain request in flight has a tag that is its command identifier and nothing else, so that one comparison
 * tells whether a completion is one of those; all others are looked at more closely.
 */
struct nvme_slot {
    struct chalk_block_request *request; /* NULL: not in flight */
    union {
        struct {
            uint32_t tag;  /* command identifier 15:0; NVME_TAG_... */
            uint8_t age;   /* sweeps that it has seen */
            uint8_t tries; /* how often it was submitted again */
            uint8_t marks; /* NVME_MARK_... */
            uint8_t rest;  /* kept: sweeps until it may be submitted again */
        };
        uint64_t fresh; /* all of a request that was just submitted, for one store */
    };
};
#define NVME_TAG_FREE   (1u << 16) /* no request: a completion of it is a lie */
#define NVME_TAG_RESULT (1u << 17) /* a struct chalk_nvme_request, which wants the completion's result */

#define NVME_MARK_UNWANTED 1u /* it shall be aborted */
#define NVME_MARK_ABORT    2u /* the controller was asked to */
#define NVME_MARK_AGAIN    4u /* it is kept, to be submitted (again) later */
#define NVME_MARK_LOST     8u /* it is not submitted again: its outcome is unknown */

/* A doorbell that is also in memory: shadow.c. */
struct nvme_shadow {
    struct chalk_mmio doorbell; /* the register */
    void *memory, *event;       /* its value, and up to which the controller wants to be told */
    uint32_t value;             /* what was written last */
};

/* What a queue relies on of its namespace. */
struct nvme_shape {
    uint64_t size;       /* blocks */
    uint32_t block_size; /* bytes; 0: of a format without sense */
    uint16_t metadata_size;
    bool interleaved, protection_first;
    uint8_t protection;
    uint64_t nguid[2], eui64; /* which namespace it is [NVM 4.1.5.1]; 0: not said, or reserved yet */
};

struct nvme_queue {
    struct chalk_block_queue
        block; /* a line that requests need: counters and trace; and a line that is info */

    /* constant, for submissions */
    _Alignas(64) struct nvme_command *commands; /* the submission queue */
    struct nvme_slot *slots;
    uint16_t *cids; /* a stack: those free are from in_flight on, the last one used first, its lines warm */
    uint64_t block_count;
    uint64_t read_head; /* a read command's first 64 bits, but for its identifier; a write's are one less */
    uint32_t command_blocks; /* in one command with data */
    uint32_t page;
    uint64_t page_mask; /* the same less one */
    uint32_t slot_mask;
    uint8_t block_shift;

    /* what submissions and polls change, and what an idle poll needs */
    _Alignas(64) uint32_t in_flight; /* requests; the slot of the next is the stack's entry of that number */
    uint32_t entries;                /* of both queues; more than requests in flight: see queue.c */
    uint32_t tail, rung; /* of the submission queue: the next free entry; what its doorbell was told */
    uint32_t cq_head;    /* of the completion queue: the next entry */
    uint32_t phase;      /* NVME_PHASE when that is new, else 0 */
    uint32_t origin;     /* this queue's identifier << 16 */
    uint32_t depth;
    uint64_t next_sweep; /* ticks; of requests in flight */
    struct chalk_nvme *nvme;
    const struct nvme_completion *completions;
    uint32_t epoch;  /* of the controller, when it got to know this pair; 0: it does not know it */
    bool head_moved; /* the last look took completions and ended no request */

    _Alignas(64) struct chalk_mmio head_doorbell; /* a window of one register */
    struct chalk_mmio tail_doorbell;
    void *lists; /* NVME_LIST_SIZE bytes a slot: its pages, pieces or ranges */
    uint64_t lists_iova;
    uint32_t sgl_align;           /* of pieces, bytes; 0: the controller knows pages only */
    struct nvme_part *free_parts; /* split.c */
    struct nvme_split *free_splits;
    struct nvme_shadow tail_shadow, head_shadow;
    struct chalk_mmio cmb_doorbell; /* the one behind tail_doorbell, of a queue in the controller's memory */
    enum chalk_nvme_protection protection;
    uint16_t protection_at; /* byte of a block's metadata */

    /* cold */
    uint32_t verify_blocks, zeroes_blocks; /* in one command of those */
    uint64_t sweep_ticks;                  /* between two sweeps */
    uint64_t timeout_ns;
    uint64_t swept; /* requests that the last sweep knew to be completed */
    struct nvme_admin_call abort;
    bool aborting; /* it is under way */
    uint32_t nsid;
    uint32_t warnings; /* failed requests that were logged */
    bool explained;    /* a wrong request was: explain.c */
    unsigned refused;  /* how often in a row the controller has not made the pair anew */
    int error;         /* not 0: dead, and this is what submissions get */
    uint16_t id;
    struct chalk_vector *vector;        /* NULL: it is polled */
    const struct chalk_block_ops *live; /* while the controller knows the pair */
    struct {
        uint64_t patience;  /* ticks */
        uint64_t since;     /* ticks; listening: from when on it counts; quiet: when a request ended last */
        uint64_t completed; /* quiet: requests, up to then */
        unsigned heard;     /* listening: requests that ended since */
        unsigned busy;      /* as many make it quiet */
    } adapt;
    struct chalk_nvme_request zone_request; /* zns.c's, one at a time, and where a report goes */
    struct chalk_dma zone_segment;
    struct chalk_dma command_memory, completion_memory, list_memory;
    uint64_t commands_iova; /* of the submission queue in use, there or in the controller's memory */
    uint64_t succeeded;     /* requests, before the controller got to know this pair */
    /* shape.c */
    struct nvme_shape shape;
    uint32_t shape_epoch;        /* of the controller, in which the namespace was seen to have it */
    uint32_t changes;            /* of namespaces, that were reported by then */
    struct nvme_admin_call look; /* at the namespace, while the queue is in use */
    bool looking;                /* that is under way */
    uint8_t looks;               /* those that failed with a status that passes, one after the other */
    bool unfit;                  /* the namespace has another shape: the queue ends */
    size_t size;                 /* bytes of this structure, its slots and its stack */
};
_Static_assert(sizeof(struct nvme_slot) == 16, "four slots share a cache line");
_Static_assert(offsetof(struct nvme_queue, commands) % 64 == 0 &&
                   offsetof(struct nvme_queue, head_doorbell) == offsetof(struct nvme_queue, commands) + 128,
               "a request needs three cache lines of its queue, and one of its head");
_Static_assert(offsetof(struct nvme_queue, tail_doorbell.ops) / 64 ==
                   offsetof(struct nvme_queue, head_doorbell) / 64,
               "what is needed of both doorbells is one line");

/*
 * For the proof of io.c (tests/proof/wp.py): what is true of a queue whenever one of its functions is called.
 * taken() is how many of `n` slots have a request; is_free(), that a tag has NVME_TAG_FREE. The axioms are
 * what the provers need to know of both; tests/proof/slots.smt2 proves each.
 */
/*@ predicate is_taken{L}(struct nvme_slot *slot) = slot->request != \null;

    axiomatic slots {
        logic integer taken{L}(struct nvme_slot *slots, integer n) reads slots[0 .. n - 1].request;

        axiom some{L}: \forall struct nvme_slot *slots, integer n, i;
            0 <= i < n && is_taken(slots + i) ==> 0 < taken(slots, n);
        axiom one_less{K, L}: \forall struct nvme_slot *slots, integer n, i;
            0 <= i < n && \at(is_taken(slots + i), K) && !\at(is_taken(slots + i), L) &&
            (\forall integer j; 0 <= j < n && j != i ==>
                (\at(is_taken(slots + j), K) <==> \at(is_taken(slots + j), L))) ==>
            taken{L}(slots, n) == taken{K}(slots, n) - 1;

        predicate is_free(integer tag);

        axiom masked: \forall uint32_t a, mask; 0 <= (a & mask) <= mask && (a & mask) <= a;
        axiom freed: \forall uint32_t a; is_free((a & 0xffff) | NVME_TAG_FREE);
        axiom result: \forall uint32_t tag;
            (tag & (uint32_t)~NVME_TAG_RESULT) < NVME_TAG_FREE ==> !is_free(tag);
    }

    predicate is_sound{L}(struct nvme_queue *queue) =
        \valid(queue) && \valid_read(queue->nvme) &&
        \valid(queue->slots + (0 .. queue->slot_mask)) && \valid(queue->cids + (0 .. queue->depth - 1)) &&
        \separated(queue, queue->slots + (0 .. queue->slot_mask), queue->cids + (0 .. queue->depth - 1)) &&
        \valid_read(queue->completions + (0 .. queue->entries - 1)) && queue->cq_head < queue->entries &&
        queue->in_flight == taken(queue->slots, queue->slot_mask + 1) && queue->in_flight <= queue->depth &&
        (\forall integer i; 0 <= i <= queue->slot_mask && !is_free(queue->slots[i].tag) ==>
            \valid(queue->slots[i].request)); */

/* The slot that the next command gets; there is one. */
static inline uint32_t nvme_next_slot(const struct nvme_queue *queue)
{
    return queue->cids[queue->in_flight] & queue->slot_mask;
}

/* Until the request is called back its data is the controller's, which does with it what the opcode's low
 * bits say: 1 is to read it, 2 to write it [Base 3.3.3.1]. */
static inline void nvme_lend(const struct nvme_queue *queue, const struct chalk_block_request *request,
                             uint32_t opcode)
{
    _Static_assert(CHALK_DEVICE_READS == 1 && CHALK_DEVICE_WRITES == 2, "as the opcode's low bits");
    chalk_lend(request, queue->nvme->name, queue->nvme->domain, request->segments, request->segment_count,
               opcode & 3);
}

/*
 * Writes `command` into the next entry of the submission queue, for `request`, in the next slot: with `kind`,
 * 0 or NVME_TAG_RESULT, in its tag. The doorbell is kick()'s.
 */
static inline void nvme_issue(struct nvme_queue *queue, const struct nvme_command *command,
                              struct chalk_block_request *request, uint32_t kind)
{
    uint32_t cid = queue->cids[queue->in_flight++];
    struct nvme_slot *slot = &queue->slots[cid & queue->slot_mask];
    struct nvme_command *entry = &queue->commands[queue->tail];

    *entry = *command;
    entry->cdw0 |= cid << 16;
    chalk_dma_publish(entry, sizeof *entry);
    queue->tail = queue->tail + 1 == queue->entries ? 0 : queue->tail + 1;
    slot->request = request;
    slot->fresh = cid | kind;
}

/* Frees the slot of a request that is not in flight any more, whose tag's low bits are `cid`. The next
 * submission uses it. */
/*@ requires is_sound(queue) && slot == queue->slots + (cid & queue->slot_mask) && is_taken(slot);
    assigns queue->in_flight, queue->cids[0 .. queue->depth - 1], *slot;
    ensures is_sound(queue);
    ensures !is_taken(slot); */
static inline void nvme_slot_free(struct nvme_queue *queue, struct nvme_slot *slot, uint32_t cid)
{
    uint32_t tag = ((cid + queue->slot_mask + 1) & 0xffff) | NVME_TAG_FREE; /* as it is used next */

    chalk_take_back(slot->request);
    slot->request = NULL;
    slot->tag = tag;
    queue->cids[--queue->in_flight] = (uint16_t)tag;
}

/* cmb.c */

/* Finds the controller's own memory, which CMBMSC gives an address each time that the controller is enabled.
 */
void chalk_nvme_cmb_detect(struct chalk_nvme *nvme);
void chalk_nvme_cmb_configure(struct chalk_nvme *nvme);

/* Moves the submission queue into the controller's memory, if some is to be had, with a doorbell that flushes
 * what was written there first. */
void chalk_nvme_cmb_use(struct nvme_queue *queue);
void chalk_nvme_cmb_put(struct chalk_nvme *nvme, unsigned id);

/*
 * Before the queue gets a new pair: moves it into the program's memory for good if none of the commands that
 * the controller was to find in its own succeeded. Some controllers say that they have such memory, and do
 * not heed the address that they are given for it.
 */
void chalk_nvme_cmb_doubt(struct nvme_queue *queue);

static inline uint64_t nvme_succeeded(const struct nvme_queue *queue)
{
    return queue->block.counters.completed - queue->block.counters.failed;
}

/* controller.c */

/* In a reset: whether the registers say what they said when the controller was opened, as far as that
 * matters. Errors, logged: -EPROTO, -ENODEV. */
int chalk_nvme_reread_capabilities(struct chalk_nvme *nvme);

/* Maps a part of BAR 0. Errors: as chalk_window_map(), and said. */
int chalk_nvme_window(struct chalk_nvme *nvme, size_t offset, size_t size, struct chalk_mmio *window);

/*
 * Takes the controller out of service; one that is just coming up has `patience_ns` to do so. When it returns
 * 0 the controller does no DMA [Base 3.7.2]. Errors: -ETIMEDOUT, -EIO, -ENODEV.
 */
int chalk_nvme_disable(const struct chalk_nvme *nvme, uint64_t patience_ns);

/* Makes sure, by whatever means it takes, that the controller does no DMA. */
void chalk_nvme_stop(const struct chalk_nvme *nvme);

/* Starts a controller that is disabled, with the admin queue. Errors, said: -ENODEV, -EIO, -ETIMEDOUT. */
int chalk_nvme_enable(struct chalk_nvme *nvme);

/*@ requires \valid_read(nvme);
    assigns \nothing; */
static inline uint32_t nvme_epoch(const struct chalk_nvme *nvme)
{
    return atomic_load_explicit(&nvme->epoch, memory_order_acquire);
}

/* Whether the platform has told that the device is lost. */
/*@ requires \valid_read(nvme);
    assigns \nothing; */
static inline bool nvme_is_lost(const struct chalk_nvme *nvme)
{
    const _Atomic(bool) *lost = nvme->registers.lost;

    return lost != NULL && atomic_load_explicit(lost, memory_order_relaxed);
}

/* Whether nobody has looked for a while, or the device is lost. */
/*@ requires \valid_read(nvme);
    assigns \nothing; */
static inline bool nvme_is_time_to_look(const struct chalk_nvme *nvme, uint64_t now)
{
    return now >= atomic_load_explicit(&nvme->next_look, memory_order_relaxed) || nvme_is_lost(nvme);
}

/* Whether namespaces have changed since the queue's was identified, and nothing keeps it from being
 * identified again at once. */
/*@ requires \valid_read(queue) && \valid_read(queue->nvme);
    assigns \nothing; */
static inline bool nvme_shape_is_in_doubt(const struct nvme_queue *queue)
{
    uint32_t changes = atomic_load_explicit(&queue->nvme->events.changes, memory_order_relaxed);

    return (changes != queue->changes || queue->looking) && queue->looks == 0;
}

static inline void nvme_look_later(struct chalk_nvme *nvme)
{
    atomic_store_explicit(&nvme->next_look, chalk_deadline(NVME_LOOK_NS), memory_order_relaxed);
}

static inline enum nvme_state nvme_state(const struct chalk_nvme *nvme)
{
    return NVME_STATE(nvme_epoch(nvme));
}

/* settings.c */

/* Makes the settings that a controller forgets when it is disabled; it does without what it refuses, and that
 * is logged. Errors: as chalk_nvme_admin_run() where there is no answer. */
int chalk_nvme_configure(struct chalk_nvme *nvme);

/* Maps the doorbells of the I/O queues that it grants, once: no more of BAR 0 than is used. Where they do not
 * fit there are fewer queues, and that is logged. Errors: as chalk_window_map(), but for -ERANGE. */
int chalk_nvme_map_doorbells(struct chalk_nvme *nvme);

/* reset.c */

/*
 * Both are told which epoch the trouble was seen in, and return false if another core has dealt with it
 * since; when they return, the controller is no longer being mended, and whatever was in flight in that epoch
 * no device will touch any more.
 *
 * chalk_nvme_fail() ends the use of a controller with `error`. chalk_nvme_recover() resets it, unless that
 * was done too often already, or does not work; then it fails.
 */
bool chalk_nvme_fail(struct chalk_nvme *nvme, uint32_t seen, int error);
bool chalk_nvme_recover(struct chalk_nvme *nvme, uint32_t seen, int error);

/*
 * Looks whether the controller is there and well, and deals with it if not: one that has gone fails with
 * -ENODEV, another one is reset. Returns whether it is well; if not, or if another core has dealt with it
 * since `seen`, it is no longer in that epoch. `*csts` is its status, UINT32_MAX if it has gone. `what` is
 * under way, for messages.
 */
bool chalk_nvme_look(struct chalk_nvme *nvme, uint32_t seen, const char *what, uint32_t *csts);

/* Whether it has gone: for a core that is about to reset it. */
bool chalk_nvme_is_gone(const struct chalk_nvme *nvme);

/* What a controller that stops because of `error` fails with from then on: -ENODEV, -EPROTO, -ETIMEDOUT, or
 * -EIO for all others. A status of one command is no property of the controller. */
int chalk_nvme_fatal_error(int error);

/* admin.c */

int chalk_nvme_admin_open(struct chalk_nvme *nvme);
void chalk_nvme_admin_close(struct chalk_nvme *nvme);

/* Makes the rings as they are before the first command. The controller does no DMA. */
void chalk_nvme_admin_rewind(struct chalk_nvme *nvme);

/*
 * Sends an admin command on its way. Errors: -EAGAIN (too many are), or why the controller does not take any:
 * -ETIMEDOUT, -EPROTO, -ENODEV, -EIO. After an error `call` is not touched again.
 */
int chalk_nvme_admin_start(struct chalk_nvme *nvme, struct nvme_admin_call *call,
                           const struct nvme_command *command);

/* Ends calls that the controller has answered, and stops a controller that owes an answer for too long. */
void chalk_nvme_admin_poll(struct chalk_nvme *nvme);

/* Ends every call with `error`. The controller does no DMA. */
void chalk_nvme_admin_cancel(struct chalk_nvme *nvme, int error);

/*
 * Runs one command to its end, polling or asleep. One that belongs to a reset or to the opening, or is marked
 * so, is sent again while it fails with a status that passes, for as long as its time limit. Returns
 * call->error, or as chalk_nvme_admin_start(); -EAGAIN: it was not taken within its time limit.
 */
int chalk_nvme_admin_run(struct chalk_nvme *nvme, struct nvme_admin_call *call,
                         const struct nvme_command *command);

/*
 * The same, in short: within the controller's time limit, with the completion's dword 0 in *result (unless
 * NULL). `what` names it in messages; NULL: a refusal is not logged.
 */
int chalk_nvme_admin(struct chalk_nvme *nvme, const struct nvme_command *command, const char *what,
                     uint32_t *result);

/* identify.c */

/*
 * Runs Identify [Base 5.17]; the answer is in nvme->identity. `what` as for chalk_nvme_admin().
 */
int chalk_nvme_identify(struct chalk_nvme *nvme, enum chalk_nvme_cns cns, uint32_t nsid, uint16_t controller,
                        enum chalk_nvme_command_set csi, const char *what);

/* A field of blank-padded ASCII [Base, "Conventions"] as a string of at most `size` characters: trimmed, and
 * what is not printable is '?'. */
void chalk_nvme_text(char *to, const char *field, size_t size);

/* Fills in nvme->info and what follows from it. Errors: -EPROTO, -ENOTSUP, as chalk_nvme_admin(). */
int chalk_nvme_identify_controller(struct chalk_nvme *nvme);

/* Fills in nvme->verify_bytes and so on, of a controller that is ready for I/O. Errors: as chalk_nvme_admin()
 * where there is no answer. */
int chalk_nvme_identify_limits(struct chalk_nvme *nvme);

/*
 * In a reset, by the core that is about it: nvme->info says what the controller is now, but claims no more
 * than before of what queues use. Errors: -EPROTO (it is another controller, or makes no sense), -ENOTSUP,
 * -EIO (refused), as chalk_nvme_admin_run().
 */
int chalk_nvme_renew(struct chalk_nvme *nvme);

/* The shape in a page that the controller has written. One that is not active has no blocks. */
void chalk_nvme_parse_shape(const struct chalk_nvme *nvme, const void *page, struct nvme_shape *shape);

/* Errors: -ENOENT (not an active namespace), -EPROTO, as chalk_nvme_admin(). */
int chalk_nvme_identify_namespace(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_namespace *ns);

/* The same for a search: one that cannot be identified is logged, and not there (-ENOENT). */
int chalk_nvme_find_namespace(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_namespace *ns);

/* Without a list of active namespaces each number is tried, and so many at most. */
#define NVME_NAMESPACES_TRIED 1024
bool chalk_nvme_has_active_list(const struct chalk_nvme *nvme);

/* Whether a list of active namespaces can have `nsid` as the first one above `after`. If not that is logged,
 * and the controller has no such list from now on. */
bool chalk_nvme_may_be_listed(struct chalk_nvme *nvme, uint32_t nsid, uint32_t after);

/* commands.c */

/* Which dword of a command is where [Base 3.3.3.1]. Where its data is remains to be said. */
struct nvme_command chalk_nvme_assemble(const struct chalk_nvme_command *command);

/* log.c: what is in the first bytes of a log page, which nobody else writes to any more */

void chalk_nvme_parse_health(const void *log, struct chalk_nvme_health *health);
void chalk_nvme_parse_firmware(const void *log, struct chalk_nvme_firmware *firmware);
void chalk_nvme_parse_sanitize(const void *log, struct chalk_nvme_sanitize_status *status);

/* At most `most` entries. Returns how many. */
unsigned chalk_nvme_parse_errors(const void *log, struct chalk_nvme_error *errors, unsigned most);

/* Returns how many; UINT32_MAX: too many to be listed. */
unsigned chalk_nvme_parse_changed(const void *log, uint32_t nsids[1024]);

/* behaviour.c */

/* Tells a controller that was enabled to say how long it wants to rest before a command is tried again, if it
 * can. Errors: -ENOMEM; as chalk_nvme_admin_run() where there is no answer. */
int chalk_nvme_behaviour_configure(struct chalk_nvme *nvme);

/* events.c */

/* Tells a controller that was enabled which events are wanted, if any are. Errors: as chalk_nvme_admin_run()
 * where there is no answer; a refusal is said, and no error. */
int chalk_nvme_events_configure(struct chalk_nvme *nvme);

/* A queue is open: has the controller report changes of namespaces, if it can, though the program does not
 * watch. That it cannot is no error. */
void chalk_nvme_events_begin(struct chalk_nvme *nvme);

/* In a sweep, on any core: does what a program that watches does by chalk_nvme_next_event(), if none does.
 * Returns whether there may soon be more to do. */
bool chalk_nvme_events_tend(struct chalk_nvme *nvme);

/* zns.c */

/* Whether the controller has more than the NVM command set, of which a combination is to be chosen. */
static inline bool nvme_has_command_sets(const struct chalk_nvme *nvme)
{
    return (nvme->cap & NVME_CAP_CSS_ALL) != 0;
}

/* Chooses one with zones, if there is, for nvme->command_sets. Errors: -ENOTSUP, as chalk_nvme_admin(). */
int chalk_nvme_choose_command_sets(struct chalk_nvme *nvme);

/* shadow.c */

/* Tells a controller that was enabled where its doorbells are in memory, if it knows of that. Errors:
 * -ENOMEM, as chalk_nvme_admin(). */
int chalk_nvme_shadow_configure(struct chalk_nvme *nvme);

/* Puts a shadow, which lives as long as the window, before doorbell `index` of the controller, at which
 * *window is. */
void chalk_nvme_shadow_doorbell(struct chalk_nvme *nvme, struct nvme_shadow *shadow, unsigned index,
                                struct chalk_mmio *window);

/* As it has to be before the controller knows its queue; nothing, if there is none. */
void chalk_nvme_shadow_rewind(struct nvme_shadow *shadow);

/* io.c */

extern const struct chalk_block_ops chalk_nvme_live_ops, chalk_nvme_adaptive_ops;

/* Calls back at most `limit` requests that the controller has finished, without a word to it: returns how
 * many. */
unsigned chalk_nvme_collect(struct nvme_queue *queue, unsigned limit);

/* request.c */

/*
 * Issues any request that is right. A slot is free. Errors: -EINVAL, -ERANGE, -ENOTSUP, as
 * chalk_block_submit(); then nothing has changed.
 */
int chalk_nvme_submit_other(struct nvme_queue *queue, struct chalk_block_request *request);

/* explain.c */

/* Logs what is wrong with the arguments of a function that is called seldom. Returns -EINVAL. */
int chalk_nvme_wrong_call(const struct chalk_nvme *nvme, const char *call, const char *why)
    __attribute__((cold));

/* Logs which field of a request that was refused with -EINVAL is wrong; in release builds the first time in a
 * queue. */
void chalk_nvme_explain(struct nvme_queue *queue, const struct chalk_block_request *request)
    __attribute__((cold));

/* Checks the protection information of what was read. Errors: -EILSEQ, and said. */
int chalk_nvme_check_read(struct nvme_queue *queue, const struct chalk_block_request *request);

/* Gives a request, which is no part of a queue, what its completion says, read from `entry` but for
 * `outcome`. */
/*@ requires \valid_read(entry);
    assigns \nothing; */
void chalk_nvme_result(struct chalk_nvme_request *request, const struct nvme_completion *entry,
                       uint32_t outcome);

/* cancel.c */

/* As chalk_block_cancel(). */
int chalk_nvme_cancel(struct chalk_block_queue *block, struct chalk_block_request *request);

/* recovery.c */

/*
 * Looks whether the controller is well, and if it is time for a sweep ages the requests in flight: so a
 * submission needs no time stamp. One that has seen more sweeps than make up its time limit is late. Returns
 * how many requests it called back.
 */
/*@ requires is_sound(queue);
    assigns *queue, queue->slots[0 .. queue->slot_mask], queue->cids[0 .. queue->depth - 1];
    ensures is_sound(queue); */
__attribute__((cold)) unsigned chalk_nvme_sweep(struct nvme_queue *queue);

/* Says in wait_ns when the next sweep or look is due. */
/*@ requires is_sound(queue);
    assigns queue->block.wait_ns;
    ensures is_sound(queue); */
void chalk_nvme_limit_wait(struct nvme_queue *queue);

/*
 * A request, whose slot was just freed, has failed. Returns the errno for it, and now and then tells of it:
 * it is the caller's to handle. Or 1: it will be submitted again.
 */
/*@ requires is_sound(queue) && !is_taken(slot) && \valid(request);
    requires \exists integer i; 0 <= i <= queue->slot_mask && slot == queue->slots + i;
    assigns *queue, queue->slots[0 .. queue->slot_mask], queue->cids[0 .. queue->depth - 1];
    ensures is_sound(queue); */
__attribute__((cold)) int chalk_nvme_refused(struct nvme_queue *queue, struct nvme_slot *slot,
                                             struct chalk_block_request *request, uint32_t outcome);

/* A completion of no command in flight: one that comes twice, too late, from elsewhere, or is made up. */
/*@ requires is_sound(queue);
    assigns *queue, queue->slots[0 .. queue->slot_mask], queue->cids[0 .. queue->depth - 1];
    ensures is_sound(queue); */
__attribute__((cold)) void chalk_nvme_distrust(struct nvme_queue *queue, uint32_t origin, uint32_t outcome);

/* A poll found nothing, and the controller is not in the queue's epoch any more. Returns what a poll does. */
/*@ requires is_sound(queue);
    assigns *queue, queue->slots[0 .. queue->slot_mask], queue->cids[0 .. queue->depth - 1];
    ensures is_sound(queue); */
__attribute__((cold)) int chalk_nvme_follow(struct nvme_queue *queue, unsigned max);

/* Asks the controller to abort a request in flight. It is called back all the same, when it has ended. */
void chalk_nvme_abort(struct nvme_queue *queue, struct nvme_slot *slot);

/* Ends every request of a queue that is being closed, and its pair. */
void chalk_nvme_wind_up(struct nvme_queue *queue);

/* queue.c */

/* Computes the queue's limits from its shape and from what the controller can do. */
void chalk_nvme_limit(struct nvme_queue *queue);

/* Makes the controller know the pair, as one in which nothing has happened. Errors: -EPROTO (it makes no pair
 * and does not forget the half of it; it was reset), as chalk_nvme_admin_run(). */
int chalk_nvme_pair_create(struct nvme_queue *queue);

/* Makes the controller forget it. Afterwards it no longer touches the requests in flight, whatever it takes.
 */
void chalk_nvme_pair_delete(struct nvme_queue *queue);

/* shape.c */

/* Whether a command may be sent that could change namespaces. Its data begins with `size` bytes at `data`.
 * Returns 0, or -EBUSY (logged): a queue of such a namespace is open. */
int chalk_nvme_check_unused(const struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                            const void *data, size_t size);

/* Notes what the queue relies on. */
void chalk_nvme_take_shape(struct nvme_queue *queue, const struct chalk_nvme_namespace *ns);

/*
 * Of a queue without a pair, before it gets one: adopts what the controller can do no more since it was
 * reset. Returns 0; 1 if the queue does not fit any more, which is logged, and it has to end; or as
 * chalk_nvme_admin_run() where the controller does not answer.
 */
int chalk_nvme_refit(struct nvme_queue *queue);

/* In a sweep, or between sweeps while nvme_shape_is_in_doubt(): whether the queue has to end because its
 * namespace has changed. Does not wait: it asks the controller when a change was reported, and a later call
 * sees the answer. */
bool chalk_nvme_shape_is_lost(struct nvme_queue *queue);

/* vector.c */

/* Gives the queue a vector, or none: then it is polled. Errors: as chalk_vectors_get(). */
int chalk_nvme_vector_get(struct nvme_queue *queue, const struct chalk_nvme_queue_options *options);
void chalk_nvme_vector_put(struct nvme_queue *queue);

/* Tells a controller that was enabled to put interrupts off, if that is wanted. That it cannot is no error.
 * Errors: as chalk_nvme_admin_run(). */
int chalk_nvme_coalesce(struct chalk_nvme *nvme);

/* Once the controller knows the pair: whether interrupts of its vector are left out of that. */
void chalk_nvme_vector_configure(struct nvme_queue *queue);

/* adapt.c */

/* Makes a queue that has a vector, and is not used yet, an adaptive one. */
void chalk_nvme_adapt(struct nvme_queue *queue, uint64_t patience_ns);

int chalk_nvme_poll_adaptive(struct chalk_block_queue *block, unsigned max);

/* status.c */

/* The errno for a status that is not 0: -EIO, unless another says more. */
int chalk_nvme_status_error(uint16_t status);

/* Whether the same command may well succeed a little later. */
bool chalk_nvme_status_passes(uint16_t status);

#endif
