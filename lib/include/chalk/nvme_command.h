/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NVMe commands as values, for what <chalk/nvme.h> and <chalk/block.h> have no call of their own.
 *
 * A function here fills one in from its parameters, and does nothing else: no device is touched, and nothing
 * is looked up. Parameters are in the caller's units (counts from 1, sizes in bytes), and become the
 * controller's here. What does not fit into its field is a mistake of the caller's, and asserted. Admin
 * commands are run by chalk_nvme_run() of <chalk/nvme_admin.h>; I/O commands go through a queue.
 *
 * Sources, by section: [Base] NVM Express Base Specification 2.0c, [NVM] NVM Command Set Specification 1.0c,
 * [ZNS] Zoned Namespace Command Set Specification 1.1c.
 */
#ifndef CHALK_NVME_COMMAND_H
#define CHALK_NVME_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A submission queue entry [Base 3.3.3.1] without what the driver adds: the command identifier, and where the
 * data is. Bits 1:0 of the opcode tell which way data goes: 1 to the controller, 2 from it.
 */
struct chalk_nvme_command {
    uint8_t opcode;
    uint32_t nsid;
    uint32_t cdw2, cdw3;
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
    uint64_t timeout_ns; /* how long it may take; 0: as long as others */
};

#define CHALK_NVME_TO_CONTROLLER   1
#define CHALK_NVME_FROM_CONTROLLER 2

#define CHALK_NVME_ALL UINT32_MAX /* as a namespace identifier: every one [Base 3.2.1.2] */

/* Which I/O command set a command or structure belongs to [Base 3.1.3.5, "CSI"]. */
enum chalk_nvme_command_set { CHALK_NVME_CSI_NVM = 0, CHALK_NVME_CSI_KV = 1, CHALK_NVME_CSI_ZONED = 2 };

/* ---- identify [Base 5.17] -------------------------------------------------------------------------- */

#define CHALK_NVME_IDENTIFY_SIZE 4096

enum chalk_nvme_cns {
    CHALK_NVME_CNS_NAMESPACE = 0x00,
    CHALK_NVME_CNS_CONTROLLER = 0x01,
    CHALK_NVME_CNS_ACTIVE = 0x02,        /* identifiers above nsid */
    CHALK_NVME_CNS_DESCRIPTORS = 0x03,   /* EUI-64, NGUID, UUID, command set of a namespace */
    CHALK_NVME_CNS_SETS = 0x04,          /* NVM sets */
    CHALK_NVME_CNS_CSI_NAMESPACE = 0x05, /* what its command set says of it */
    CHALK_NVME_CNS_CSI_CONTROLLER = 0x06,
    CHALK_NVME_CNS_CSI_ACTIVE = 0x07,
    CHALK_NVME_CNS_ANY_NAMESPACE = 0x08, /* what is the same in all command sets */
    CHALK_NVME_CNS_ALLOCATED = 0x10,     /* identifiers above nsid, attached or not */
    CHALK_NVME_CNS_ALLOCATED_NAMESPACE = 0x11,
    CHALK_NVME_CNS_ATTACHED = 0x12,    /* controllers of a namespace */
    CHALK_NVME_CNS_CONTROLLERS = 0x13, /* of the subsystem */
    CHALK_NVME_CNS_PRIMARY = 0x14,     /* what a controller has for its virtual functions */
    CHALK_NVME_CNS_SECONDARY = 0x15,   /* its virtual functions */
    CHALK_NVME_CNS_UUIDS = 0x17,
    CHALK_NVME_CNS_COMMAND_SETS = 0x1c, /* combinations that it supports */
};

/* `controller` is a controller's identifier, where the CNS has a use for one; the answer is 4096 bytes. */
struct chalk_nvme_command chalk_nvme_encode_identify(enum chalk_nvme_cns cns, uint32_t nsid,
                                                     uint16_t controller, enum chalk_nvme_command_set csi);

/* ---- features [Base 5.15, 5.27] -------------------------------------------------------------------- */

