/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NVMe controller: NVM Express Base 2.0c, NVM Command Set 1.0c, PCIe Transport 1.0c, cited as in
 * drivers/nvme/registers.h. One administration queue pair and up to 64 for I/O, each with a vector of its
 * own; up to eight namespaces, which can be created and deleted, and of which the first two can have zones
 * [ZNS Command Set 1.1c]. It is the only controller that they can be attached to.
 */
#ifndef MODEL_NVME_H
#define MODEL_NVME_H

#include "model.h"
#include "store.h"

#include "drivers/nvme/registers.h"
#include "drivers/nvme/structures.h"

enum {
    NVME_MODEL_QUEUES = 65,
    NVME_MODEL_ENTRIES = 4096, /* of an I/O queue */
    NVME_MODEL_NAMESPACES = 8,
    NVME_MODEL_CONTROLLER = 1, /* its identifier */
    NVME_MODEL_MDTS = 7,       /* 512 KiB */
    NVME_MODEL_SHRUNK_MDTS = 1,
    NVME_MODEL_TRANSFER = 4096 << NVME_MODEL_MDTS,
    NVME_MODEL_STAGE = 16, /* completions that are shown at once */
    NVME_MODEL_ZASL = 4,   /* 64 KiB in one append */
    NVME_MODEL_EVENTS = 4, /* asynchronous event requests at once */
    NVME_MODEL_KELVIN = 323,
    NVME_MODEL_HELD = 64, /* late completions at once */
    NVME_MODEL_AT_STORES =
        STORE_DEPTH, /* I/O commands that take time: no more are fetched until one has ended */
};

/* What a script can have it be like, always. */
enum nvme_habit {
    NVME_FETCHES_4K,         /* as many ranges as there can be, for every Dataset Management */
    NVME_FETCHES_512,        /* ... or what they take, rounded up to 512 bytes */
    NVME_FOLLOWS_LAST_ENTRY, /* takes any entry that ends a page of PRP list for a pointer to the next */
    NVME_PAGES_ONLY,         /* knows PRPs, and no SGLs */
    NVME_IGNORES_CNS,        /* takes every Identify but of a namespace for one of the controller */
    NVME_DOORBELLS_APART,    /* 256 bytes */
    NVME_REFUSES_QUEUES,     /* the request for I/O queues */
    NVME_SHRINKS,            /* from its second start on it is other firmware, which can do less */
    NVME_GRANTS_LESS,        /* ... which grants a single I/O queue */
    NVME_HABITS
};

/* Status codes [Base 3.3.3.2.1, NVM 4.1]: type 10:8, code 7:0 */
enum nvme_status {
    NVME_GOOD = 0x000,
    NVME_INVALID_OPCODE = 0x001,
    NVME_INVALID_FIELD = 0x002,
    NVME_TRANSFER_ERROR = 0x004,
    NVME_INTERNAL_ERROR = 0x006,
    NVME_ABORTED = 0x007,
    NVME_ABORTED_SQ = 0x008,
    NVME_INVALID_NAMESPACE = 0x00b,
    NVME_SGL_SEGMENT = 0x00d,
    NVME_SGL_LENGTH = 0x00f,
    NVME_SGL_TYPE = 0x011,
    NVME_PRP_OFFSET = 0x013,
    NVME_OUT_OF_RANGE = 0x080,
    NVME_INVALID_CQ = 0x100,
    NVME_INVALID_QUEUE = 0x101,
    NVME_INVALID_SIZE = 0x102,
    NVME_EVENT_LIMIT = 0x105,
    NVME_INVALID_VECTOR = 0x108,
    NVME_INVALID_LOG = 0x109,
    NVME_INVALID_FORMAT = 0x10a,
    NVME_INVALID_DELETION = 0x10c,
    NVME_NOT_SAVEABLE = 0x10d,
    NVME_NOT_CHANGEABLE = 0x10e,
    NVME_NO_CAPACITY = 0x115,
    NVME_NO_IDENTIFIER = 0x116,
    NVME_ALREADY_ATTACHED = 0x118,
    NVME_NOT_ATTACHED = 0x11a,
    NVME_NO_THIN_PROVISIONING = 0x11b,
    NVME_INVALID_CONTROLLERS = 0x11c,
    NVME_NO_COMMAND_SET = 0x129,
    NVME_ZONE_BOUNDARY = 0x1b8,
    NVME_ZONE_FULL = 0x1b9,
    NVME_ZONE_READ_ONLY = 0x1ba,
    NVME_ZONE_OFFLINE = 0x1bb,
    NVME_ZONE_INVALID_WRITE = 0x1bc,
    NVME_TOO_MANY_ACTIVE = 0x1bd,
    NVME_TOO_MANY_OPEN = 0x1be,
    NVME_ZONE_TRANSITION = 0x1bf,
    NVME_MISCOMPARE = 0x285,
    NVME_LATER = 0xfff, /* none: the completion comes later */
};

