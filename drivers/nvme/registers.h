/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an NVMe controller looks like from outside: its registers, commands, completions and identify
 * structures.
 *
 * Sources, by section: [Base] NVM Express Base Specification 2.0c, [NVM] NVM Command Set Specification 1.0c,
 * [PCIe] NVMe over PCIe Transport Specification 1.0c. Everything is little endian, and so is every machine
 * that Chalk runs on. Fields stand in the order of the specification; what this driver has no use for is kept
 * as reserved bytes, so that each offset can be checked against the document.
 */
#ifndef NVME_REGISTERS_H
#define NVME_REGISTERS_H

#include <stddef.h>
#include <stdint.h>

/* ---- controller properties, in BAR 0 [Base 3.1.3] -------------------------------------------------- */

#define NVME_CAP   0x00 /* RO, 64 bits [Base 3.1.3.1] */
#define NVME_VS    0x08 /* RO: major 31:16, minor 15:8, tertiary 7:0 [Base 3.1.3.2] */
#define NVME_INTMS 0x0c /* RW1S: pin interrupts that are masked [Base 3.1.3.3] */
#define NVME_CC    0x14 /* RW [Base 3.1.3.5] */
#define NVME_CSTS  0x1c /* RO [Base 3.1.3.6] */
#define NVME_AQA   0x24 /* RW [Base 3.1.3.8] */
#define NVME_ASQ   0x28 /* RW, 64 bits: the address of the admin submission queue [Base 3.1.3.9] */
#define NVME_ACQ   0x30 /* RW, 64 bits: the address of the admin completion queue [Base 3.1.3.10] */
#define NVME_CRTO  0x68 /* RO: to become ready with its media, 15:0, in 500 ms [Base 3.1.3.21] */

/* Of the controller memory buffer */
#define NVME_CMBLOC 0x38 /* RO [Base 3.1.3.11] */
#define NVME_CMBSZ  0x3c /* RO [Base 3.1.3.12] */
#define NVME_CMBMSC 0x50 /* RW, 64 bits [Base 3.1.3.16] */
#define NVME_CMBSTS 0x58 /* RO [Base 3.1.3.17] */

#define NVME_REGISTERS_SIZE 0x1000 /* the doorbells follow [PCIe 3.1.2] */

/* CAP, controller capabilities [Base 3.1.3.1] */
#define NVME_CAP_MQES(cap) ((uint32_t)((cap)&0xffff))       /* 15:0, entries of an I/O queue less one */
#define NVME_CAP_TO(cap)   ((uint32_t)((cap) >> 24 & 0xff)) /* 31:24, to become ready or not, in 500 ms */
#define NVME_CAP_DSTRD(cap)                                                                                  \
    ((uint32_t)((cap) >> 32 & 0xf))       /* 35:32, doorbells are 4 << DSTRD bytes apart                     \
                                           */
#define NVME_CAP_CSS_NVM     (1ull << 37) /* 37, the NVM command set */
#define NVME_CAP_CSS_ALL     (1ull << 43) /* 43, I/O command sets that can be chosen */
#define NVME_CAP_PMRS        (1ull << 56) /* 56, a persistent memory region */
#define NVME_CAP_CMBS        (1ull << 57) /* 57, a controller memory buffer, by CMBMSC */
#define NVME_CAP_CRWMS       (1ull << 59) /* 59, it has CRTO, for what TO is too small for */
#define NVME_CAP_MPSMIN(cap) ((uint32_t)((cap) >> 48 & 0xf)) /* 51:48, smallest page: 4096 << MPSMIN */

/* CC, controller configuration [Base 3.1.3.5] */
#define NVME_CC_EN         (1u << 0)
#define NVME_CC_CSS_NVM    (0u << 4)                     /* 6:4, the NVM command set */
#define NVME_CC_CSS_ALL    (6u << 4)                     /* all that it supports, in a combination */
#define NVME_CC_MPS(shift) ((uint32_t)((shift)-12) << 7) /* 10:7, pages of 1 << shift bytes */
#define NVME_CC_AMS_RR     (0u << 11)                    /* 13:11, round robin */
#define NVME_CC_SHN_MASK   (3u << 14)                    /* 15:14, shutdown notification */
#define NVME_CC_SHN_NORMAL (1u << 14)
#define NVME_CC_IOSQES     (6u << 16) /* 19:16, commands of 1 << 6 bytes */
#define NVME_CC_IOCQES     (4u << 20) /* 23:20, completions of 1 << 4 bytes */

/* CSTS, controller status [Base 3.1.3.6] */
#define NVME_CSTS_RDY       (1u << 0)
#define NVME_CSTS_CFS       (1u << 1) /* fatal status: only a reset helps */
#define NVME_CSTS_SHST_MASK (3u << 2) /* 3:2, shutdown status */
#define NVME_CSTS_SHST_DONE (2u << 2)
#define NVME_GONE           UINT32_MAX /* what an unplugged device reads as (PCI Express 5.0, 2.3.2) */

/* The controller memory buffer: in which BAR and where in it, in units of SZU [Base 3.1.3.11]; how much, of
 * what unit, 4096 << 4 * SZU bytes, and for what [Base 3.1.3.12] */
#define NVME_CMBLOC_BIR(location)  ((location)&7u)
#define NVME_CMBLOC_OFST(location) ((location) >> 12)
#define NVME_CMBSZ_USES(size)      ((size)&0x1fu)
#define NVME_CMBSZ_SZU(size)       ((size) >> 8 & 0xfu)
#define NVME_CMBSZ_SZ(size)        ((size) >> 12)
#define NVME_CMBMSC_CRE            (1u << 0) /* CMBLOC and CMBSZ are valid; the controller's address is 63:12 */
#define NVME_CMBMSC_CMSE           (1u << 1) /* that address is in force */
#define NVME_CMBSTS_CBAI           (1u << 0) /* it is none that the controller takes */

/* AQA, admin queue attributes: entries less one of both [Base 3.1.3.8] */
#define NVME_AQA_SIZES(entries) (((uint32_t)(entries)-1) << 16 | ((uint32_t)(entries)-1))

/* Doorbells of queue `id`: 32 bits, never to be read [PCIe 3.1.2.1, 3.1.2.2] */
#define NVME_DOORBELL(id, stride) (NVME_REGISTERS_SIZE + 2 * (size_t)(id) * (stride))

/* ---- commands [Base 3.3.3.1] ----------------------------------------------------------------------- */

/* A piece of memory of any size, or of descriptors [Base 4.1.2] */
struct nvme_sgl {
    uint64_t address;
    uint32_t length; /* bytes; of a list too */
    uint8_t reserved[3];
    uint8_t type; /* 7:4 */
};
_Static_assert(sizeof(struct nvme_sgl) == 16, "Base 4.1.2: a descriptor is 16 bytes");

#define NVME_SGL_DATA 0x00 /* data block */
#define NVME_SGL_LAST 0x30 /* last segment: where the descriptors are, and there are no more */

#define NVME_DATA_SGL (1u << 14) /* of dword 0: the data is in an SGL, metadata contiguous */

struct nvme_command {
    union {
        struct {
            uint32_t cdw0; /* opcode 7:0, fused 9:8, PRP or SGL 15:14 (0: PRP), command identifier 31:16 */
            uint32_t nsid;
        };
        uint64_t head;
    };
    uint32_t cdw2, cdw3;
    uint64_t mptr; /* metadata */
    union {
        struct {
            uint64_t prp1, prp2; /* where the data is [Base 4.1.1] */
        };
        struct nvme_sgl sgl; /* the same, with NVME_DATA_SGL [Base 4.1.2] */
    };
    union {
        struct {
            uint32_t cdw10, cdw11;
        };
        uint64_t slba; /* of a read or write: the first block [NVM 3.2.4, 3.2.6] */
    };
    uint32_t cdw12; /* of a read or write: blocks less one, 15:0 */
    uint32_t cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_command) == 64, "Base 3.3.3.1: a command is 64 bytes");
_Static_assert(offsetof(struct nvme_command, mptr) == 16, "Base 3.3.3.1");
_Static_assert(offsetof(struct nvme_command, prp1) == 24, "Base 3.3.3.1");
_Static_assert(offsetof(struct nvme_command, slba) == 40, "Base 3.3.3.1");
_Static_assert(offsetof(struct nvme_command, cdw15) == 60, "Base 3.3.3.1");

enum nvme_admin_opcode {                              /* [Base 5] */
                         NVME_DELETE_SQ = 0x00,       /* [Base 5.7] */
                         NVME_CREATE_SQ = 0x01,       /* [Base 5.5] */
                         NVME_DELETE_CQ = 0x04,       /* [Base 5.6] */
                         NVME_CREATE_CQ = 0x05,       /* [Base 5.4] */
                         NVME_IDENTIFY = 0x06,        /* [Base 5.17] */
                         NVME_ABORT = 0x08,           /* [Base 5.1] */
                         NVME_SET_FEATURES = 0x09,    /* [Base 5.27] */
                         NVME_EVENT_REQUEST = 0x0c,   /* [Base 5.2] */
                         NVME_DOORBELL_BUFFER = 0x7c, /* [Base 5.8] */
};

enum nvme_io_opcode {                           /* [NVM 3] */
                      NVME_FLUSH = 0x00,        /* [Base 7.1] */
                      NVME_WRITE = 0x01,        /* [NVM 3.2.6] */
                      NVME_READ = 0x02,         /* [NVM 3.2.4] */
                      NVME_COMPARE = 0x05,      /* [NVM 3.2.1] */
                      NVME_WRITE_ZEROES = 0x08, /* [NVM 3.2.8] */
                      NVME_DATASET = 0x09,      /* [NVM 3.2.3] */
                      NVME_VERIFY = 0x0c,       /* [NVM 3.2.5] */
};

/* Dword 12 of those with blocks: less one 15:0, and what follows */
#define NVME_BLOCKS            0x10000u   /* at most, in one command */
#define NVME_PROTECT_CHECK     (5u << 26) /* guard and reference tag; that of the block is in dword 14 */
#define NVME_PROTECT_CHECK_TAG (1u << 27) /* application tag; dword 15 has it 15:0, and which bits 31:16 */
#define NVME_PROTECT_ACT       (1u << 29) /* the controller makes it, and keeps it for itself */
#define NVME_FORCE_UNIT        (1u << 30)

/* Dataset management: dword 10 has the ranges less one, dword 11 what they are [NVM 3.2.3] */
#define NVME_DATASET_DEALLOCATE (1u << 2)

struct nvme_range {
    uint32_t attributes;
    uint32_t blocks;
    uint64_t slba;
};
_Static_assert(sizeof(struct nvme_range) == 16, "NVM 3.2.3: a range is 16 bytes");

/* Create I/O queue: dword 10 has the identifier 15:0 and the size less one 31:16 [Base 5.4, 5.5] */
#define NVME_QUEUE(id, entries) ((uint32_t)((entries)-1) << 16 | (uint32_t)(id))
#define NVME_QUEUE_CONTIGUOUS   (1u << 0)                  /* dword 11, both kinds */
#define NVME_CQ_INTERRUPTS      (1u << 1)                  /* dword 11 of a completion queue */
#define NVME_CQ_VECTOR(vector)  ((uint32_t)(vector) << 16) /* [PCIe 3.2] */
#define NVME_SQ_CQ(id)          ((uint32_t)(id) << 16)     /* dword 11 of a submission queue */

/* Set Features, number of queues: asked for in dword 11, granted in dword 0 of the completion, each less one;
 * submission queues 15:0, completion queues 31:16 [Base 5.27.1.5] */
#define NVME_FEATURE_QUEUES       0x07
#define NVME_FEATURE_COMMAND_SETS 0x19 /* dword 11 is the number of a combination, 8:0 [Base 5.27.1.21] */

/* Host behaviour support: 512 bytes of data, of which byte 0 says that retry delays are understood
 * [Base 5.27.1.18] */
#define NVME_FEATURE_BEHAVIOUR 0x16
#define NVME_BEHAVIOUR_SIZE    512

/* Asynchronous event configuration: dword 11 has a bit for each critical warning of the health log 7:0, and
 * for each notice where OAES has it [Base 5.27.1.8] */
#define NVME_FEATURE_EVENTS     0x0b
#define NVME_EVENTS_WARNINGS    0x1fu /* that every controller has */
#define NVME_EVENTS_WARNING_PMR 0x20u /* from 1.4 on */

/* Dword 0 of the completion of an asynchronous event request [Base 5.2.1] */
#define NVME_EVENT(type, what, log) ((uint32_t)(log) << 16 | (uint32_t)(what) << 8 | (type))
#define NVME_EVENT_TYPE(result)     ((uint8_t)((result)&7))
#define NVME_EVENT_WHAT(result)     ((uint8_t)((result) >> 8))
#define NVME_EVENT_LOG(result)      ((uint8_t)((result) >> 16)) /* the log page that says more; 0: none */

#define NVME_NSID_MAX 0xfffffffeu /* the broadcast value follows [Base 3.2.1.2] */

/* ---- completions [Base 3.3.3.2] -------------------------------------------------------------------- */

struct nvme_completion {
    uint32_t result; /* command specific */
    uint32_t dword1;
    uint32_t origin;  /* submission queue head 15:0, submission queue identifier 31:16 */
    uint32_t outcome; /* command identifier 15:0, phase 16, status 31:17 */
};
_Static_assert(sizeof(struct nvme_completion) == 16, "Base 3.3.3.2: a completion is 16 bytes");
_Static_assert(offsetof(struct nvme_completion, outcome) == 12, "Base 3.3.3.2");

#define NVME_OUTCOME_CID(outcome)    ((uint16_t)(outcome))
#define NVME_PHASE                   (1u << 16) /* of an outcome */
#define NVME_OUTCOME_PHASE(outcome)  ((outcome) >> 16 & 1)
#define NVME_OUTCOME_STATUS(outcome) ((uint16_t)((outcome) >> 17))
#define NVME_OUTCOME_FAILED(outcome) (((outcome) >> 17 & 0x7ff) != 0) /* its status has a code */

/* Status, shifted by the phase bit [Base 3.3.3.2.1] */
#define NVME_STATUS_DNR                 (1u << 14)            /* the same command would fail again */
#define NVME_STATUS_CRD(status)         ((status) >> 11 & 3u) /* which delay to wait before a retry; 0: none */
#define NVME_STATUS_MEDIA_NOT_READY     0x024
#define NVME_STATUS_NAMESPACE_NOT_READY 0x082
#define NVME_STATUS_ACCESS_TRANSITION   0x303
#define NVME_STATUS_CODE(status)        ((status)&0x7ffu) /* type 10:8, code 7:0 */

/* ---- identify controller, 01h [Base 5.17.2.1] ------------------------------------------------------ */

struct nvme_identify_controller {
    uint16_t vid;   /* PCI vendor identifier */
    uint16_t ssvid; /* PCI subsystem vendor identifier */
    char sn[20];    /* serial number, padded with blanks */
    char mn[40];    /* model number */
    char fr[8];     /* firmware revision */
    uint8_t rab;
    uint8_t ieee[3];
    uint8_t cmic;
    uint8_t mdts;    /* largest transfer: smallest page << mdts; 0: no limit */
    uint16_t cntlid; /* controller identifier */
    uint32_t ver;
    uint32_t rtd3r;
    uint32_t rtd3e; /* microseconds that a normal shutdown may take; 0: not reported */
    uint32_t oaes;  /* which notices it can give: NVME_EVENTS_... */
    uint8_t reserved96[15];
    uint8_t cntrltype; /* 0: not reported, 1: I/O controller */
    uint8_t reserved112[16];
    uint16_t crdt[3]; /* command retry delay times 1 to 3, in 100 ms; the first 0: it has none */
    uint8_t reserved134[122];
    uint16_t oacs; /* which admin commands it has besides those that all have */
    uint8_t acl;
    uint8_t aerl; /* asynchronous event requests at once, less one */
    uint8_t frmw;
    uint8_t lpa;  /* which log pages it has, and how they are read */
    uint8_t elpe; /* entries of the error log, less one */
    uint8_t reserved263[17];
    uint64_t tnvmcap[2], unvmcap[2]; /* bytes: of all namespaces, and of that what none of them has */
    uint8_t reserved312[7];
    uint8_t fwug; /* pieces of firmware begin and end at multiples of it, in 4096 bytes; 0: not said */
    uint8_t reserved320[192];
    uint8_t sqes; /* log2 of a command's size: least 3:0, most 7:4 */
    uint8_t cqes; /* of a completion's */
    uint16_t maxcmd;
    uint32_t nn; /* the highest namespace identifier */
    uint16_t oncs;
    uint16_t fuses;
    uint8_t fna; /* of a format: whether it is of all namespaces */
    uint8_t vwc; /* bit 0: a volatile write cache is present */
    uint8_t reserved526[10];
    uint32_t sgls; /* whether it knows scatter gather lists */
    uint8_t reserved540[3556];
};
_Static_assert(sizeof(struct nvme_identify_controller) == 4096, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, mn) == 24, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, mdts) == 77, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, rtd3e) == 88, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, oaes) == 92, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, cntrltype) == 111, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, crdt) == 128, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, aerl) == 259, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, elpe) == 262, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, tnvmcap) == 280, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, fwug) == 319, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, sqes) == 512, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, nn) == 516, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, vwc) == 525, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, oacs) == 256, "Base 5.17.2.1");
_Static_assert(offsetof(struct nvme_identify_controller, sgls) == 536, "Base 5.17.2.1");