enum chalk_nvme_feature {
    CHALK_NVME_FEATURE_ARBITRATION = 0x01,
    CHALK_NVME_FEATURE_POWER = 0x02,
    CHALK_NVME_FEATURE_LBA_RANGES = 0x03, /* 4096 bytes of data [NVM 4.1.3.1] */
    CHALK_NVME_FEATURE_TEMPERATURE = 0x04,
    CHALK_NVME_FEATURE_ERROR_RECOVERY = 0x05,
    CHALK_NVME_FEATURE_WRITE_CACHE = 0x06,
    CHALK_NVME_FEATURE_QUEUES = 0x07, /* the driver sets it */
    CHALK_NVME_FEATURE_COALESCING = 0x08,
    CHALK_NVME_FEATURE_VECTOR = 0x09,
    CHALK_NVME_FEATURE_ATOMICITY = 0x0a,
    CHALK_NVME_FEATURE_EVENTS = 0x0b,
    CHALK_NVME_FEATURE_POWER_TRANSITION = 0x0c, /* 256 bytes of data */
    CHALK_NVME_FEATURE_HOST_MEMORY = 0x0d,
    CHALK_NVME_FEATURE_TIMESTAMP = 0x0e, /* 8 bytes of data */
    CHALK_NVME_FEATURE_KEEP_ALIVE = 0x0f,
    CHALK_NVME_FEATURE_THERMAL = 0x10,
    CHALK_NVME_FEATURE_IDLE_POWER = 0x11,
    CHALK_NVME_FEATURE_HOST_BEHAVIOUR = 0x16, /* 512 bytes of data */
    CHALK_NVME_FEATURE_COMMAND_SETS = 0x19,
    CHALK_NVME_FEATURE_WRITE_PROTECTION = 0x84,
};

enum chalk_nvme_feature_select {
    CHALK_NVME_FEATURE_CURRENT,
    CHALK_NVME_FEATURE_DEFAULT,
    CHALK_NVME_FEATURE_SAVED,
    CHALK_NVME_FEATURE_SUPPORTED, /* the result says what can be done with it: CHALK_NVME_FEATURE_CAN_... */
};

#define CHALK_NVME_FEATURE_CAN_SAVE     0x1u
#define CHALK_NVME_FEATURE_OF_NAMESPACE 0x2u
#define CHALK_NVME_FEATURE_CAN_CHANGE   0x4u

/* The value is the answer's result; some have data, too. `dword11` is 0 but for a few features. */
struct chalk_nvme_command chalk_nvme_encode_get_feature(uint8_t feature,
                                                        enum chalk_nvme_feature_select select, uint32_t nsid,
                                                        uint32_t dword11);

/* `save`: it shall outlive resets and power. */
struct chalk_nvme_command chalk_nvme_encode_set_feature(uint8_t feature, bool save, uint32_t nsid,
                                                        uint32_t value);

/* ---- log pages [Base 5.16] ------------------------------------------------------------------------- */

enum chalk_nvme_log {
    CHALK_NVME_LOG_SUPPORTED = 0x00,
    CHALK_NVME_LOG_ERRORS = 0x01,
    CHALK_NVME_LOG_HEALTH = 0x02,
    CHALK_NVME_LOG_FIRMWARE = 0x03,
    CHALK_NVME_LOG_CHANGED = 0x04,
    CHALK_NVME_LOG_EFFECTS = 0x05,
    CHALK_NVME_LOG_SELF_TEST = 0x06,
    CHALK_NVME_LOG_SANITIZE = 0x81,
    CHALK_NVME_LOG_CHANGED_ZONES = 0xbf,
};

struct chalk_nvme_log_page {
    uint8_t log;      /* enum chalk_nvme_log, or another */
    uint8_t specific; /* LSP, 7 bits */
    uint16_t subject; /* LSI: an endurance group, a set ... */
    uint32_t nsid;    /* CHALK_NVME_ALL or 0: the controller's */
    uint64_t offset;  /* bytes, a multiple of 4 */
    uint32_t size;    /* bytes, a multiple of 4, not 0 */
    bool keep_event;  /* RAE: what reported the log asynchronously stays reported */
    enum chalk_nvme_command_set csi;
};
struct chalk_nvme_command chalk_nvme_encode_get_log(const struct chalk_nvme_log_page *page);

/* ---- namespaces: format, management, attachment [Base 5.14, 5.22, 5.23] ---------------------------- */

