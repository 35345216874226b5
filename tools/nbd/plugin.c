/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plugin for nbdkit: an NVMe disk that Chalk drives, for everything that speaks NBD.
 *
 *     nbdkit ./chalk-nbd.so device=0000:01:00.0 namespace=1
 *
 * nbdkit calls from threads of its own, at most `--threads` a client at once. It forks between get_ready and
 * after_fork, and a device does not survive that, nor is a message seen after it: so the disk is opened
 * twice.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define PREFERRED    4096u
#define LARGEST      (32u << 20) /* bytes of a request: what clients that ask for no limit keep to */

static void give_up(void);

static struct disk_options options = {.gone = give_up};
static struct disk *disk;

/* ---- the command line ---- */

static int config(const char *key, const char *value)
{
    int truth;

    if (strcmp(key, "device") == 0) {
        options.address = value; /* nbdkit keeps it */
        return 0;
    }
    if (strcmp(key, "namespace") == 0)
        return nbdkit_parse_uint32_t("namespace", value, &options.nsid);
    if (strcmp(key, "poll") == 0) {
        truth = nbdkit_parse_bool(value);
        options.poll = truth == 1;
        return truth < 0 ? -1 : 0;
    }
    nbdkit_error("%s=%s: no such parameter: there are device, namespace and poll", key, value);
    return -1;
}

static int config_complete(void)
{
    if (options.address && options.address[0] != '\0')
        return 0;
    nbdkit_error("no device: give device=ADDRESS, such as device=0000:01:00.0 (lspci -D lists them)");
    return -1;
}

/* ---- the life of the server ---- */

static int open_disk(void)
{
    disk = disk_open(&options);
    if (disk)
        return 0;
    nbdkit_error("%s cannot be served", options.address);
    return -1;
}

static void close_disk(void)
{
    if (disk)
        disk_close(disk);
    disk = NULL;
}

/* The server ends, and so lets go of the device. */
static void give_up(void)
{
    nbdkit_error("%s is gone, so there is nothing more to serve", options.address);
    nbdkit_shutdown();
}

static int get_ready(void)
{
    int result = open_disk();

    close_disk();
    return result;
}

/* ---- a client ---- */

static void *connect_client(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t get_size(void *handle)
{
    const struct chalk_block_info *info = disk_info(disk);
    int64_t size;

    (void)handle;
    if (!__builtin_mul_overflow(info->block_count, info->block_size, &size))
        return size;
    nbdkit_error("%s has more bytes than NBD can address", options.address);
    return -1;
}

static int get_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    uint32_t size = disk_info(disk)->block_size;

    (void)handle;
    *minimum = size;
    *preferred = size > PREFERRED ? size : PREFERRED;
    *maximum = LARGEST;
    return 0;
}

/* A flush is for everything that was written, by whomever. */
static int can_multi_conn(void *handle)
{
    (void)handle;
    return 1;
}

/* If not, nbdkit flushes after the write. */
static int can_fua(void *handle)
{
    (void)handle;
    return (disk_info(disk)->flags & CHALK_BLOCK_FUA) != 0 ? NBDKIT_FUA_NATIVE : NBDKIT_FUA_EMULATE;
}

static int can_trim(void *handle)
{
    (void)handle;
    return disk_has(disk, CHALK_BLOCK_DISCARD);
}

/* If not, nbdkit writes them. */
static int can_zero(void *handle)
{
    (void)handle;
    return disk_has(disk, CHALK_BLOCK_WRITE_ZEROES);
}

/* ---- its requests ---- */

/* NBD has few errors, and nbdkit tells a client of any other that it asked for nonsense. */
static int told(int error)
{
    switch (error) {
    case -EINVAL:
    case -ENOMEM:
    case -ENOSPC:
    case -ENOTSUP:
        return -error;
    case -ENODEV:
        return ESHUTDOWN;
    default:
        return EIO;
    }
}

static int serve(const char *name, enum chalk_block_op op, uint32_t flags, void *data, uint32_t count,
                 uint64_t offset)
{
    uint32_t block = disk_info(disk)->block_size;
    int error;

    if (count % block != 0 || offset % block != 0) {
        nbdkit_error("%s of %" PRIu32 " bytes at %" PRIu64 ": not in blocks of %" PRIu32
                     " bytes, and the client was "
                     "told; add --filter=blocksize for it",
                     name, count, offset, block);
        nbdkit_set_error(EINVAL);
        return -1;
    }
    error = disk_do(disk, op, (flags & NBDKIT_FLAG_FUA) != 0 ? CHALK_BLOCK_FUA : 0, data, count, offset);
    if (error == 0)
        return 0;
    nbdkit_error("%s of %" PRIu32 " bytes at %" PRIu64 " of %s: %s", name, count, offset, options.address,
                 strerror(-error));
    nbdkit_set_error(told(error));
    return -1;
}

static int serve_read(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    return serve("read", CHALK_BLOCK_READ, flags, data, count, offset);
}

static int serve_write(void *handle, const void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    /* which only reads it */
    return serve("write", CHALK_BLOCK_WRITE, flags, (void *)(uintptr_t)data, count, offset);
}

static int serve_flush(void *handle, uint32_t flags)
{
    (void)handle;
    return serve("flush", CHALK_BLOCK_FLUSH, flags, NULL, 0, 0);
}

static int serve_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    return serve("write of zeroes", CHALK_BLOCK_WRITE_ZEROES, flags, NULL, count, offset);
}

/* A discard has no flag of that kind: what is to be durable at once is flushed. */
static int serve_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    int result = serve("discard", CHALK_BLOCK_DISCARD, 0, NULL, count, offset);

    return result == 0 && (flags & NBDKIT_FLAG_FUA) != 0 ? serve_flush(handle, 0) : result;
}

static struct nbdkit_plugin plugin = {
    .name = "chalk",
    .longname = "Chalk",
    .description = "an NVMe disk driven by Chalk, over VFIO or vfio-user",
    .config = config,
    .config_complete = config_complete,
    .config_help = "device=NAME      (required) an NVMe controller: the PCI address of one bound to\n"
                   "                 vfio-pci, or vfio-user:SOCKET, such as of chalk-model\n"
                   "namespace=N      its identifier; the first one if absent\n"
                   "poll=BOOL        never sleep; false if absent",
    .magic_config_key = "device",
    .get_ready = get_ready,
    .after_fork = open_disk,
    .cleanup = close_disk,
    .open = connect_client,
    .get_size = get_size,
    .block_size = get_block_size,
    .can_multi_conn = can_multi_conn,
    .can_fua = can_fua,
    .can_trim = can_trim,
    .can_zero = can_zero,
    .pread = serve_read,
    .pwrite = serve_write,
    .flush = serve_flush,
    .trim = serve_trim,
    .zero = serve_zero,
};

NBDKIT_REGISTER_PLUGIN(plugin)
