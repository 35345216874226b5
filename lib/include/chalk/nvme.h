/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NVMe driver (NVM Express Base Specification 2.0c, NVM Command Set 1.0c, PCIe Transport 1.0c).
 *
 * Open a device, share memory with its domain, open the controller, open a queue on a namespace: what comes
 * out is a struct chalk_block_queue, and the rest is <chalk/block.h>. Close in the reverse order. One core at
 * a time opens and closes a controller's queues and asks it for namespaces; each queue belongs to the core
 * that it was opened for, and so does what becomes of it when the controller is in trouble: see docs/nvme.md.
 */
#ifndef CHALK_NVME_H
#define CHALK_NVME_H

#include <chalk/attach.h>
#include <chalk/block.h>
#include <chalk/memory.h>
#include <chalk/nvme_command.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_nvme; /* a controller, in memory of its chalk_memory */

struct chalk_nvme_options {
    struct chalk_memory *memory; /* for queues and state; already shared with the domain */
    struct chalk_domain *domain; /* the device's */
    unsigned core;               /* to which admin interrupts go */
    /* While an admin command is under way, `core` sleeps until the controller interrupts. Then no other core
     * may call the functions that run admin commands. false: the caller polls, on any core. */
    bool interrupts;
    uint64_t timeout_ns; /* for an admin command; 0: 5 s */
    /* Keep doorbells in memory as well, if the controller can (it is a program then), and write their
     * registers seldom. That pays where a register costs an exit of a virtual machine; where processors are
     * emulated it costs more than it saves: a read from QEMU took 24 us instead of 17. */
    bool shadow_doorbells;
    /* Keep submission queues in the controller's own memory, if it has some for that (CMB): the controller
     * need not fetch commands. Where its memory is emulated each store to it is an exit. */
    bool controller_memory;
    /* Put interrupts of I/O off until so many completions of a vector are there (2 to 256; 0: do not), or so
     * many microseconds have passed (up to 25500, in steps of 100). A message says if the controller has no
     * such thing. */
    unsigned coalesce, coalesce_us;
    const char *name; /* the device's, for messages; NULL: its PCI identifiers */
};

/*
 * Resets and enables the controller, and identifies it. Owns `device` until chalk_nvme_close(). One that
 * grants no I/O queues is opened, too, so that its logs can be read: chalk_nvme_queue_open() then says why.
 * Errors: -ENODEV (not an NVMe controller, or gone), -ETIMEDOUT (not ready within CAP.TO or CRTO; the message
 * has the status register), -EINVAL (there is no such core), -EBUSY (its controller is
 * open already), -ENOTSUP (page size or command set), -ENOMEM,
 * -EFAULT (`memory` was not shared with `domain`), -ERANGE (its doorbells are beyond its BAR), -EIO, -EPROTO
 * (it contradicts itself).
 */
int chalk_nvme_open(struct chalk_device *device, const struct chalk_nvme_options *options,
                    struct chalk_nvme **nvme);

/*
 * Shuts the controller down (CC.SHN, waiting for CSTS.SHST), disables it and turns DMA off. Queues are closed
 * first. Never fails: a controller that does not answer is reset. The device stays the caller's to close.
 */
void chalk_nvme_close(struct chalk_nvme *nvme);

/*
 * Resets the controller under whatever it is doing; any core may, at any time, a callback too. Reads in
 * flight, and writes that may be repeated, are submitted again by the queues, each at its owner's next poll;
 * requests whose outcome the reset makes unknown end with -EIO; a queue's owner has nothing else to do. Admin
 * commands under way end with -EIO. The driver does the same of its own accord to a controller that does not
 * answer: see docs/nvme.md. Takes as long as the controller does, at most a few times CAP.TO. The controller
 * is identified again, so that struct chalk_nvme_info says what is true of it now; a queue whose namespace
 * has another shape, or for which the controller is too small now, ends with -EIO, and a message says why.
 * Errors: the controller has failed, now or before: -EIO, -ENODEV (gone), -EPROTO, -ETIMEDOUT.
 */
int chalk_nvme_reset(struct chalk_nvme *nvme);

/* What its own memory may be used for (Base 2.0c 3.1.3.12). */
#define CHALK_NVME_CMB_SUBMISSIONS (1u << 0)
#define CHALK_NVME_CMB_COMPLETIONS (1u << 1)
#define CHALK_NVME_CMB_LISTS       (1u << 2)
#define CHALK_NVME_CMB_READS       (1u << 3)
#define CHALK_NVME_CMB_WRITES      (1u << 4)