enum chalk_nvme_erase { CHALK_NVME_ERASE_NONE, CHALK_NVME_ERASE_DATA, CHALK_NVME_ERASE_KEY };

struct chalk_nvme_format {
    uint8_t format;              /* index among the namespace's, 0 to 63 */
    enum chalk_nvme_erase erase; /* what happens to the old data */
    uint8_t protection;          /* 0: none, or the type, 1 to 3 */
    bool protection_first;       /* in the first bytes of the metadata, not the last */
    bool extended;               /* metadata goes with each block, not into a buffer of its own */
};
/* nsid CHALK_NVME_ALL: every namespace. May take minutes: its time limit is an hour. */
struct chalk_nvme_command chalk_nvme_encode_format(uint32_t nsid, const struct chalk_nvme_format *format);

/* Data of 4096 bytes to the controller: the namespace that is wanted [NVM 4.1.6]. Result: its identifier. */
struct chalk_nvme_command chalk_nvme_encode_create_namespace(enum chalk_nvme_command_set csi);
struct chalk_nvme_command chalk_nvme_encode_delete_namespace(uint32_t nsid);

/* Data of 4096 bytes to the controller: a list of controllers [Base 4.4.1]. */
struct chalk_nvme_command chalk_nvme_encode_attach_namespace(uint32_t nsid, bool attach);

/* The data of the two above, 4096 bytes. False: more controllers than a list has room for, 2047. */
struct chalk_nvme_new_namespace {
    uint64_t size, capacity; /* blocks */
    uint8_t format;          /* index among the controller's, 0 to 63 */
    uint8_t protection;      /* 0: none, or the type, 1 to 3 */
    bool shared;             /* several controllers may be attached to it */
};
void chalk_nvme_encode_new_namespace(const struct chalk_nvme_new_namespace *ns, void *data);
bool chalk_nvme_encode_controller_list(const uint16_t *controllers, unsigned count, void *data);

/* ---- firmware [Base 5.12, 5.13] -------------------------------------------------------------------- */

/* A piece of the image, which is the data: both in bytes, multiples of 4. */
struct chalk_nvme_command chalk_nvme_encode_firmware_download(uint32_t offset, uint32_t size);

enum chalk_nvme_firmware_action {
    CHALK_NVME_FIRMWARE_REPLACE,          /* into the slot, not activated */
    CHALK_NVME_FIRMWARE_REPLACE_ACTIVATE, /* into the slot, activated by the next reset */
    CHALK_NVME_FIRMWARE_ACTIVATE,         /* what is in the slot, by the next reset */
    CHALK_NVME_FIRMWARE_ACTIVATE_NOW,     /* what is in the slot, without a reset */
};
/* slot 1 to 7, or 0: the controller chooses. */
struct chalk_nvme_command chalk_nvme_encode_firmware_commit(uint8_t slot,
                                                            enum chalk_nvme_firmware_action action);

/* ---- self-test, sanitize, security [Base 5.8, 5.24 to 5.26] ---------------------------------------- */

enum chalk_nvme_self_test {
    CHALK_NVME_SELF_TEST_SHORT = 0x1,
    CHALK_NVME_SELF_TEST_EXTENDED = 0x2,
    CHALK_NVME_SELF_TEST_ABORT = 0xf,
};
/* Starts it; the self-test log tells how it goes. nsid 0: the controller alone. */
struct chalk_nvme_command chalk_nvme_encode_self_test(uint32_t nsid, enum chalk_nvme_self_test test);

enum chalk_nvme_sanitize_action {
    CHALK_NVME_SANITIZE_EXIT_FAILURE = 1,
    CHALK_NVME_SANITIZE_BLOCK_ERASE = 2,
    CHALK_NVME_SANITIZE_OVERWRITE = 3,
    CHALK_NVME_SANITIZE_CRYPTO_ERASE = 4,
};
struct chalk_nvme_sanitize {
    enum chalk_nvme_sanitize_action action;
    bool unrestricted;  /* AUSE: after a failure, blocks can still be used */
    uint8_t passes;     /* of an overwrite, 1 to 16 */
    bool invert;        /* the pattern, between passes */
    bool no_deallocate; /* blocks stay allocated afterwards */
    uint32_t pattern;   /* of an overwrite */
};
/* Starts it; the sanitize log tells how it goes. */
struct chalk_nvme_command chalk_nvme_encode_sanitize(const struct chalk_nvme_sanitize *sanitize);

