/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What commands beyond plain I/O are called, and what they carry: log pages, lists, zones. As in registers.h,
 * fields stand in the order of the specification, and what this driver has no use for is reserved bytes.
 *
 * Sources as there, and [ZNS] Zoned Namespace Command Set Specification 1.1c.
 */
#ifndef NVME_STRUCTURES_H
#define NVME_STRUCTURES_H

#include "registers.h"

enum {                                   /* admin [Base 5] */
       NVME_GET_LOG_PAGE = 0x02,         /* [Base 5.16] */
       NVME_GET_FEATURES = 0x0a,         /* [Base 5.15] */
       NVME_NAMESPACE_MANAGEMENT = 0x0d, /* [Base 5.23] */
       NVME_FIRMWARE_COMMIT = 0x10,      /* [Base 5.12] */
       NVME_FIRMWARE_DOWNLOAD = 0x11,    /* [Base 5.13] */
       NVME_SELF_TEST = 0x14,            /* [Base 5.8] */
       NVME_NAMESPACE_ATTACHMENT = 0x15, /* [Base 5.22] */
       NVME_VIRTUALIZATION = 0x1c,       /* [Base 5.28] */
       NVME_CAPACITY_MANAGEMENT = 0x20,  /* [Base 5.3] */
       NVME_FORMAT = 0x80,               /* [Base 5.14] */
       NVME_SECURITY_SEND = 0x81,        /* [Base 5.26] */
       NVME_SECURITY_RECEIVE = 0x82,     /* [Base 5.25] */
       NVME_SANITIZE = 0x84,             /* [Base 5.24] */
};

enum {                                  /* I/O [NVM 3, ZNS 3] */
       NVME_WRITE_UNCORRECTABLE = 0x04, /* [NVM 3.2.7] */
       NVME_DATASET_MANAGEMENT = 0x09,  /* [NVM 3.2.3] */
       NVME_COPY = 0x19,                /* [NVM 3.2.2] */
       NVME_ZONE_SEND = 0x79,           /* [ZNS 3.4.3] */
       NVME_ZONE_RECEIVE = 0x7a,        /* [ZNS 3.4.2] */
       NVME_ZONE_APPEND = 0x7d,         /* [ZNS 3.4.1] */
};

#define NVME_MANAGEMENT_DELETE 0x1 /* dword 10, 3:0, of Namespace Management [Base 5.23] */
#define NVME_ATTACHMENT_DETACH 0x1 /* dword 10, 3:0, of Namespace Attachment [Base 5.22] */

#define NVME_ZONE_REPORT 0x00 /* dword 13, 7:0, of Zone Management Receive [ZNS 3.4.2] */

/* Identify namespace: what is only written, in Namespace Management [NVM 4.1.6] */
#define NVME_NAMESPACE_DPS  29 /* protection type, 2:0 */
#define NVME_NAMESPACE_NMIC 30 /* bit 0: may be shared */

/* ---- lists ----------------------------------------------------------------------------------------- */

#define NVME_NAMESPACES_LISTED  1024 /* of 32 bits, ascending, 0 behind the last [Base 4.4.2] */
#define NVME_CONTROLLERS_LISTED 2047 /* of 16 bits, ascending, behind their number [Base 4.4.1] */

struct nvme_controller_list {
    uint16_t count;
    uint16_t ids[NVME_CONTROLLERS_LISTED];
};
_Static_assert(sizeof(struct nvme_controller_list) == 4096, "Base 4.4.1");

/* Namespace identification descriptor, 03h [Base 5.17.2.3]; `length` bytes follow, then the next one. */
struct nvme_descriptor {
    uint8_t type; /* 0: no more */
    uint8_t length;
    uint8_t reserved2[2];
};
_Static_assert(sizeof(struct nvme_descriptor) == 4, "Base 5.17.2.3");

