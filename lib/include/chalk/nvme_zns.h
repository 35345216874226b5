/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zoned namespaces (Zoned Namespace Command Set Specification 1.1c).
 *
 * A zoned namespace is read as any other, through a queue that was opened on it; each of its zones is written
 * from its start to its capacity, in order: by writes at its write pointer, or by appends, which the
 * controller places. The calls here wait; what they do may also be submitted to the queue, as a struct
 * chalk_nvme_request with a command of <chalk/nvme_command.h>. A call that ran out of time (-ETIMEDOUT) may
 * leave its command under way, and its memory with the controller, until the queue is closed; while it does,
 * the next one ends with -EAGAIN.
 */
#ifndef CHALK_NVME_ZNS_H
#define CHALK_NVME_ZNS_H

#include <chalk/nvme.h>
#include <chalk/nvme_command.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a zoned namespace is, and how much of it may be in use at once. */
struct chalk_nvme_zoned {
    uint64_t zone_size; /* blocks from one zone's start to the next one's */
    uint64_t zone_count;
    uint32_t max_open, max_active; /* zones; UINT32_MAX: no limit */
    uint32_t max_append;           /* bytes in one append */
};

/* Errors: -ENOTSUP (it is not zoned, or the controller knows no zones), -ENOENT, -EPROTO, as any admin
 * command. */
int chalk_nvme_identify_zoned(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_zoned *zoned);

enum chalk_nvme_zone_state { /* [ZNS 3.4.2.2.3] */
                             CHALK_NVME_ZONE_IS_EMPTY = 0x1,
                             CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN = 0x2,
                             CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN = 0x3,
                             CHALK_NVME_ZONE_IS_CLOSED = 0x4,
                             CHALK_NVME_ZONE_IS_READ_ONLY = 0xd,
                             CHALK_NVME_ZONE_IS_FULL = 0xe,
                             CHALK_NVME_ZONE_IS_OFFLINE = 0xf,
};

struct chalk_nvme_zone {
    uint64_t start, capacity; /* blocks */
    uint64_t
        write_pointer; /* the next block to write; the capacity's end where there is none to be written */
    uint8_t state;     /* enum chalk_nvme_zone_state */
};

/*
 * Zones from the one that holds block `lba` on. `count`: how many there is room for, then how many were
 * found: fewer only if there are no more. `buffer` is shared memory for the controller to write to, at least
 * 128 bytes; the more there is, the fewer commands it takes. Until the deadline; after -ETIMEDOUT the buffer
 * is the controller's until the queue is closed. Errors: -EPROTO (the report makes no sense), or the
 * request's own.
 */
int chalk_nvme_report_zones(struct chalk_block_queue *queue, const struct chalk_nvme_zoned *zoned,
                            uint64_t lba, const struct chalk_dma *buffer, struct chalk_nvme_zone *zones,
                            unsigned *count, uint64_t deadline);

/* Opens, closes, finishes, resets or takes off line the zone that starts at `lba`, or all of them. */
int chalk_nvme_do_zone(struct chalk_block_queue *queue, uint64_t lba, enum chalk_nvme_zone_action action,
                       bool all, uint64_t deadline);

/*
 * Writes `count` blocks behind what the zone that starts at `zone` holds; `lba` is where they went. After
 * -ETIMEDOUT the segments, and their array, have to stay as they are until the queue is closed.
 * Errors: -EPROTO (the controller names a place that is not in that zone), -ENOTSUP (blocks have metadata:
 * submit a struct chalk_nvme_request, which says where it is), or the request's own.
 */
int chalk_nvme_append(struct chalk_block_queue *queue, const struct chalk_nvme_zoned *zoned, uint64_t zone,
                      uint32_t count, const struct chalk_dma *segments, unsigned segment_count, uint64_t *lba,
                      uint64_t deadline);

/* The name of a state of zones; never NULL. */
const char *chalk_nvme_zone_state_name(uint8_t state);

#ifdef __cplusplus
}
#endif
#endif