/* Data of `size` bytes, in the words of a security protocol (SPC-5). */
struct chalk_nvme_security {
    uint32_t nsid;
    uint8_t protocol;  /* SECP */
    uint16_t specific; /* SPSP */
    uint8_t nssf;      /* NVMe security specific field: protocol EAh only */
    uint32_t size;     /* bytes */
};
struct chalk_nvme_command chalk_nvme_encode_security_send(const struct chalk_nvme_security *security);
struct chalk_nvme_command chalk_nvme_encode_security_receive(const struct chalk_nvme_security *security);

/* ---- virtual functions [Base 5.28] ----------------------------------------------------------------- */

enum chalk_nvme_resource { CHALK_NVME_QUEUE_RESOURCES, CHALK_NVME_INTERRUPT_RESOURCES };
enum chalk_nvme_virtual_action {
    CHALK_NVME_PRIMARY_ALLOCATE = 0x1, /* from the next reset on */
    CHALK_NVME_SECONDARY_OFFLINE = 0x7,
    CHALK_NVME_SECONDARY_ASSIGN = 0x8,
    CHALK_NVME_SECONDARY_ONLINE = 0x9,
};
/* Gives `controller` that many flexible resources, or puts it on or off line. Result: how many it now has. */
struct chalk_nvme_command chalk_nvme_encode_virtualize(uint16_t controller,
                                                       enum chalk_nvme_virtual_action action,
                                                       enum chalk_nvme_resource resource, uint16_t count);

/* ---- I/O commands [NVM 3.2] ------------------------------------------------------------------------ */

/* Reading these blocks fails from then on, until they are written. At most 65536. */
struct chalk_nvme_command chalk_nvme_encode_write_uncorrectable(uint32_t nsid, uint64_t lba, uint32_t count);

/* Dataset management [NVM 3.2.3]: at most 256 ranges, which are the data. */
struct chalk_nvme_range {
    uint32_t attributes; /* hints about how it will be used */
    uint32_t count;      /* blocks */
    uint64_t lba;
};

#define CHALK_NVME_RANGES 256

#define CHALK_NVME_DSM_READ       0x1u /* an integral dataset for reading */
#define CHALK_NVME_DSM_WRITE      0x2u /* for writing */
#define CHALK_NVME_DSM_DEALLOCATE 0x4u
struct chalk_nvme_command chalk_nvme_encode_dataset(uint32_t nsid, unsigned ranges, uint32_t attributes);

/* Copy [NVM 3.2.2]: at most 256 ranges, which are the data, one after the other to `lba` and behind. */
struct chalk_nvme_source {
    uint64_t reserved0;
    uint64_t lba;
    uint16_t count_less_one; /* blocks */
    uint8_t reserved18[6];
    uint32_t reference_tag;
    uint16_t application_tag, application_mask;
};
struct chalk_nvme_command chalk_nvme_encode_copy(uint32_t nsid, uint64_t lba, unsigned ranges);

/* ---- zones [ZNS 3.4] ------------------------------------------------------------------------------- */

enum chalk_nvme_zone_action {
    CHALK_NVME_ZONE_CLOSE = 0x01,
    CHALK_NVME_ZONE_FINISH = 0x02,
    CHALK_NVME_ZONE_OPEN = 0x03,
    CHALK_NVME_ZONE_RESET = 0x04,
    CHALK_NVME_ZONE_OFFLINE = 0x05,
};
/* Of the zone that begins at `lba`, or of all zones that are in a state that allows it. */
struct chalk_nvme_command chalk_nvme_encode_zone_action(uint32_t nsid, uint64_t lba,
                                                        enum chalk_nvme_zone_action action, bool all);

/* Data of `size` bytes from the controller: zones from the one of `lba` on; filter 0: of all states. */
struct chalk_nvme_command chalk_nvme_encode_zone_report(uint32_t nsid, uint64_t lba, uint8_t filter,
                                                        uint32_t size);

/* Writes behind what the zone that begins at `zone` holds. Result: the LBA, in both dwords. */
struct chalk_nvme_command chalk_nvme_encode_zone_append(uint32_t nsid, uint64_t zone, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif
