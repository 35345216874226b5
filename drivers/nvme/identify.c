/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the controller and its namespaces say of themselves.
 *
 * The controller writes it into one page that it owns while the command runs; then it is copied, once, and
 * only the copy is looked at. Nothing in it is believed that could lead this driver, or its users, astray.
 */
#include "nvme.h"
#include <string.h>

#define REPORTED 8 /* namespaces that cannot be identified: so many are logged */

int chalk_nvme_identify(struct chalk_nvme *nvme, enum chalk_nvme_cns cns, uint32_t nsid, uint16_t controller,
                        enum chalk_nvme_command_set csi, const char *what)
{
    const struct nvme_command command = {
        .cdw0 = NVME_IDENTIFY,
        .nsid = nsid,
        .prp1 = nvme->answer.iova,
        .cdw10 = (uint32_t)controller << 16 | (uint32_t)cns,
        .cdw11 = (uint32_t)csi << 24,
    };
    struct nvme_admin_call call = {.what = what};
    int error;

    memset(nvme->answer.va, 0,
           sizeof nvme->identity); /* an answer that never arrives is not an older one's */
    error = chalk_nvme_admin_run(nvme, &call, &command);
    nvme->identify_status = call.status;
    if (error == 0)
        chalk_dma_observe(nvme->identity, nvme->answer.va, sizeof nvme->identity);
    return error;
}

/* The same in a reset, on whichever core: the answer is in nvme->renewed. The other page may have data of a
 * command that another core is about to send. */
static int identify_again(struct chalk_nvme *nvme, enum chalk_nvme_cns cns, const char *what)
{
    const size_t offset = nvme->info.page_size;
    const struct nvme_command command = {
        .cdw0 = NVME_IDENTIFY, .prp1 = nvme->answer.iova + offset, .cdw10 = (uint32_t)cns};
    struct nvme_admin_call call = {.what = what, .mends = true};
    void *page = (char *)nvme->answer.va + offset;
    int error;

    memset(page, 0, sizeof nvme->renewed);
    error = chalk_nvme_admin_run(nvme, &call, &command);
    if (error == 0)
        chalk_dma_observe(nvme->renewed, page, sizeof nvme->renewed);
    return call.status != 0 && error != 0 ? 1 : error;
}

/* What is the same in all command sets, or the NVM command set's. */
static int identify(struct chalk_nvme *nvme, enum chalk_nvme_cns cns, uint32_t nsid, const char *what)
{
    return chalk_nvme_identify(nvme, cns, nsid, 0, CHALK_NVME_CSI_NVM, what);
}