enum {
    NVME_DESCRIPTOR_EUI64 = 1,
    NVME_DESCRIPTOR_NGUID = 2,
    NVME_DESCRIPTOR_UUID = 3,
    NVME_DESCRIPTOR_CSI = 4
};

/* Secondary controllers, 15h [Base 5.17.2.15] */
struct nvme_secondary {
    uint16_t scid, pcid; /* its identifier, and its primary controller's */
    uint8_t state;       /* bit 0: on line */
    uint8_t reserved5[3];
    uint16_t vfn; /* virtual function number */
    uint16_t nvq, nvi;
    uint8_t reserved14[18];
};
_Static_assert(sizeof(struct nvme_secondary) == 32, "Base 5.17.2.15");

#define NVME_SECONDARIES_LISTED 127

struct nvme_secondary_list {
    uint8_t count;
    uint8_t reserved1[31];
    struct nvme_secondary entries[NVME_SECONDARIES_LISTED];
};
_Static_assert(sizeof(struct nvme_secondary_list) == 4096, "Base 5.17.2.15");

/* I/O command set combinations, 1Ch: 512 of them, a bit a command set [Base 5.17.2.18] */
#define NVME_COMBINATIONS    512
#define NVME_THIS_CONTROLLER 0xffff /* as a controller identifier in dword 10 */

/* ---- log pages [Base 5.16.1] ----------------------------------------------------------------------- */

/* Error information, 01h: an entry [Base 5.16.1.2] */
struct nvme_error_entry {
    uint64_t count; /* since the controller was made; 0: no entry */
    uint16_t sqid, cid;
    uint16_t status; /* 15:1 */
    uint16_t location;
    uint64_t lba;
    uint32_t nsid;
    uint8_t vs, trtype;
    uint8_t reserved30[2];
    uint64_t command_specific;
    uint8_t reserved40[24];
};
_Static_assert(sizeof(struct nvme_error_entry) == 64, "Base 5.16.1.2");
_Static_assert(offsetof(struct nvme_error_entry, lba) == 16, "Base 5.16.1.2");
_Static_assert(offsetof(struct nvme_error_entry, command_specific) == 32, "Base 5.16.1.2");

/* SMART / health, 02h [Base 5.16.1.3] */
struct nvme_health {
    uint8_t critical_warning;
    uint8_t temperature[2]; /* kelvin */
    uint8_t spare, spare_threshold, used, group_warning;
    uint8_t reserved7[25];
    uint64_t units_read[2],
        units_written[2]; /* of 1000 blocks of 512 bytes; 128 bits, as all up to `errors` */
    uint64_t reads[2], writes[2];
    uint64_t busy[2]; /* minutes */
    uint64_t power_cycles[2], power_hours[2], unsafe_shutdowns[2], media_errors[2], errors[2];
    uint32_t warning_minutes, critical_minutes;
    uint16_t sensors[8]; /* kelvin; 0: there is none */
    uint8_t reserved216[296];
};
_Static_assert(sizeof(struct nvme_health) == 512, "Base 5.16.1.3");
_Static_assert(offsetof(struct nvme_health, units_read) == 32, "Base 5.16.1.3");
_Static_assert(offsetof(struct nvme_health, errors) == 176, "Base 5.16.1.3");
_Static_assert(offsetof(struct nvme_health, sensors) == 200, "Base 5.16.1.3");

/* Firmware slots, 03h [Base 5.16.1.4] */
struct nvme_firmware_slots {
    uint8_t afi; /* the active one 2:0, that after the next reset 6:4 (0: not said) */
    uint8_t reserved1[7];
    char revisions[7][8];
    uint8_t reserved64[448];
};
_Static_assert(sizeof(struct nvme_firmware_slots) == 512, "Base 5.16.1.4");

#define NVME_CHANGED_MANY                                                                                    \
    UINT32_MAX /* first entry of 04h: more than the list has room for [Base 5.16.1.5]                        \
                */