struct nvme_zone_of {
    uint64_t written; /* blocks */
    uint8_t state;    /* enum chalk_nvme_zone_state */
};

struct nvme_namespace {
    struct store *store; /* NULL: there is none */
    bool attached;       /* so that commands find it */
    unsigned shift;      /* log2 of the block size */
    uint64_t blocks;

    /* Zones, in blocks; no zone_count: it has none. */
    uint64_t zone_size, zone_capacity;
    unsigned zone_count, zones_open, zones_active;
    unsigned max_open, max_active;
    struct nvme_zone_of *zones;
};

/* A ring in the program's memory, and where it can be seen. */
struct nvme_ring {
    uint64_t address;
    uint32_t entries; /* 0: there is no such queue */
    char *view;       /* NULL: by copies only */
    unsigned generation;
};

struct nvme_sq {
    struct nvme_ring ring;
    uint32_t head;
    uint16_t cq;
    uint64_t refused; /* the last impossible value of its doorbell, and where it came to */
};

struct nvme_cq {
    struct nvme_ring ring;
    uint32_t head, tail; /* of what the program has taken, and where the next goes */
    uint32_t phase;
    uint16_t vector;
    bool interrupts;
    bool posted;     /* something, since the last interrupt */
    unsigned staged; /* completions before the tail that the program does not see yet */
    struct nvme_completion stage[NVME_MODEL_STAGE];
    uint16_t users;
    uint32_t under_way; /* completions that are still to come */
};

/* Bytes of a store. */
struct nvme_extent {
    uint64_t offset, size;
};

/* A command that waits for its store. */
struct nvme_slot {
    struct store_request request;
    struct nvme_slot *next;
    struct nvme_command command;
    uint64_t result;
    uint16_t sq;
    struct store *store;      /* of nvme_zero.c: in which so many extents become zeroes, */
    unsigned extents, extent; /* of which this is the next, */
    bool writes_zeroes;       /* by writing them */
    char *buffer;             /* twice NVME_MODEL_TRANSFER bytes: the second half is for what is compared */
};

/* What the controller can tell of its own accord [Base 5.2.1]. */
enum nvme_event { NVME_BAD_DOORBELL, NVME_BAD_VALUE, NVME_TEMPERATURE, NVME_NAMESPACES, NVME_EVENT_COUNT };

struct nvme_events {
    uint16_t requests[NVME_MODEL_EVENTS]; /* identifiers of commands that wait, the oldest first */
    unsigned request_count;
    uint8_t pending[NVME_EVENT_COUNT]; /* enum nvme_event: what is still to be told, the oldest first */
    unsigned pending_count;
    uint8_t told; /* a bit for each type of which no more is told before its log page is read */
};

/* A completion that a script makes late. */
struct nvme_held {
    uint64_t due;
    uint16_t cq;
    struct nvme_completion entry;
};

struct nvme_model {
    struct model model;
    struct nvme_namespace namespaces[NVME_MODEL_NAMESPACES];
    uint64_t spare;    /* bytes, from which more can be created at first */
    uint64_t capacity; /* the same and what the first ones have */
    uint64_t changed;  /* namespaces, a bit each, since that was asked for */
    bool zoned;        /* it has the zoned command set: one of them had zones when it was made */
    const char *serial;
    bool registers_only; /* it offers no shadow doorbells */

    uint32_t cc, csts, aqa, masks;
    uint64_t asq, acq;
    uint32_t own_doorbells[2 * NVME_MODEL_QUEUES]; /* where the program does not write them by itself */
    uint32_t *doorbells;
    struct nvme_ring shadow,
        wanted; /* doorbells in memory, and the values from which on the register is, too */
    struct nvme_sq sqs[NVME_MODEL_QUEUES];
    struct nvme_cq cqs[NVME_MODEL_QUEUES];
    unsigned last_queue; /* no submission queue above it exists */
    unsigned starts;     /* since it was made */

    uint32_t features[256];
    uint32_t too_cold; /* a feature, too: kelvin */
    uint8_t behaviour; /* a feature, too: whether the host understands retry delays [Base 5.27.1.18] */
    struct nvme_events events;
    struct nvme_health health;
    struct nvme_error_entry errors[4]; /* the newest first */
    uint64_t error_count;
    struct nvme_slot *slots; /* free */
    unsigned at_stores;      /* that are not */
    struct nvme_slot *jobs;  /* of nvme_zero.c: commands that are done in pieces, the oldest first */

    const struct script_rule *spoiling; /* the data of the command that is being executed */
    struct nvme_held held[NVME_MODEL_HELD];
    unsigned held_count;
};

/* The first namespaces are there, and how much is spare. Namespaces that are created are in memory. The
 * stores that are there in the end are the caller's to close. */
void nvme_model_init(struct nvme_model *nvme, struct world *world);
void nvme_model_end(struct nvme_model *nvme);

/* The namespace of that number, NULL if there is none or it is not attached. */
static inline struct nvme_namespace *nvme_namespace(struct nvme_model *nvme, uint32_t nsid)
{
    if (nsid - 1 >= NVME_MODEL_NAMESPACES || !nvme->namespaces[nsid - 1].attached)
        return NULL;
    return &nvme->namespaces[nsid - 1];
}

static inline bool nvme_has(const struct nvme_model *nvme, enum nvme_habit habit)
{
    return nvme->model.script != NULL && script_has(nvme->model.script, habit);
}

/* Whether it is other firmware by now, which can do less. */
static inline bool nvme_has_shrunk(const struct nvme_model *nvme)
{
    return nvme->starts > 1 && nvme_has(nvme, NVME_SHRINKS);
}

/* Bytes that a command may move. */
static inline size_t nvme_most_bytes(const struct nvme_model *nvme)
{
    return (size_t)4096 << (nvme_has_shrunk(nvme) ? NVME_MODEL_SHRUNK_MDTS : NVME_MODEL_MDTS);
}

static inline bool nvme_knows_sgls(const struct nvme_model *nvme)
{
    return !nvme_has_shrunk(nvme) && !nvme_has(nvme, NVME_PAGES_ONLY);
}

/* I/O queues that it grants. */
static inline unsigned nvme_granted(const struct nvme_model *nvme)
{
    return nvme->starts > 1 && nvme_has(nvme, NVME_GRANTS_LESS) ? 1 : NVME_MODEL_QUEUES - 1;
}

/* nvme.c */

/* Which command sets have been selected: NVME_CC_CSS_... */
uint32_t nvme_command_sets(const struct nvme_model *nvme);

/* From now on the doorbells of I/O queues are found in one page of memory, and another says when to wake us.
 */
uint16_t nvme_shadow_doorbells(struct nvme_model *nvme, uint64_t shadow, uint64_t wanted);
/* Completes a command of queue `sq`. The room for its completion has been kept since it was fetched. An error
 * gets an entry in the error log. */
void nvme_complete(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command, uint16_t status,
                   uint64_t result);
/* Puts an entry, but for its phase, at the end of the queue. */
void nvme_post(struct nvme_model *nvme, struct nvme_cq *cq, struct nvme_completion entry);
/* Puts an entry at the head of the error log, with all but its number, which it gets here. */
void nvme_log_error(struct nvme_model *nvme, struct nvme_error_entry entry);
/* Whether one more completion has room in the queue, beside those that are still to come. */
bool nvme_has_room(struct nvme_model *nvme, unsigned cq);
/* Waits for everything that is at the stores, and completes it. */
void nvme_drain(struct nvme_model *nvme);

/* nvme_data.c: moves a command's data between `bytes` and the program's memory. Returns a status. */
uint16_t nvme_transfer(struct nvme_model *nvme, const struct nvme_command *command, void *bytes, size_t size,
                       bool to_memory);

/* nvme_hostile.c: what a script does with a command and with its completion. */
extern const struct script_names nvme_names;
const struct script_rule *nvme_command_event(struct nvme_model *nvme, uint16_t sq,
                                             const struct nvme_command *command);
void nvme_complete_wrongly(struct nvme_model *nvme, const struct script_rule *rule, uint16_t cq,
                           struct nvme_completion entry);
/* Posts the late ones whose time has come, or all. Returns whether any was. */
bool nvme_post_late(struct nvme_model *nvme, bool all);

/* nvme_events.c */

/* Something has happened: it is told when somebody asks, if it was wanted. */
void nvme_happens(struct nvme_model *nvme, enum nvme_event event);
/* A doorbell was written wrongly: also an entry of the error log. */
void nvme_doorbell_error(struct nvme_model *nvme, enum nvme_event event);
/* What the namespace says of itself, or whether it is there, is no longer as it was. */
void nvme_namespace_changed(struct nvme_model *nvme, uint32_t nsid);
/* Its temperature, or what bounds it: whether they agree, and if not, that this has happened. */
bool nvme_is_out_of_bounds(const struct nvme_model *nvme);
void nvme_check_temperature(struct nvme_model *nvme);
/* Tells what can be told now. Returns whether anything was. */
bool nvme_tell(struct nvme_model *nvme);
/* The page tells of all events of its type: they are over. */
void nvme_log_is_read(struct nvme_model *nvme, uint8_t log);
uint16_t nvme_request_event(struct nvme_model *nvme, const struct nvme_command *command);
uint16_t nvme_abort(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result);

/* log2 of the block size of a format; 0: there is no such format. */
unsigned nvme_format_shift(unsigned index);
/* nvme_namespaces.c: what a namespace says of itself, its formatting, its coming and going. */
void nvme_describe(const struct nvme_namespace *ns, struct nvme_identify_namespace *id);
uint64_t nvme_unallocated(const struct nvme_model *nvme); /* bytes */
uint16_t nvme_manage(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result);
uint16_t nvme_attach(struct nvme_model *nvme, const struct nvme_command *command);
uint16_t nvme_format(struct nvme_model *nvme, const struct nvme_command *command);
/* Does what a script has another controller do to a namespace, if that is due. */
void nvme_change_namespaces(struct nvme_model *nvme);

/* nvme_zero.c */

/* Makes zeroes of bytes of the namespace, at once. */
uint16_t nvme_zero(struct nvme_model *nvme, struct nvme_namespace *ns, uint64_t offset, uint64_t size);
/* The same for an I/O command, of as many extents as are at the beginning of the slot's buffer, in pieces. */
uint16_t nvme_zero_later(struct nvme_model *nvme, struct nvme_slot *slot, struct nvme_namespace *ns,
                         unsigned extents);
/* The store is done with a piece: begins the next one, or returns a status. */
uint16_t nvme_zero_finish(struct nvme_slot *slot);
/* Does one piece of those that are in memory, or all. Returns whether there was one. */
bool nvme_run_jobs(struct nvme_model *nvme, bool all);
void nvme_drop_jobs(struct nvme_model *nvme);

/* nvme_zones.c */

/* Makes zones of its blocks. -EINVAL: it has not a whole zone; -ENOMEM. */
int nvme_make_zones(struct nvme_namespace *ns);
/* Whether these blocks can be read or written where they are; a write moves the pointer of its zone. */
uint16_t nvme_zone_read(const struct nvme_namespace *ns, uint64_t lba, uint64_t count);
uint16_t nvme_zone_write(struct nvme_namespace *ns, uint64_t lba, uint64_t count);
/* The same for blocks that go where the zone's pointer is: *lba is the zone's, and then theirs. */
uint16_t nvme_zone_append(struct nvme_namespace *ns, uint64_t *lba, uint64_t count);
uint16_t nvme_zone_send(struct nvme_model *nvme, const struct nvme_command *command);
uint16_t nvme_zone_receive(struct nvme_model *nvme, const struct nvme_command *command);
/* What the zoned command set says of a namespace, and of the controller. */
void nvme_zone_describe(const struct nvme_namespace *ns, struct nvme_identify_zoned *id);

/* What a feature is after a reset. */
uint32_t nvme_feature_default(unsigned id);

/* Each executes one command, and returns its status. */
uint16_t nvme_admin(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result);
uint16_t nvme_io(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command, uint64_t *result);
/* A store is done with a command, or with a piece of it (NVME_LATER). */
uint16_t nvme_io_finish(struct nvme_model *nvme, struct nvme_slot *slot);
void nvme_slot_free(struct nvme_model *nvme, struct nvme_slot *slot);

#endif