void chalk_nvme_text(char *to, const char *field, size_t size)
{
    while (size != 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
        size--;
    for (; size != 0 && *field == ' '; size--)
        field++;
    for (; size != 0; size--, field++)
        *to++ = *field >= ' ' && *field <= '~' ? *field : '?';
    *to = '\0';
}

static uint32_t max_transfer(const struct chalk_nvme *nvme, uint8_t mdts)
{
    /* In units of the smallest page, which is the one in use; 0 and what is beyond our own limit are no
     * limit. */
    if (mdts == 0 || mdts + nvme->page_shift >= (unsigned)__builtin_ctzll(NVME_MAX_TRANSFER))
        return (uint32_t)NVME_MAX_TRANSFER;
    return nvme->info.page_size << mdts;
}

/* Whether it is a controller that this driver can use. Errors, logged: -EPROTO, -ENOTSUP. */
static int check_controller(const struct chalk_nvme *nvme, const struct nvme_identify_controller *id)
{
    if (id->vid == 0 && id->sqes == 0 && id->nn == 0) {
        chalk_log(CHALK_ERROR,
                  "NVMe %s: its answer never arrived in memory: is it shared with the device's domain?",
                  nvme->name);
        return -EPROTO;
    }
    if ((id->sqes & 0xf) > 6 || id->sqes >> 4 < 6 || (id->cqes & 0xf) > 4 || id->cqes >> 4 < 4) {
        chalk_log(CHALK_ERROR,
                  "NVMe %s: reports queue entries of other than 64 and 16 bytes (0x%02x, 0x%02x)", nvme->name,
                  id->sqes, id->cqes);
        return -EPROTO;
    }
    if (id->cntrltype != NVME_CNTRLTYPE_UNKNOWN && id->cntrltype != NVME_CNTRLTYPE_IO) {
        chalk_log(CHALK_ERROR, "NVMe %s: not an I/O controller (type %u)", nvme->name, id->cntrltype);
        return -ENOTSUP;
    }
    return 0;
}

/* Fills in nvme->info and what follows from it. */
static void adopt_controller(struct chalk_nvme *nvme, const struct nvme_identify_controller *id)
{
    struct chalk_nvme_info *info = &nvme->info;

    info->vendor = id->vid;
    info->subsystem_vendor = id->ssvid;
    chalk_nvme_text(info->serial, id->sn, sizeof id->sn);
    chalk_nvme_text(info->model, id->mn, sizeof id->mn);
    chalk_nvme_text(info->firmware, id->fr, sizeof id->fr);
    info->controller_id = id->cntlid;
    info->namespace_count = id->nn <= NVME_NSID_MAX ? id->nn : NVME_NSID_MAX;
    info->max_transfer = max_transfer(nvme, id->mdts);
    info->firmware_piece = id->fwug != NVME_FWUG_NONE ? id->fwug * 4096u : 0;
    info->optional_commands = id->oncs;
    info->formats_all = (id->fna & NVME_FNA_FORMATS_ALL) != 0;
    info->erases_all = (id->fna & NVME_FNA_ERASES_ALL) != 0;
    info->shadow_doorbells &= (id->oacs & NVME_OACS_DOORBELLS) != 0;
    memcpy(nvme->retry_delays, id->crdt, sizeof nvme->retry_delays);
    nvme->error_entries = (uint16_t)(id->elpe + 1);
    nvme->log_offsets = (id->lpa & NVME_LPA_OFFSETS) != 0;
    info->notices = id->oaes & ~CHALK_NVME_WATCH_TELEMETRY;
    if ((id->lpa & NVME_LPA_TELEMETRY) != 0)
        info->notices |= CHALK_NVME_WATCH_TELEMETRY;
    info->event_requests = (uint16_t)(id->aerl + 1);
    info->sgl_align = NVME_SGLS(id->sgls) == NVME_SGLS_ANY      ? 1
                      : NVME_SGLS(id->sgls) == NVME_SGLS_DWORDS ? 4
                                                                : 0;
    info->volatile_cache = (id->vwc & NVME_VWC_PRESENT) != 0;

    /* RTD3E in its own microseconds, but at least 5 s (0: not reported) and at most a minute. */
    nvme->shutdown_ns = id->rtd3e * 1000ull;
    if (nvme->shutdown_ns < 5 * CHALK_S)
        nvme->shutdown_ns = 5 * CHALK_S;
    if (nvme->shutdown_ns > 60 * CHALK_S)
        nvme->shutdown_ns = 60 * CHALK_S;
}

int chalk_nvme_identify_controller(struct chalk_nvme *nvme)
{
    const struct nvme_identify_controller *id = (const void *)nvme->identity;
    int error = identify(nvme, CHALK_NVME_CNS_CONTROLLER, 0, "Identify (controller)");

    if (error == 0)
        error = check_controller(nvme, id);
    if (error == 0)
        adopt_controller(nvme, id);
    return error;
}

static uint64_t limit_of(const struct chalk_nvme *nvme, uint8_t shift)
{
    return shift == 0 || shift >= 64 - nvme->page_shift ? UINT64_MAX
                                                        : (uint64_t)nvme->info.page_size << shift;
}

static uint64_t lower(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

static void adopt_limits(struct chalk_nvme *nvme, const struct nvme_identify_limits *id)
{
    nvme->verify_bytes = limit_of(nvme, id->vsl);
    nvme->zeroes_bytes = limit_of(nvme, id->wzsl);
    nvme->discard_blocks =
        lower(id->dmrsl != 0 ? id->dmrsl : UINT64_MAX, id->dmsl != 0 ? id->dmsl : UINT64_MAX);
}

/* Controllers before NVMe 2.0 have no such limits to tell; a later one may refuse to. */
int chalk_nvme_identify_limits(struct chalk_nvme *nvme)
{
    int error = 0;

    memset(nvme->identity, 0, sizeof nvme->identity);
    if (nvme->info.version >= 0x020000)
        error = identify(nvme, CHALK_NVME_CNS_CSI_CONTROLLER, 0, NULL);
    if (error != 0 && nvme_state(nvme) != NVME_LIVE)
        return error;
    adopt_limits(nvme, (const void *)nvme->identity);
    return 0;
}

/* ---- after a reset --------------------------------------------------------------------------------- */

/* Programs and queues were told of what the controller could do before: it may be less now, but not more. */
static void shrink(struct chalk_nvme_info *info, const struct chalk_nvme_info *before)
{
    if (info->max_transfer > before->max_transfer)
        info->max_transfer = before->max_transfer;
    info->optional_commands &= before->optional_commands;
    if (before->sgl_align == 0 || (info->sgl_align != 0 && info->sgl_align < before->sgl_align))
        info->sgl_align = before->sgl_align;
}

static int renew_limits(struct chalk_nvme *nvme)
{
    uint64_t verify = nvme->verify_bytes, zeroes = nvme->zeroes_bytes, discard = nvme->discard_blocks;
    int error = 0;

    memset(nvme->renewed, 0, sizeof nvme->renewed);
    if (nvme->info.version >= 0x020000)
        error = identify_again(nvme, CHALK_NVME_CNS_CSI_CONTROLLER, NULL);
    if (error < 0)
        return error;
    adopt_limits(nvme, (const void *)nvme->renewed);
    nvme->verify_bytes = lower(nvme->verify_bytes, verify);
    nvme->zeroes_bytes = lower(nvme->zeroes_bytes, zeroes);
    nvme->discard_blocks = lower(nvme->discard_blocks, discard);
    return 0;
}

/* A device with another serial number has other data. */
static bool is_another(const struct chalk_nvme *nvme, const struct nvme_identify_controller *id)
{
    const char *before = nvme->info.serial;
    char serial[sizeof nvme->info.serial];

    chalk_nvme_text(serial, id->sn, sizeof id->sn);
    if (memcmp(serial, before, strlen(before) + 1) == 0)
        return false;
    chalk_log(CHALK_ERROR, "NVMe %s: after its reset it has the serial number %s, and had %s: another device",
              nvme->name, serial, before);
    return true;
}

int chalk_nvme_renew(struct chalk_nvme *nvme)
{
    const struct nvme_identify_controller *id = (const void *)nvme->renewed;
    const struct chalk_nvme_info before = nvme->info;
    int error = identify_again(nvme, CHALK_NVME_CNS_CONTROLLER, "Identify (controller)");

    if (error == 0)
        error = check_controller(nvme, id);
    if (error == 0 && is_another(nvme, id))
        error = -EPROTO;
    if (error != 0)
        return error > 0 ? -EIO : error;
    adopt_controller(nvme, id);
    shrink(&nvme->info, &before);
    if (memcmp(nvme->info.firmware, before.firmware, strlen(before.firmware) + 1) != 0)
        chalk_log(CHALK_WARNING, "NVMe %s: the reset has started firmware %s, after %s", nvme->name,
                  nvme->info.firmware, before.firmware);
    return renew_limits(nvme);
}

/* ---- namespaces ------------------------------------------------------------------------------------ */

/* Bytes a block; 0 for a format that is not there or makes no sense: less than 512 bytes [NVM 4.1.5.1], or 2
 * GiB. */
static uint32_t block_size(uint32_t lbaf)
{
    unsigned shift = NVME_LBAF_LBADS(lbaf);

    return shift >= 9 && shift <= 30 ? 1u << shift : 0;
}

/* The index of a format, below 64: bits 6:5 of FLBAS are above 3:0 where there are more than 16
 * [NVM 4.1.5.1]. */
static unsigned format_in_use(uint8_t nlbaf, uint8_t flbas)
{
    return (flbas & 0xfu) | (nlbaf > 15 ? (flbas >> 5 & 3u) << 4 : 0);
}

/* `what` as for chalk_nvme_admin(): NULL, and nothing is logged. */
static int identify_namespace(struct chalk_nvme *nvme, uint32_t nsid, const char *what,
                              struct chalk_nvme_namespace *ns)
{
    const struct nvme_identify_namespace *id = (const void *)nvme->identity;
    unsigned format;
    int error;

    if (nsid == 0 || nsid > nvme->info.namespace_count)
        return -ENOENT;
    error = identify(nvme, CHALK_NVME_CNS_NAMESPACE, nsid, what);
    if (error != 0)
        return error;
    /* One that is not active is all zeros [NVM 4.1.5.1]; one without blocks still has a format. */
    if (id->nsze == 0 && NVME_LBAF_LBADS(id->lbaf[0]) == 0)
        return -ENOENT;

    format = format_in_use(id->nlbaf, id->flbas);
    if (id->nlbaf >= NVME_FORMATS || format > id->nlbaf || block_size(id->lbaf[format]) == 0) {
        if (what != NULL)
            chalk_log(CHALK_ERROR, "NVMe %s: namespace %u: its format %u of %u is invalid", nvme->name, nsid,
                      format, id->nlbaf + 1);
        return -EPROTO;
    }
    *ns = (struct chalk_nvme_namespace){
        .nsid = nsid,
        .size = id->nsze,
        .capacity = id->ncap,
        .used = id->nuse,
        .block_size = block_size(id->lbaf[format]),
        .metadata_size = NVME_LBAF_MS(id->lbaf[format]),
        .interleaved = (id->flbas & NVME_FLBAS_INTERLEAVED) != 0,
        .protection = NVME_DPS_TYPE(id->dps),
        .protection_first = (id->dps & NVME_DPS_FIRST) != 0,
        .format = (uint8_t)format,
        .format_count = (uint8_t)(id->nlbaf + 1),
    };
    if (nvme->info.version >= 0x010100) /* before that the bytes are reserved */
        memcpy(ns->eui64, id->eui64, sizeof ns->eui64);
    if (nvme->info.version >= 0x010200)
        memcpy(ns->nguid, id->nguid, sizeof ns->nguid);
    for (unsigned i = 0; i < ns->format_count; i++) {
        ns->formats[i].block_size = block_size(id->lbaf[i]);
        ns->formats[i].metadata_size = NVME_LBAF_MS(id->lbaf[i]);
    }
    return 0;
}

void chalk_nvme_parse_shape(const struct chalk_nvme *nvme, const void *page, struct nvme_shape *shape)
{
    const struct nvme_identify_namespace *id = page;
    uint32_t formats = chalk_dma_load32((const char *)page + 24), in_use; /* NSFEAT, NLBAF, FLBAS, MC */
    uint32_t protection = chalk_dma_load32((const char *)page + 28);      /* DPC, DPS, and others */
    unsigned format = format_in_use((uint8_t)(formats >> 8), (uint8_t)(formats >> 16));

    in_use = chalk_dma_load32(&id->lbaf[format]);
    *shape = (struct nvme_shape){
        .size = chalk_dma_load64(&id->nsze),
        .block_size = block_size(in_use),
        .metadata_size = NVME_LBAF_MS(in_use),
        .interleaved = (formats >> 16 & NVME_FLBAS_INTERLEAVED) != 0,
        .protection = NVME_DPS_TYPE(protection >> 8),
        .protection_first = (protection >> 8 & NVME_DPS_FIRST) != 0,
    };
    if (nvme->info.version >= 0x010100)
        shape->eui64 = chalk_dma_load64(id->eui64);
    for (unsigned i = 0; i < 2 && nvme->info.version >= 0x010200; i++)
        shape->nguid[i] = chalk_dma_load64(id->nguid + 8 * i);
}

int chalk_nvme_identify_namespace(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_namespace *ns)
{
    return identify_namespace(nvme, nsid, "Identify (namespace)", ns);
}

/* ---- the list of them ------------------------------------------------------------------------------- */

bool chalk_nvme_has_active_list(const struct chalk_nvme *nvme)
{
    return nvme->info.version >= 0x010100 && !nvme->no_active_list; /* [Base 5.17.2.2], since NVMe 1.1 */
}

bool chalk_nvme_may_be_listed(struct chalk_nvme *nvme, uint32_t nsid, uint32_t after)
{
    if (nsid > after && nsid <= nvme->info.namespace_count)
        return true;
    if (!nvme->no_active_list)
        chalk_log(CHALK_WARNING,
                  "NVMe %s: invalid list of active namespaces (it lists namespace %u after %u, of %u); "
                  "asking for each by its number",
                  nvme->name, nsid, after, nvme->info.namespace_count);
    nvme->no_active_list = true;
    return false;
}

/*
 * The first identifier above `after` that may be that of an active namespace; 0: there is none. Without a
 * list of them that is the next number. Errors: there was no answer.
 */
static int next_candidate(struct chalk_nvme *nvme, uint32_t after, uint32_t *nsid)
{
    uint32_t listed;
    int error;

    *nsid = after + 1;
    if (!chalk_nvme_has_active_list(nvme))
        return 0;
    error = identify(nvme, CHALK_NVME_CNS_ACTIVE, after, NULL);
    if (error != 0) {
        nvme->no_active_list = nvme->identify_status != 0; /* refused */
        return nvme->no_active_list ? 0 : error;
    }
    memcpy(&listed, nvme->identity, sizeof listed);
    if (listed == 0 || chalk_nvme_may_be_listed(nvme, listed, after))
        *nsid = listed;
    return 0;
}

int chalk_nvme_find_namespace(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_namespace *ns)
{
    int error = identify_namespace(nvme, nsid, NULL, ns);

    if (error == 0 || error == -ENOENT || (error != -EPROTO && nvme->identify_status == 0) ||
        nvme_state(nvme) == NVME_STOPPED)
        return error;
    if (nvme->left_out++ < REPORTED)
        chalk_log(CHALK_ERROR, "NVMe %s: namespace %u cannot be identified, and is left out: %s%s",
                  nvme->name, nsid,
                  error == -EPROTO ? "its format is invalid" : chalk_nvme_status_name(nvme->identify_status),
                  nvme->left_out == REPORTED ? "; no more of these will be logged" : "");
    return -ENOENT;
}

int chalk_nvme_next_namespace(struct chalk_nvme *nvme, uint32_t after, struct chalk_nvme_namespace *ns)
{
    for (unsigned tried = 0; tried < NVME_NAMESPACES_TRIED && after < nvme->info.namespace_count; tried++) {
        uint32_t nsid;
        int error = next_candidate(nvme, after, &nsid);

        if (error == 0 && nsid == 0)
            return -ENOENT;
        if (error == 0)
            error = chalk_nvme_find_namespace(nvme, nsid, ns);
        if (error != -ENOENT)
            return error;
        after = nsid;
    }
    return -ENOENT;
}