/* What the controller says of itself (Base 2.0c Figure 275). Strings are trimmed, printable and terminated.
 */
struct chalk_nvme_info {
    uint16_t vendor, subsystem_vendor;
    char serial[21], model[41], firmware[9];
    uint32_t version; /* the VS register: 0x010400 is 1.4.0 */
    uint16_t controller_id;
    uint32_t namespace_count; /* NN: the highest namespace identifier */
    uint32_t max_transfer;    /* bytes, from MDTS and from this driver's lists */
    uint32_t page_size;       /* bytes, CC.MPS */
    uint16_t max_queue_entries;
    /* That it grants: so many can be open, of at most 63 that are asked for. 0: it refused to give any, and
     * only admin commands can be run. */
    uint16_t queues;
    uint16_t vectors;           /* interrupt vectors, the admin queue's included; 0 without */
    uint32_t doorbell_stride;   /* bytes */
    uint32_t firmware_piece;    /* bytes: a download's pieces begin and end at multiples of it; 0: any */
    uint16_t optional_commands; /* ONCS */
    bool formats_all;           /* FNA: to format one namespace formats all there are */
    bool erases_all;            /* and so does to erase one, as a part of that */
    uint16_t event_requests;    /* asynchronous ones, at once: AERL */
    uint32_t notices;           /* OAES, LPA: of CHALK_NVME_WATCH_..., those that it can give */
    bool shadow_doorbells;      /* in use */
    uint8_t sgl_align;          /* bytes, of pieces in a scatter gather list; 0: it knows pages (PRP) only */
    bool volatile_cache;
    bool coalesces; /* interrupts, as it was asked to */
    struct {
        uint64_t size; /* bytes; 0: none */
        uint32_t used; /* bytes: for submission queues that are open */
        uint8_t uses;  /* CHALK_NVME_CMB_... */
    } controller_memory;
    bool persistent_memory; /* it has a region of it (PMR), of which this driver makes no use */
};
/*
 * The pointer is valid until chalk_nvme_close(). The driver writes what it points to when it opens and closes
 * queues and in a reset (perhaps to other firmware), which any core can begin. Another core may read a single
 * number at any time: it is the old one or the new one. Strings, and several members that belong together,
 * may be mixed during a reset: copy them before other cores use the controller, or read until two copies
 * agree.
 */
const struct chalk_nvme_info *chalk_nvme_get_info(const struct chalk_nvme *nvme);

struct chalk_nvme_namespace {
    uint32_t nsid;
    uint64_t size, capacity, used; /* blocks: NSZE, NCAP, NUSE */
    uint32_t block_size;           /* bytes, of the format in use */
    uint16_t metadata_size;        /* bytes a block */
    bool interleaved;              /* it follows each block's data, and is not apart */
    uint8_t protection;            /* type of the protection information in it: 0 (none) to 3 */
    bool protection_first;         /* that is its first bytes, not its last */
    uint8_t nguid[16], eui64[8];   /* identifiers that no other namespace has; all zero: none */
    uint8_t format;                /* index of the LBA format in use */
    uint8_t format_count;
    struct {
        uint32_t block_size;
        uint16_t metadata_size;
    } formats[64];
};

/*
 * The first active namespace whose identifier is greater than `after` (0 for the first). One that cannot be
 * identified is logged and left out. A controller of NVMe 1.0, one that refuses the list of active
 * namespaces, and one whose list makes no sense are asked for each number, at most 1024 in a call. Errors:
 * -ENOENT (no more), or why the controller does not answer: -EIO (it was reset meanwhile, or has failed),
 * -ETIMEDOUT, -EPROTO, -ENODEV.
 */
int chalk_nvme_next_namespace(struct chalk_nvme *nvme, uint32_t after, struct chalk_nvme_namespace *ns);

/*
 * Who makes and checks protection information of type 1 (NVM Command Set 1.0c 5.2): guard (a CRC of the
 * data, and of the metadata before it), reference tag (the block's number), application tag (`tag` of each
 * request). -EILSEQ: it does not match.
 */
enum chalk_nvme_protection {
    CHALK_NVME_PROTECT_NOT,        /* nobody: metadata, if there is any, is the caller's */
    CHALK_NVME_PROTECT_CONTROLLER, /* when it writes to and reads from the medium; no metadata is moved */
    CHALK_NVME_PROTECT_DRIVER,     /* this driver, in the metadata that the caller has room for; and the
                                    * controller checks it, both ways */
};

