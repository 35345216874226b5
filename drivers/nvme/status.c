/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the status of a completion means: its name for people, its errno for programs.
 */
#include "nvme.h"

/* Generic, command specific, media and path statuses: [Base 3.3.3.2.1], [NVM 3.1], [ZNS 3.1]. */
static const struct {
    uint16_t code; /* type << 8 | code */
    /* Never ETIMEDOUT or EAGAIN: a status is an answer, so the command was taken, and its memory is the
     * caller's again. */
    uint16_t error;
    const char *name;
} statuses[] = {
    {0x000, 0, "success"},
    {0x001, ENOTSUP, "invalid command opcode"},
    {0x002, EINVAL, "invalid field in command"},
    {0x003, EIO, "command identifier conflict"},
    {0x004, EIO, "data transfer error"},
    {0x005, EIO, "aborted: power loss"},
    {0x006, EIO, "internal error"},
    {0x007, ECANCELED, "aborted on request"},
    {0x008, ECANCELED, "aborted: submission queue deleted"},
    {0x009, EIO, "aborted: the other half of a fused operation failed"},
    {0x00a, EINVAL, "aborted: the other half of a fused operation is missing"},
    {0x00b, ENOENT, "invalid namespace or format"},
    {0x00c, EIO, "command sequence error"},
    {0x00d, EINVAL, "invalid SGL segment descriptor"},
    {0x00e, EINVAL, "invalid number of SGL descriptors"},
    {0x00f, EINVAL, "invalid length of the data SGL"},
    {0x010, EINVAL, "invalid length of the metadata SGL"},
    {0x011, EINVAL, "invalid type of SGL descriptor"},
    {0x012, EINVAL, "invalid use of the controller memory buffer"},
    {0x013, EINVAL, "invalid PRP offset"},
    {0x014, EINVAL, "atomic write unit exceeded"},
    {0x015, EACCES, "operation denied"},
    {0x016, EINVAL, "invalid SGL offset"},
    {0x018, EINVAL, "host identifier of another format"},
    {0x019, EIO, "keep alive timer expired"},
    {0x01a, EINVAL, "invalid keep alive timeout"},
    {0x01b, ECANCELED, "aborted by another host's preemption"},
    {0x01c, EIO, "sanitize failed"},
    {0x01d, EBUSY, "sanitize in progress"},
    {0x01e, EINVAL, "invalid granularity of an SGL data block"},
    {0x01f, ENOTSUP, "not supported for a queue in the controller memory buffer"},
    {0x020, EROFS, "namespace is write protected"},
    {0x021, EBUSY, "command interrupted"},
    {0x022, EIO, "transient transport error"},
    {0x023, EACCES, "prohibited by lockdown"},
    {0x024, EBUSY, "media not ready for an admin command"},
    {0x080, ERANGE, "LBA out of range"},
    {0x081, ENOSPC, "capacity exceeded"},
    {0x082, EBUSY, "namespace not ready"},
    {0x083, EBUSY, "reservation conflict"},
    {0x084, EBUSY, "format in progress"},
    {0x085, EINVAL, "invalid value size"},
    {0x086, EINVAL, "invalid key size"},
    {0x087, ENOENT, "key does not exist"},
    {0x088, EIO, "unrecovered error"},
    {0x089, EEXIST, "key exists"},
    {0x100, EINVAL, "invalid completion queue"},
    {0x101, EINVAL, "invalid queue identifier"},
    {0x102, EINVAL, "invalid queue size"},
    {0x103, EBUSY, "abort command limit exceeded"},
    {0x105, EBUSY, "asynchronous event request limit exceeded"},
    {0x106, EINVAL, "invalid firmware slot"},
    {0x107, EINVAL, "invalid firmware image"},
    {0x108, EINVAL, "invalid interrupt vector"},
    {0x109, EINVAL, "invalid log page"},
    {0x10a, EINVAL, "invalid format"},
    {0x10b, EBUSY, "firmware activation requires a reset"},
    {0x10c, EINVAL, "invalid queue deletion"},
    {0x10d, EINVAL, "feature identifier not saveable"},
    {0x10e, EINVAL, "feature not changeable"},
    {0x10f, EINVAL, "feature not namespace specific"},
    {0x110, EBUSY, "firmware activation requires a subsystem reset"},
    {0x111, EBUSY, "firmware activation requires a controller reset"},
    {0x112, EBUSY, "firmware activation takes longer than allowed"},
    {0x113, EACCES, "firmware activation prohibited"},
    {0x114, EINVAL, "overlapping range"},
    {0x115, ENOSPC, "namespace insufficient capacity"},
    {0x116, ENOSPC, "namespace identifier unavailable"},
    {0x118, EEXIST, "namespace already attached"},
    {0x119, EBUSY, "namespace is private"},
    {0x11a, ENOENT, "namespace not attached"},
    {0x11b, ENOTSUP, "thin provisioning not supported"},
    {0x11c, EINVAL, "controller list invalid"},
    {0x11d, EBUSY, "device self-test in progress"},
    {0x11e, EROFS, "boot partition write prohibited"},
    {0x11f, EINVAL, "invalid controller identifier"},
    {0x120, EINVAL, "invalid secondary controller state"},
    {0x121, EINVAL, "invalid number of controller resources"},
    {0x122, EINVAL, "invalid resource identifier"},
    {0x123, EBUSY, "sanitize prohibited while the persistent memory region is enabled"},
    {0x124, EINVAL, "invalid ANA group identifier"},
    {0x125, EIO, "ANA attach failed"},
    {0x126, ENOSPC, "insufficient capacity"},
    {0x127, ENOSPC, "namespace attachment limit exceeded"},
    {0x128, ENOTSUP, "prohibition of command execution not supported"},
    {0x129, ENOTSUP, "I/O command set not supported"},
    {0x12a, ENOTSUP, "I/O command set not enabled"},
    {0x12b, EINVAL, "I/O command set combination rejected"},
    {0x12c, EINVAL, "invalid I/O command set"},
    {0x12d, ENOSPC, "identifier unavailable"},
    {0x180, EINVAL, "conflicting attributes"},
    {0x181, EINVAL, "invalid protection information"},
    {0x182, EROFS, "attempted write to read only range"},
    {0x183, EINVAL, "command size limit exceeded"},
    {0x1b8, ERANGE, "zone boundary error"},
    {0x1b9, ENOSPC, "zone is full"},
    {0x1ba, EROFS, "zone is read only"},
    {0x1bb, EIO, "zone is offline"},
    {0x1bc, EINVAL, "zone invalid write"},
    {0x1bd, EBUSY, "too many active zones"},
    {0x1be, EBUSY, "too many open zones"},
    {0x1bf, EINVAL, "invalid zone state transition"},
    {0x280, EIO, "write fault"},
    {0x281, EIO, "unrecovered read error"},
    {0x282, EILSEQ, "end-to-end guard check error"},
    {0x283, EILSEQ, "end-to-end application tag check error"},
    {0x284, EILSEQ, "end-to-end reference tag check error"},
    {0x285, EILSEQ, "compare failure"},
    {0x286, EACCES, "access denied"},
    {0x287, EIO, "deallocated or unwritten logical block"},
    {0x288, EILSEQ, "end-to-end storage tag check error"},
    {0x300, EIO, "internal path error"},
    {0x301, EIO, "asymmetric access: persistent loss"},
    {0x302, EIO, "asymmetric access: inaccessible"},
    {0x303, EBUSY, "asymmetric access: transition"},
    {0x360, EIO, "controller pathing error"},
    {0x370, EIO, "host pathing error"},
    {0x371, ECANCELED, "aborted by the host"},
};

