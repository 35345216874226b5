/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loaded into nvme-cli (LD_PRELOAD) beside a device that is none, such as /dev/null: every command that it
 * would send is written to the file NVME_RECORD instead, as the 64 bytes of a submission queue entry without
 * addresses and identifier, and as the data that goes to the controller; both in hexadecimal. The answer is
 * success, and zeros: but namespaces have blocks of 512 bytes.
 */
#include <linux/nvme_ioctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define IDENTIFY        0x06
#define LBAF0_LBADS     130 /* byte of Identify Namespace [NVM 4.1.5.1] */
#define TO_CONTROLLER   1
#define FROM_CONTROLLER 2

static void print_bytes(FILE *file, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        fprintf(file, "%02x", ((const unsigned char *)bytes)[i]);
}

/* A Linux pass-through command has the fields of a queue entry in another order. */
static void record(FILE *file, const struct nvme_passthru_cmd *command)
{
    const uint32_t entry[16] = {
        (uint32_t)command->flags << 8 | command->opcode,
        command->nsid,
        command->cdw2,
        command->cdw3,
        [10] = command->cdw10,
        command->cdw11,
        command->cdw12,
        command->cdw13,
        command->cdw14,
        command->cdw15,
    };

    print_bytes(file, entry, sizeof(entry));
    fputc(' ', file);
    if ((command->opcode & TO_CONTROLLER) != 0)
        print_bytes(file, (const void *)(uintptr_t)command->addr, command->data_len);
    fputc('\n', file);
}

static void answer(const struct nvme_passthru_cmd *command)
{
    unsigned char *data = (unsigned char *)(uintptr_t)command->addr;

    if ((command->opcode & FROM_CONTROLLER) == 0 || command->data_len == 0)
        return;
    memset(data, 0, command->data_len);
    if (command->opcode == IDENTIFY && command->cdw10 == 0)
        data[LBAF0_LBADS] = 9;
}

int ioctl(int descriptor, unsigned long request, ...)
{
    const char *path = getenv("NVME_RECORD");
    struct nvme_passthru_cmd *command;
    va_list list;
    FILE *file;

    (void)descriptor;
    va_start(list, request);
    command = va_arg(list, void *);
    va_end(list);
    if (request == NVME_IOCTL_ID)
        return 1;
    if (request != NVME_IOCTL_ADMIN_CMD && request != NVME_IOCTL_IO_CMD &&
        request != NVME_IOCTL_ADMIN64_CMD && request != NVME_IOCTL_IO64_CMD)
        return 0;
    if (path == NULL || (file = fopen(path, "a")) == NULL)
        abort();
    record(file, command);
    fclose(file);
    answer(command);
    return 0;
}