/* How the owner of a queue learns that there is something to poll for. */
enum chalk_nvme_interrupts {
    CHALK_NVME_POLLED,     /* it looks */
    CHALK_NVME_INTERRUPTS, /* it is interrupted, always */
    CHALK_NVME_ADAPTIVE,   /* it looks while requests end in quick succession, and is interrupted otherwise */
};

struct chalk_nvme_queue_options {
    uint32_t nsid;
    unsigned depth; /* requests in flight, at most 4095; 0: 128; lowered to what the controller has */
    unsigned core;  /* that owns the queue, and to which its interrupts go */
    /* A queue has a vector of its own, or else shares one with others of its core; where neither is to be had
     * it is polled. At any moment `may_wait` of struct chalk_block_queue tells. */
    enum chalk_nvme_interrupts interrupts;
    uint64_t patience_ns; /* adaptive: polls find nothing for so long before the owner may wait; 0: 1 ms */
    bool prompt;          /* its interrupts are not put off, though the controller coalesces others */
    enum chalk_nvme_protection protection;
    bool pages_only; /* data is described by pages (PRP), though the controller knows SGLs */
    /* How long a request may take; 0: 30 s. Polls look at the clock, so the owner has to poll: if it does so
     * at least 64 times in this time, a late request is noticed at most a few 64ths after it. */
    uint64_t timeout_ns;
};

/*
 * Opens a submission and completion queue pair for one namespace.
 * Errors: -ENOENT (no such namespace), -EINVAL (it has no blocks, metadata among its data, or not the
 * protection information that was asked for; or there is no such core, or no such value of an enum), -ENOSPC
 * (all queues that the controller grants are open), -ENOTSUP (interrupts, of a device without MSI-X),
 * -ENOMEM, -EIO (also: it grants no I/O queues), -ETIMEDOUT, -EPROTO (it neither makes a queue nor forgets
 * it). Another core may reset the controller meanwhile: that is waited for.
 */
int chalk_nvme_queue_open(struct chalk_nvme *nvme, const struct chalk_nvme_queue_options *options,
                          struct chalk_block_queue **queue);

/* Deletes the pair; requests still in flight are called back with -ECANCELED when the device has let go of
 * them. */
void chalk_nvme_queue_close(struct chalk_block_queue *queue);

/* A disk with a queue, all zero while it is closed. */
struct chalk_nvme_disk {
    struct chalk_attachment at; /* memory for requests comes from at.memory */
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
};

/*
 * All of the above in one call, for a program that needs one disk: attaches the controller `name`, or the
 * first on the bus if that is NULL, opens it and opens a queue. `queue` may be NULL; nsid 0 takes the first
 * active namespace. On failure nothing stays open and `disk` is all zero. Errors, which have been logged:
 * -ENOENT (no controller on the bus, or no such namespace), those of chalk_attach(), chalk_nvme_open() and
 * chalk_nvme_queue_open().
 */
int chalk_nvme_attach(const char *name, const struct chalk_nvme_queue_options *queue,
                      struct chalk_nvme_disk *disk);

/* Closes all of it. Does nothing if nothing is open. */
void chalk_nvme_detach(struct chalk_nvme_disk *disk);

/*
 * Any I/O command, through a queue of the driver: `block.op` is CHALK_BLOCK_DRIVER, and block.segments say
 * where its data is, of any size up to max_transfer; none, and it has none. block.metadata says where its
 * metadata is, at a multiple of 4, whatever the queue's info.metadata_size; NULL: it has none. The command
 * goes to the controller as it is, for whatever namespace it names: no block number in it is checked here,
 * nor that there is as much metadata as it moves. Its time limit is the queue's. Before the callback `result`
 * and `status` are filled in.
 */
struct chalk_nvme_request {
    struct chalk_block_request block;
    struct chalk_nvme_command command;
    uint64_t result; /* dwords 0 and 1 of the completion; 0: it did not succeed */
    uint16_t
        status; /* the completion's status field, see chalk_nvme_status_name(); 0: success, or no answer */
};

/* The name of a status field (Base 2.0c 3.3.3.2.1: bits 31:17 of completion dword 3, whose low 11 are
 * SCT << 8 | SC). Never NULL. */
const char *chalk_nvme_status_name(uint16_t status);

#ifdef __cplusplus
}
#endif
#endif