/* Commands supported and effects, 05h [Base 5.16.1.6] */
struct nvme_effects {
    uint32_t admin[256], io[256];
    uint8_t reserved2048[2048];
};
_Static_assert(sizeof(struct nvme_effects) == 4096, "Base 5.16.1.6");

/* Device self-test, 06h [Base 5.16.1.7] */
struct nvme_self_test_result {
    uint8_t status; /* result 3:0 (Fh: no entry), which test 7:4 */
    uint8_t segment;
    uint8_t valid; /* which of the following are: nsid 0, lba 1, sct 2, sc 3 */
    uint8_t reserved3;
    uint8_t power_hours[8];
    uint32_t nsid;
    uint8_t lba[8];
    uint8_t sct, sc;
    uint8_t vendor[2];
};
_Static_assert(sizeof(struct nvme_self_test_result) == 28, "Base 5.16.1.7");
_Static_assert(offsetof(struct nvme_self_test_result, lba) == 16, "Base 5.16.1.7");

#define NVME_SELF_TESTS 20

struct nvme_self_test_log {
    uint8_t operation; /* 3:0, 0: none is under way */
    uint8_t progress;  /* 6:0, percent */
    uint8_t reserved2[2];
    struct nvme_self_test_result results[NVME_SELF_TESTS]; /* the newest first */
};
_Static_assert(sizeof(struct nvme_self_test_log) == 564, "Base 5.16.1.7");

/* Sanitize status, 81h [Base 5.16.1.25] */
struct nvme_sanitize_log {
    uint16_t progress; /* of 65536 */
    uint16_t status;   /* 2:0, overwrite passes completed 7:3, nothing written since 8 */
    uint32_t cdw10;    /* of the command that started it */
    uint32_t overwrite_seconds, block_erase_seconds, crypto_erase_seconds; /* UINT32_MAX: not reported */
    uint8_t reserved20[492];
};
_Static_assert(sizeof(struct nvme_sanitize_log) == 512, "Base 5.16.1.25");

/* ---- zones [ZNS] ----------------------------------------------------------------------------------- */

/* Identify namespace of the zoned command set, 05h [ZNS 4.1.5.1] */
struct nvme_identify_zoned {
    uint16_t zoc, ozcs;
    uint32_t mar, mor; /* active and open resources less one; UINT32_MAX: no limit */
    uint8_t reserved12[2804];
    struct {
        uint64_t zsze; /* blocks a zone */
        uint8_t zdes;  /* zone descriptor extension, in 64 bytes */
        uint8_t reserved9[7];
    } lbafe[NVME_FORMATS];
    uint8_t reserved3840[256];
};
_Static_assert(sizeof(struct nvme_identify_zoned) == 4096, "ZNS 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_zoned, lbafe) == 2816, "ZNS 4.1.5.1");

/* Identify controller of the zoned command set, 06h [ZNS 4.1.5.2]: byte 0 */
#define NVME_ZASL 0 /* largest zone append: smallest page << it; 0: as any transfer */

/* Report zones [ZNS 3.4.2.2.1] */
struct nvme_zone_report {
    uint64_t count; /* that match, from where the report began */
    uint8_t reserved8[56];
};
_Static_assert(sizeof(struct nvme_zone_report) == 64, "ZNS 3.4.2.2.1");

struct nvme_zone {
    uint8_t type;  /* 3:0 */
    uint8_t state; /* 7:4 */
    uint8_t attributes, information;
    uint8_t reserved4[4];
    uint64_t capacity, start, write_pointer; /* blocks */
    uint8_t reserved32[32];
};
_Static_assert(sizeof(struct nvme_zone) == 64, "ZNS 3.4.2.2.3");
_Static_assert(offsetof(struct nvme_zone, write_pointer) == 24, "ZNS 3.4.2.2.3");

#define NVME_ZONE_SEQUENTIAL 2

#endif
