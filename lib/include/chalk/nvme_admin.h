/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NVMe administration: any admin command, and what controllers and namespaces tell of themselves, parsed.
 *
 * A command is a value (<chalk/nvme_command.h>); chalk_nvme_run() runs it to its end. Only one core at a time
 * may be in a function that takes the controller and no queue, the ones here included: they share the
 * controller's page for data. A program with several such cores needs a lock of its own. chalk_nvme_reset()
 * is the exception: any core may call it at any time, and what queues do of their own accord needs no lock
 * either. These functions wait, and they allocate no memory but for data of more than a page. Whatever the
 * controller answers is checked before it is handed on: a count is within its array, a list ascends, a text
 * is printable.
 *
 * Errors of every call here, beside its own: -ETIMEDOUT, -EPROTO, -ENODEV, -EIO (the controller has failed);
 * and what a status other than success means: -ENOTSUP (no such command), -EINVAL, -ENOENT (namespace), ...
 */
#ifndef CHALK_NVME_ADMIN_H
#define CHALK_NVME_ADMIN_H

#include <chalk/nvme.h>
#include <chalk/nvme_command.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_nvme_answer {
    uint32_t result; /* dword 0 of the completion */
    uint16_t status; /* for chalk_nvme_status_name(); 0: success, or no answer at all */
};

/*
 * Runs an admin command. `data`, of any alignment, is copied to the controller before, from it afterwards, or
 * not at all, as the opcode says; `size` is in bytes, 0 for none. `answer` may be NULL. Errors: -EINVAL,
 * logged (data of a command that has none, no multiple of 4, or more than the largest transfer; `data` is
 * NULL and `size` is not 0; or a command that is the driver's, which would not know: it makes or deletes a
 * queue, requests an event, or configures doorbell buffers), -ENOMEM (for data of more than a page: give the
 * controller's chalk_memory more that is shared), -EBUSY with answer->status 0 (it is Format, Sanitize, the
 * deletion or detachment of a namespace, Capacity Management or a choice of command sets, and a queue of this
 * controller is open for a namespace that it would change: the queue would send and receive blocks of another
 * size, beyond the ends of its requests' memory. Close the queue first).
 */
int chalk_nvme_run(struct chalk_nvme *nvme, const struct chalk_nvme_command *command, void *data, size_t size,
                   struct chalk_nvme_answer *answer);

/* The same with data in shared memory, which is not copied: segments as of a block request. */
int chalk_nvme_run_segments(struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                            const struct chalk_dma *segments, unsigned count,
                            struct chalk_nvme_answer *answer);

/* ---- features -------------------------------------------------------------------------------------- */

int chalk_nvme_get_feature(struct chalk_nvme *nvme, uint8_t feature, enum chalk_nvme_feature_select select,
                           uint32_t nsid, uint32_t *value);
int chalk_nvme_set_feature(struct chalk_nvme *nvme, uint8_t feature, bool save, uint32_t nsid,
                           uint32_t value);

/* Values of the common ones [Base 5.27.1]. Read a value's fields from it; make a value from its fields. */

#define CHALK_NVME_WRITE_CACHE_ON 0x1u

/* Interrupt coalescing: until `entries` completions (1 to 256) are there, or `time` in 100 us has passed. */
#define CHALK_NVME_COALESCING(entries, time) ((uint32_t)(time) << 8 | ((uint32_t)(entries)-1))
#define CHALK_NVME_COALESCING_ENTRIES(value) (((value)&0xff) + 1)
#define CHALK_NVME_COALESCING_TIME(value)    ((value) >> 8 & 0xff)

/* Interrupt vector: whether it is left out of that. */
#define CHALK_NVME_VECTOR(vector, immediate) ((uint32_t)(immediate) << 16 | (vector))

/* Temperature threshold, in kelvin: of a sensor (0: the composite), over or under. */
#define CHALK_NVME_TEMPERATURE(kelvin, sensor, under)                                                        \
    ((uint32_t)(under) << 20 | (uint32_t)(sensor) << 16 | (kelvin))

/* Arbitration: commands taken from a queue in one go, as a power of two (7: no limit). */
#define CHALK_NVME_ARBITRATION_BURST(value) ((value)&0x7)

/* ---- log pages ------------------------------------------------------------------------------------- */

/*
 * Reads any log page, in pieces of a page of memory; all but the last keep what has reported the log.
 * `data` has room for page->size bytes. Errors: -ENOTSUP (an offset, or more than a page of memory, of a
 * controller whose log pages have no offsets: LPA bit 2).
 */
int chalk_nvme_read_log(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page, void *data);

struct chalk_nvme_error {
    uint64_t number; /* they are counted over the controller's life */
    uint16_t queue, command, status;
    uint16_t location; /* of the wrong parameter in the command; UINT16_MAX: none */
    uint64_t lba;
    uint32_t nsid;
};
/* The newest first. `count`: how many there is room for, then how many there are; at most 64 are read. */
int chalk_nvme_read_errors(struct chalk_nvme *nvme, struct chalk_nvme_error *errors, unsigned *count);

/* Counts of more than 64 bits become UINT64_MAX. */
struct chalk_nvme_health {
    uint8_t critical_warning;             /* CHALK_NVME_WARNS_... */
    uint16_t temperature;                 /* kelvin */
    uint8_t spare, spare_threshold, used; /* percent; `used` may be more than 100 */
    uint64_t units_read, units_written;   /* of 512 000 bytes */
    uint64_t reads, writes;
    uint64_t busy_minutes;
    uint64_t power_cycles, power_hours, unsafe_shutdowns, media_errors, errors;
    uint32_t warning_minutes, critical_minutes; /* too hot */
    uint16_t sensors[8];                        /* kelvin; 0: there is none */
};
#define CHALK_NVME_WARNS_SPARE       0x01
#define CHALK_NVME_WARNS_TEMPERATURE 0x02
#define CHALK_NVME_WARNS_RELIABILITY 0x04
#define CHALK_NVME_WARNS_READ_ONLY   0x08
#define CHALK_NVME_WARNS_BACKUP      0x10
#define CHALK_NVME_WARNS_PMR         0x20
int chalk_nvme_read_health(struct chalk_nvme *nvme, struct chalk_nvme_health *health);

struct chalk_nvme_firmware {
    uint8_t active, next; /* slot, 1 to 7; next 0: the same */
    char revisions[7][9]; /* of slots 1 to 7; empty: nothing is in it */
};
int chalk_nvme_read_firmware(struct chalk_nvme *nvme, struct chalk_nvme_firmware *firmware);

/* Namespaces that have changed since this was read last. UINT_MAX in *count: too many to be listed. */
int chalk_nvme_read_changed(struct chalk_nvme *nvme, uint32_t nsids[1024], unsigned *count);

struct chalk_nvme_effects {
    uint32_t admin[256], io[256]; /* by opcode: CHALK_NVME_EFFECT_... */
};
#define CHALK_NVME_EFFECT_SUPPORTED  0x01u
#define CHALK_NVME_EFFECT_BLOCKS     0x02u /* changes the contents of blocks */
#define CHALK_NVME_EFFECT_NAMESPACE  0x04u /* changes what a namespace can do */
#define CHALK_NVME_EFFECT_INVENTORY  0x08u /* changes which namespaces there are */
#define CHALK_NVME_EFFECT_CONTROLLER 0x10u /* changes what the controller can do */
#define CHALK_NVME_EFFECT_ALONE(value)                                                                       \
    ((value) >> 16 & 7) /* 1: in its namespace, 2: on all, no other runs                                     \
                         */
int chalk_nvme_read_effects(struct chalk_nvme *nvme, enum chalk_nvme_command_set csi,
                            struct chalk_nvme_effects *effects);

struct chalk_nvme_self_tests {
    uint8_t running;  /* enum chalk_nvme_self_test; 0: none */
    uint8_t progress; /* percent, of that */
    unsigned count;
    struct {
        uint8_t test, result; /* result 0: passed [Base 5.16.1.7] */
        uint8_t segment;
        uint64_t power_hours;
        uint32_t nsid; /* 0: not told, as the others */
        uint64_t lba;
        uint16_t status;
    } results[20]; /* the newest first */
};
int chalk_nvme_read_self_tests(struct chalk_nvme *nvme, struct chalk_nvme_self_tests *tests);

struct chalk_nvme_sanitize_status {
    uint16_t progress; /* of 65536 */
    uint8_t state;  /* 0: never sanitized, 1: done, 2: under way, 3: failed, 4: done, but not deallocated */
    uint8_t passes; /* of an overwrite, done */
    bool erased;    /* nothing was written since */
    uint32_t overwrite_seconds, block_erase_seconds, crypto_erase_seconds; /* UINT32_MAX: not told */
};
int chalk_nvme_read_sanitize(struct chalk_nvme *nvme, struct chalk_nvme_sanitize_status *status);

/* ---- asynchronous events [Base 5.2] ---------------------------------------------------------------- */

/* Which events are wanted: CHALK_NVME_WARNS_..., and these, where the controller has them (info.notices).
 * Errors cannot be left out. */
#define CHALK_NVME_WATCH_NAMESPACES (1u << 8)  /* which there are, or what one is, has changed */
#define CHALK_NVME_WATCH_FIRMWARE   (1u << 9)  /* new firmware is about to be started */
#define CHALK_NVME_WATCH_TELEMETRY  (1u << 10) /* the controller has gathered some */
#define CHALK_NVME_WATCH_ACCESS     (1u << 11) /* asymmetric namespace access */
#define CHALK_NVME_WATCH_LATENCY    (1u << 12) /* predictable latency */
#define CHALK_NVME_WATCH_BLOCKS     (1u << 13) /* LBA status */
#define CHALK_NVME_WATCH_ENDURANCE  (1u << 14) /* endurance groups */
#define CHALK_NVME_WATCH_ZONES      (1u << 27) /* a zone's descriptor has changed */
#define CHALK_NVME_WATCH_ALL        UINT32_MAX

enum chalk_nvme_event_type {
    CHALK_NVME_EVENT_ERROR = 0,
    CHALK_NVME_EVENT_HEALTH = 1,
    CHALK_NVME_EVENT_NOTICE = 2,
    CHALK_NVME_EVENT_IMMEDIATE = 3,   /* without a log page */
    CHALK_NVME_EVENT_COMMAND_SET = 6, /* reservations, sanitize */
    CHALK_NVME_EVENT_VENDOR = 7,
};

/* What has happened, and the log page that says more, as it was when it was read. */
struct chalk_nvme_event {
    uint8_t type;   /* enum chalk_nvme_event_type, or one that is reserved */
    uint8_t what;   /* within that: see chalk_nvme_event_name() */
    uint8_t log;    /* enum chalk_nvme_log, or another; 0: there is none */
    uint32_t about; /* what it is about, where that is told: a namespace, of zones */
    int error;      /* 0; or why the log page could not be read, of which nothing is here then */
    unsigned count; /* CHALK_NVME_LOG_ERRORS, CHANGED (UINT_MAX: too many to be listed): how many */
    union {         /* by `log` */
        struct chalk_nvme_error errors[16]; /* the newest first */
        struct chalk_nvme_health health;
        struct chalk_nvme_firmware firmware;
        uint32_t changed[1024]; /* namespaces */
        struct chalk_nvme_sanitize_status sanitize;
        uint8_t bytes[512]; /* of any other, as it is */
    };
};

/*
 * Has the controller report events, from now on, over all of its resets; what it does not have is left out of
 * `events`. Another call changes which. Whatever is reported is kept for chalk_nvme_next_event(), without
 * which the controller will not report much. Errors, beside those of all calls here: -ENOMEM (a page of
 * shared memory).
 */
int chalk_nvme_watch(struct chalk_nvme *nvme, uint32_t events);

/*
 * The next event, if there is one: 0. Never waits, and so takes a few calls for each, between which the log
 * page is read: that takes the event from the controller, which tells none of its type meanwhile. What a
 * reset finds untold is lost. Errors: -EAGAIN (none now), -ENOTSUP (it takes no requests for events),
 * or why the controller has failed.
 */
int chalk_nvme_next_event(struct chalk_nvme *nvme, struct chalk_nvme_event *event);

/*
 * The same for a task, which waits; others run meanwhile. The loop may sleep: if the controller has no
 * interrupts, for a millisecond at a time. Errors: -ETIMEDOUT, as above.
 */
struct chalk_task;
int chalk_nvme_await_event(struct chalk_task *self, struct chalk_nvme *nvme, struct chalk_nvme_event *event,
                           uint64_t deadline);

/* What it is called; never NULL. */
const char *chalk_nvme_event_name(const struct chalk_nvme_event *event);

/* ---- namespaces and controllers -------------------------------------------------------------------- */

/* Ascending identifiers above `after`: of active namespaces, or also of those that are not attached. */
int chalk_nvme_list_namespaces(struct chalk_nvme *nvme, bool allocated, uint32_t after, uint32_t nsids[1024],
                               unsigned *count);

/* Ascending identifiers from `from` on: the subsystem's (nsid 0), or those that a namespace is attached to.
 */
int chalk_nvme_list_controllers(struct chalk_nvme *nvme, uint32_t nsid, uint16_t from, uint16_t ids[2047],
                                unsigned *count);

/* How a namespace is known everywhere. What is all zeros it does not have. */
struct chalk_nvme_identifiers {
    uint8_t eui64[8], nguid[16], uuid[16];
    uint8_t csi; /* enum chalk_nvme_command_set */
};
int chalk_nvme_get_identifiers(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_identifiers *ids);

/* A controller's virtual functions. */
struct chalk_nvme_secondary {
    uint16_t controller;
    uint16_t function; /* virtual function number; 0: not there yet */
    bool online;
    uint16_t queues, interrupts; /* flexible resources that it has */
};
int chalk_nvme_list_secondaries(struct chalk_nvme *nvme, struct chalk_nvme_secondary entries[127],
                                unsigned *count);

/* Creates a namespace, deletes one (CHALK_NVME_ALL: all), attaches or detaches controllers. Deletion, and
 * detachment from this controller, end with -EBUSY while a queue of the namespace is open. */
int chalk_nvme_create_namespace(struct chalk_nvme *nvme, const struct chalk_nvme_new_namespace *ns,
                                uint32_t *nsid);
int chalk_nvme_delete_namespace(struct chalk_nvme *nvme, uint32_t nsid);
int chalk_nvme_attach_namespace(struct chalk_nvme *nvme, uint32_t nsid, bool attach,
                                const uint16_t *controllers, unsigned count);

/* Sends a firmware image, a page at a time, or as much as the controller wants at once. */
int chalk_nvme_download_firmware(struct chalk_nvme *nvme, const void *image, uint32_t size);

#ifdef __cplusplus
}
#endif
#endif