#define NVME_FWUG_NONE         0xff /* no restriction */
#define NVME_CNTRLTYPE_UNKNOWN 0
#define NVME_CNTRLTYPE_IO      1
#define NVME_FNA_FORMATS_ALL   0x01
#define NVME_FNA_ERASES_ALL    0x02
#define NVME_VWC_PRESENT       0x01

/* SGLS: for I/O commands; pieces of any alignment, or of 4 bytes */
#define NVME_SGLS(sgls)  ((sgls)&3u)
#define NVME_SGLS_ANY    1u
#define NVME_SGLS_DWORDS 2u

#define NVME_OACS_DOORBELLS (1u << 8) /* Doorbell Buffer Config */

#define NVME_LPA_OFFSETS   (1u << 2) /* log pages are read from an offset on, and more than 16 KiB at once */
#define NVME_LPA_TELEMETRY (1u << 3) /* it has telemetry, and notices of it, which OAES does not say */

/* ONCS: which commands it has besides flush, read and write */
#define NVME_ONCS_COMPARE      (1u << 0)
#define NVME_ONCS_DATASET      (1u << 2)
#define NVME_ONCS_WRITE_ZEROES (1u << 3)
#define NVME_ONCS_VERIFY       (1u << 7)

/* ---- identify controller of the NVM command set, 06h [NVM 4.1.5.2] --------------------------------- */

/* What commands may be about that move no data; 0: no limit. Sizes: smallest page << it. */
struct nvme_identify_limits {
    uint8_t vsl;  /* of a verify */
    uint8_t wzsl; /* of a write of zeroes */
    uint8_t wusl, dmrl;
    uint32_t dmrsl; /* blocks in one range of dataset management */
    uint64_t dmsl;  /* and in all of one command */
    uint8_t reserved16[4080];
};
_Static_assert(sizeof(struct nvme_identify_limits) == 4096, "NVM 4.1.5.2");
_Static_assert(offsetof(struct nvme_identify_limits, dmsl) == 8, "NVM 4.1.5.2");

/* ---- identify namespace, 00h [NVM 4.1.5.1] --------------------------------------------------------- */

#define NVME_FORMATS 64

struct nvme_identify_namespace {
    uint64_t nsze; /* blocks */
    uint64_t ncap;
    uint64_t nuse;
    uint8_t nsfeat;
    uint8_t nlbaf; /* formats less one */
    uint8_t flbas; /* format in use: 3:0, and its upper bits 6:5 where there are more than 16 */
    uint8_t mc;
    uint8_t dpc;
    uint8_t dps; /* protection information: its type 2:0, in the metadata's first bytes 3 */
    uint8_t reserved30[18];
    uint64_t nvmcap[2]; /* bytes that it takes */
    uint8_t reserved64[40];
    uint8_t nguid[16];
    uint8_t eui64[8];
    uint32_t lbaf[NVME_FORMATS]; /* metadata bytes 15:0, log2 of the block size 23:16 */
    uint8_t vendor[3712];
};
_Static_assert(sizeof(struct nvme_identify_namespace) == 4096, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, nlbaf) == 25, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, dps) == 29, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, nvmcap) == 48, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, nguid) == 104, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, eui64) == 120, "NVM 4.1.5.1");
_Static_assert(offsetof(struct nvme_identify_namespace, lbaf) == 128, "NVM 4.1.5.1");

#define NVME_FLBAS_INTERLEAVED (1u << 4) /* metadata follows each block's data */
#define NVME_DPS_TYPE(dps)     ((dps)&7u)
#define NVME_DPS_FIRST         (1u << 3)

#define NVME_LBAF_MS(lbaf)    ((uint16_t)((lbaf)&0xffff))
#define NVME_LBAF_LBADS(lbaf) ((unsigned)((lbaf) >> 16 & 0xff))

#endif