/* For codes that are not in the table: status code types [Base Figure 93]. */
static const char *const types[8] = {
    "generic error",  "command specific error", "media or data integrity error",
    "path error",     "reserved error",         "reserved error",
    "reserved error", "vendor specific error",
};

const char *chalk_nvme_status_name(uint16_t status)
{
    unsigned code = NVME_STATUS_CODE(status);

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].code == code)
            return statuses[i].name;
    return types[code >> 8];
}

int chalk_nvme_status_error(uint16_t status)
{
    unsigned code = NVME_STATUS_CODE(status);

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].code == code && code != 0)
            return -(int)statuses[i].error;
    return -EIO;
}

bool chalk_nvme_status_passes(uint16_t status)
{
    if ((status & NVME_STATUS_DNR) != 0)
        return false;
    if (NVME_STATUS_CRD(status) != 0)
        return true;
    switch (NVME_STATUS_CODE(status)) {
    case 0x004: /* data transfer error */
    case 0x006: /* internal error */
    case 0x008: /* aborted: submission queue deleted */
    case 0x021: /* command interrupted */
    case 0x022: /* transient transport error */
    case 0x024: /* media not ready for an admin command */
    case 0x082: /* namespace not ready */
    case 0x300: /* internal path error */
    case 0x303: /* asymmetric access: transition */
        return true;
    default:
        return false;
    }
}
