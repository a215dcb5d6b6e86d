#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/proto/frame.h"
#include "runner/plan/options.h"
#include "runner/plan/parts.h"

/*
 * The virtual machine as a QEMU command line. Everything is spelled out, from
 * -nodefaults up, so that neither a distribution's defaults nor a user's
 * configuration change what a plan means.
 */

/* Oldest QEMU whose options are all known: pauth-impdef came with 6.0, multidevs with 4.2
 * (docs/system in QEMU's tree). */
#define QEMU_OLDEST_MAJOR 6

/* Addresses of our own, in the range QEMU uses for guests; 4b:41 spells "KA". vmd tells the two
 * networks apart by them (guest/network.c). */
#define MAC_WAY_IN "52:54:00:4b:41:01"
#define MAC_JOB "52:54:00:4b:41:02"

/* By which vmd finds the disk with the root file system. */
#define ROOTFS_SERIAL "rootfs"

struct machine {
    struct kage_cmdline line;
    const struct kage_spec *spec;
    const struct kage_plan *plan;
    struct kage_loc job; /* where what no line of the spec asked for is said to come from */
    const char *fd_folder;
    bool linux_host, qboot;
    int qemu_version; /* major and minor: 702 */
};

static struct kage_loc at(const struct machine *m, struct kage_loc loc)
{
    return kage_plan_loc(m->plan, loc);
}

static void add_base(struct machine *m)
{
    struct kage_cmdline *c = &m->line;

    kage_cmdline_open(c, at(m, m->spec->name_loc), "-name", NULL);
    kage_cmdline_key(c, "guest", "kage-%s", m->spec->name);
    kage_cmdline_close(c);
    kage_cmdline_flag(c, m->job, "-nodefaults");
    kage_cmdline_flag(c, m->job, "-no-user-config");
    kage_cmdline_text(c, m->job, "-display", "none");
    /* A guest that panics or powers off ends QEMU. */
    kage_cmdline_flag(c, m->job, "-no-reboot");
    if (m->linux_host)
        kage_cmdline_text(c, m->job, "-sandbox", KAGE_QEMU_SANDBOX);
}

/* Devices of the board that no job uses; each costs firmware and kernel time to find. i8042 is an
 * option since QEMU 7.1. */
static void drop_devices(struct machine *m)
{
    static const char *const unused[] = {"smm", "hpet", "smbus", "sata", "usb", "vmport"};

    for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
        kage_cmdline_key(&m->line, unused[i], "off");
    if (m->qemu_version >= 701)
        kage_cmdline_key(&m->line, "i8042", "off");
}

static void add_board(struct machine *m)
{
    const struct kage_spec_machine *machine = &m->spec->machine;
    struct kage_loc loc = at(m, machine->arch_loc);
    struct kage_cmdline *c = &m->line;
    bool x86 = m->plan->arch == KAGE_ARCH_X86_64;

    kage_cmdline_open(c, loc, "-machine", x86 ? "q35" : "virt");
    if (x86)
        drop_devices(m);
    else if (machine->cpus > 8) /* the board's default interrupt controller, GICv2, serves 8 */
        kage_cmdline_key(c, "gic-version", "%s", m->plan->accel == KAGE_ACCEL_KVM ? "host" : "3");
    kage_cmdline_close(c);
    if (x86 && m->qboot)
        kage_cmdline_text(c, loc, "-bios", "qboot.rom");
}

/* The best CPU there is. Emulated, three of its features only cost: five-level page tables, pointer
 * authentication in the architected algorithm, which QEMU computes in software, and "fast" string
 * instructions (ERMS), for which kernel and libc copy by `rep movsb`: QEMU's emulation takes a turn
 * of its loop for each byte of it, and copies twice as fast by plain moves. */
static void add_cpu(struct machine *m)
{
    bool tcg = m->plan->accel == KAGE_ACCEL_TCG;
    struct kage_loc loc = at(m, m->spec->machine.accel_loc);
    struct kage_cmdline *c = &m->line;

    kage_cmdline_open(c, loc, "-accel", kage_accel_name(m->plan->accel));
    kage_cmdline_close(c);
    kage_cmdline_open(c, loc, "-cpu", tcg ? "max" : "host");
    if (tcg && m->plan->arch == KAGE_ARCH_X86_64) {
        kage_cmdline_key(c, "la57", "off");
        kage_cmdline_key(c, "erms", "off");
    }
    if (tcg && m->plan->arch == KAGE_ARCH_AARCH64)
        kage_cmdline_key(c, "pauth-impdef", "on");
    kage_cmdline_close(c);
}

static void add_size(struct machine *m)
{
    const struct kage_spec_machine *machine = &m->spec->machine;
    char text[32];

    snprintf(text, sizeof(text), "%u", machine->cpus);
    kage_cmdline_text(&m->line, at(m, machine->cpus_loc), "-smp", text);
    if (machine->memory % (1024 * 1024) == 0)
        snprintf(text, sizeof(text), "%" PRIu64 "M", machine->memory / (1024 * 1024));
    else
        snprintf(text, sizeof(text), "%" PRIu64 "K", machine->memory / 1024);
    kage_cmdline_text(&m->line, at(m, machine->memory_loc), "-m", text);
}

/* The seconds since 1970 of an RFC 3339 time; false when it is not one. A fraction of a second is
 * passed over, as QEMU's clock counts whole ones. */
static bool parse_time(const char *s, time_t *ret)
{
    struct tm tm = {0};
    int hours = 0, minutes = 0;
    const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    char sign;

    if (!p)
        return false;
    if (*p == '.')
        p += 1 + strspn(p + 1, "0123456789");
    if (strcmp(p, "Z") != 0 && strcmp(p, "z") != 0) {
        sign = *p++;
        if ((sign != '+' && sign != '-') || strlen(p) != 5 ||
            sscanf(p, "%2d:%2d", &hours, &minutes) != 2)
            return false;
        if (sign == '-') {
            hours = -hours;
            minutes = -minutes;
        }
    }
    *ret = timegm(&tm) - hours * 3600 - minutes * 60;
    return true;
}

static void add_clock(struct machine *m)
{
    const char *clock = m->spec->machine.clock;
    struct kage_loc loc = at(m, m->spec->machine.clock_loc);
    char text[64];
    struct tm tm;
    time_t t;

    if (!clock)
        return;
    if (!parse_time(clock, &t) || !gmtime_r(&t, &tm)) {
        kage_cmdline_fail(&m->line, loc, KAGE_CLASS_SPEC,
                          "the clock must be `host` or a time as 2024-02-29T12:00:00Z");
        return;
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    kage_cmdline_open(&m->line, loc, "-rtc", NULL);
    kage_cmdline_key(&m->line, "base", "%s", text);
    kage_cmdline_close(&m->line);
}

/*
 * Words for the kernel. Under emulation its checks of the clocks cost time and
 * can fail for lack of it, and patching for one CPU is not worth its price;
 * with one CPU the periodic timer serves, and calibrating the APIC's takes
 * 0.1 s. Self-tests of ciphers cost 0.2 s.
 *
 * kage's own kernels do without what no job of theirs uses. Security modules
 * that get no policy and an audit log that nobody reads decide nothing, but are
 * asked at every system call; Landlock stays, for programs use it themselves. The
 * account of pressure on resources is kept at every change of a task's state. The
 * initcalls set up tracing, TCP variants and certificates for signed modules.
 *
 * Under emulation they also do without the second calibration of the clock. It
 * comes a second after the start, so in the middle of what a restored machine does
 * first, stops all of it (stop_machine()) and took a tenth of a warm run. The first
 * one, against the ACPI timer, was never more than 21 ppm away from it in boots
 * beside a compiler on every processor.
 *
 * A kernel of the user's own keeps all of its own.
 */
static char *kernel_words(const struct machine *m)
{
    const struct kage_spec_image *image = &m->spec->image;
    bool x86 = m->plan->arch == KAGE_ARCH_X86_64;
    struct kage_buf words = {0};

    kage_buf_addf(&words, "console=%s quiet panic=-1", x86 ? "ttyS0" : "ttyAMA0");
    if (x86 && m->plan->accel == KAGE_ACCEL_TCG) {
        kage_buf_adds(&words, " tsc=reliable no_timer_check noreplace-smp");
        if (m->spec->machine.cpus == 1)
            kage_buf_adds(&words, " nolapic_timer");
    }
    if (x86)
        kage_buf_adds(&words, " 8250.nr_uarts=1");
    kage_buf_adds(&words, " cryptomgr.notests");
    if (kage_image_has_rootfs(image))
        kage_buf_adds(&words, " kage.root=" ROOTFS_SERIAL);
    if (image->form != KAGE_IMAGE_KERNEL) {
        kage_buf_adds(&words, " lsm=landlock audit=0 psi=0 initcall_blacklist=init_kprobe_trace,"
                              "trace_eval_init,cubictcp_register,"
                              "load_system_certificate_list");
        if (x86 && m->plan->accel == KAGE_ACCEL_TCG)
            kage_buf_adds(&words, ",init_tsc_clocksource");
    }
    if (image->cmdline)
        kage_buf_addf(&words, " %s", image->cmdline);
    return kage_buf_take(&words);
}

static void add_kernel(struct machine *m)
{
    const struct kage_spec_image *image = &m->spec->image;
    struct kage_loc loc = at(m, image->loc);
    KAGE_CLEANUP(kage_freep) char *words = NULL;

    kage_cmdline_hole(&m->line, loc, "-kernel", "kernel");
    /* vmd lives there, so there always is one: a kernel of the user's own comes with kage's. */
    kage_cmdline_hole(&m->line, loc, "-initrd", "initrd");
    words = kernel_words(m);
    kage_cmdline_text(&m->line, loc, "-append", words);
}

static void add_socket(struct machine *m, const char *name)
{
    kage_cmdline_open(&m->line, m->job, "-chardev", "socket");
    kage_cmdline_key(&m->line, "id", "%s", name);
    kage_cmdline_key_hole(&m->line, "fd", "", name);
    kage_cmdline_close(&m->line);
}

/* What kage itself talks through: console, QMP, and the port that vmd answers on. Port 0 of a
 * virtio-serial device is for a console. */
static void add_channels(struct machine *m)
{
    struct kage_cmdline *c = &m->line;

    add_socket(m, "console");
    kage_cmdline_text(c, m->job, "-serial", "chardev:console");
    add_socket(m, "qmp");
    kage_cmdline_open(c, m->job, "-mon", NULL);
    kage_cmdline_key(c, "chardev", "qmp");
    kage_cmdline_key(c, "mode", "control");
    kage_cmdline_close(c);
    add_socket(m, "control");
    kage_cmdline_open(c, m->job, "-device", "virtio-serial-pci");
    kage_cmdline_key(c, "max_ports", "2");
    kage_cmdline_key(c, "disable-legacy", "on");
    kage_cmdline_close(c);
    kage_cmdline_whole(c, m->job, "-device", KAGE_QEMU_CONTROL);
}

static void add_nic(struct machine *m, struct kage_loc loc, const char *id, const char *mac)
{
    static const char *const unused[] = {"ctrl_vq",       "ctrl_rx",       "ctrl_vlan",
                                         "ctrl_rx_extra", "ctrl_mac_addr", "ctrl_guest_offloads",
                                         "guest_announce"};

    kage_cmdline_open(&m->line, loc, "-device", "virtio-net-pci");
    kage_cmdline_key(&m->line, "netdev", "%s", id);
    kage_cmdline_key(&m->line, "mac", "%s", mac);
    kage_cmdline_key(&m->line, "romfile", "%s", ""); /* nothing boots from the network */
    kage_cmdline_key(&m->line, "disable-legacy", "on");
    /* Without a control queue the guest has nothing to ask the device at boot, and none of
     * the virtual network's other members to announce itself to when it was restored. */
    for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
        kage_cmdline_key(&m->line, unused[i], "off");
    kage_cmdline_close(&m->line);
}

static void add_forward(struct machine *m, const struct kage_spec_forward *forward)
{
    struct in_addr addr;

    if (inet_pton(AF_INET, forward->address, &addr) != 1) {
        KAGE_CLEANUP(kage_freep) char *shown = kage_asprintf("%.64s", forward->address);

        kage_cmdline_fail(&m->line, at(m, forward->loc), KAGE_CLASS_SPEC,
                          "'%s' cannot be forwarded from: QEMU forwards from IPv4 addresses",
                          shown);
        return;
    }
    kage_cmdline_key(&m->line, "hostfwd", "%s:%s:%u-10.0.3.15:%u", forward->udp ? "udp" : "tcp",
                     forward->address, forward->host_port, forward->guest_port);
}

/* The network of the job's commands, present only when the spec turns it on. */
static void add_job_network(struct machine *m)
{
    const struct kage_spec_network *network = &m->spec->network;
    struct kage_loc loc = at(m, network->loc);
    struct kage_cmdline *c = &m->line;

    if (!network->outbound && network->n_forwards == 0)
        return;
    kage_cmdline_open(c, loc, "-netdev", "user");
    kage_cmdline_key(c, "id", "job");
    kage_cmdline_key(c, "net", "10.0.3.0/24");
    kage_cmdline_key(c, "host", "10.0.3.2");
    kage_cmdline_key(c, "dns", "10.0.3.3");
    kage_cmdline_key(c, "dhcpstart", "10.0.3.15");
    kage_cmdline_key(c, "ipv6", "off");
    if (!network->outbound)
        kage_cmdline_key(c, "restrict", "on");
    for (size_t i = 0; i < network->n_forwards; i++)
        add_forward(m, &network->forwards[i]);
    kage_cmdline_close(c);
    add_nic(m, loc, "job", MAC_JOB);
}

/* security_model=none: files keep the type, mode and links they have on the host, so a source tree
 * with symlinks works; multidevs=remap: a folder may span file systems. */
static void add_shares(struct machine *m)
{
    struct kage_cmdline *c = &m->line;

    for (size_t i = 0; i < m->plan->n_shares; i++) {
        const struct kage_plan_share *share = &m->plan->shares[i];
        KAGE_CLEANUP(kage_freep) char *hole = kage_asprintf("share:%s", share->name);

        kage_cmdline_open(c, share->loc, "-fsdev", "local");
        kage_cmdline_key(c, "id", "%s", share->tag);
        kage_cmdline_key_hole(c, "path", m->fd_folder, hole);
        kage_cmdline_key(c, "security_model", "none");
        kage_cmdline_key(c, "multidevs", "remap");
        if (!share->writable)
            kage_cmdline_key(c, "readonly", "on");
        kage_cmdline_close(c);
        kage_cmdline_open(c, share->loc, "-device", "virtio-9p-pci");
        kage_cmdline_key(c, "fsdev", "%s", share->tag);
        kage_cmdline_key(c, "mount_tag", "%s", share->tag);
        kage_cmdline_key(c, "disable-legacy", "on");
        kage_cmdline_close(c);
    }
}

static void add_disk_device(struct machine *m, struct kage_loc loc, const char *node,
                            const char *serial)
{
    kage_cmdline_open(&m->line, loc, "-device", "virtio-blk-pci");
    kage_cmdline_key(&m->line, "drive", "%s", node);
    kage_cmdline_key(&m->line, "serial", "%s", serial);
    kage_cmdline_key(&m->line, "disable-legacy", "on");
    kage_cmdline_close(&m->line);
}

/* The image's root file system. Its format is known once the file has been looked at, and then said
 * outright: QEMU must not guess, or a guest's disk could claim to be a format that names other
 * files of the host. */
static void add_rootfs(struct machine *m)
{
    struct kage_loc loc = at(m, m->spec->image.loc);
    struct kage_cmdline *c = &m->line;

    if (!kage_image_has_rootfs(&m->spec->image))
        return;
    kage_cmdline_open(c, loc, "-blockdev", NULL);
    kage_cmdline_key(c, "driver", "file");
    kage_cmdline_key(c, "node-name", "image");
    kage_cmdline_key_hole(c, "filename", m->fd_folder, "rootfs");
    kage_cmdline_key(c, "read-only", "on");
    kage_cmdline_close(c);
    kage_cmdline_open(c, loc, "-blockdev", NULL);
    kage_cmdline_key_hole(c, "driver", "", "rootfs-format");
    kage_cmdline_key(c, "node-name", "rootfs");
    kage_cmdline_key(c, "file", "image");
    kage_cmdline_key(c, "read-only", "on");
    kage_cmdline_close(c);
    add_disk_device(m, loc, "rootfs", ROOTFS_SERIAL);
}

static void add_disk(struct machine *m)
{
    struct kage_loc loc = at(m, m->spec->machine.disk_loc);
    struct kage_cmdline *c = &m->line;

    if (!m->plan->disk)
        return;
    kage_cmdline_open(c, loc, "-blockdev", NULL);
    kage_cmdline_key(c, "driver", "file");
    kage_cmdline_key(c, "node-name", "scratch");
    kage_cmdline_key_hole(c, "filename", m->fd_folder, "scratch");
    kage_cmdline_key(c, "locking", "off"); /* the file has no name, so nobody else can open it */
    kage_cmdline_key(c, "discard", "unmap");
    kage_cmdline_close(c);
    add_disk_device(m, loc, "scratch", "scratch");
}

/* The facts name the program for one architecture; QEMU calls the others alike. */
static char *qemu_program(const struct kage_host_facts *facts, enum kage_arch guest)
{
    const char *slash = strrchr(facts->qemu, '/');
    const char *base = slash ? slash + 1 : facts->qemu;

    if (guest == facts->arch || strncmp(base, "qemu-system-", 12) != 0)
        return kage_strdup(facts->qemu);
    return kage_asprintf("%.*sqemu-system-%s", (int)(base - facts->qemu), facts->qemu,
                         kage_arch_name(guest));
}

/* Where a process finds its own descriptors as files. */
static const char *fd_folder(const struct kage_host_facts *facts)
{
    return strcmp(facts->os, "linux") == 0 ? "/proc/self/fd/" : "/dev/fd/";
}

int kage_plan_qemu(const struct kage_spec *spec, const struct kage_host_facts *facts,
                   struct kage_plan *plan, struct kage_error *err)
{
    const int *v = facts->qemu_version;
    bool linux_host = strcmp(facts->os, "linux") == 0;
    struct machine m = {
        .line = {.err = err},
        .spec = spec,
        .plan = plan,
        .job = kage_plan_loc(plan, spec->loc),
        .linux_host = linux_host,
        .qboot = facts->qboot,
        .qemu_version = v[0] * 100 + v[1],
        .fd_folder = fd_folder(facts),
    };

    if (v[0] != 0 && v[0] < QEMU_OLDEST_MAJOR)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "%s is version %d.%d.%d, and kage needs %d.0 or newer", facts->qemu,
                              v[0], v[1], v[2], QEMU_OLDEST_MAJOR);
    plan->qemu = qemu_program(facts, plan->arch);
    add_base(&m);
    add_board(&m);
    add_cpu(&m);
    add_size(&m);
    add_clock(&m);
    add_kernel(&m);
    add_channels(&m);
    add_shares(&m);
    add_rootfs(&m);
    add_disk(&m);
    add_job_network(&m);
    return kage_cmdline_end(&m.line, plan);
}

int kage_plan_open_way_in(struct kage_plan *plan, const struct kage_host_facts *facts,
                          struct kage_error *err)
{
    struct machine m = {
        .line = {.err = err, .args = plan->args, .n = plan->n_args, .cap = plan->n_args},
        .plan = plan,
        .job = {.file = plan->spec_file, .line = 1, .col = 1},
        .fd_folder = fd_folder(facts),
    };

    _Static_assert(KAGE_AGENT_PORT == 8080, "KAGE_QEMU_WAY_IN forwards to vmd's port");
    plan->args = NULL;
    plan->n_args = 0;
    kage_cmdline_open(&m.line, m.job, "-fw_cfg", NULL);
    kage_cmdline_key(&m.line, "name", "%s", KAGE_TOKEN_FW_CFG);
    kage_cmdline_key_hole(&m.line, "file", m.fd_folder, "token");
    kage_cmdline_close(&m.line);
    kage_cmdline_whole(&m.line, m.job, "-netdev", KAGE_QEMU_WAY_IN);
    add_nic(&m, m.job, "way-in", MAC_WAY_IN);
    return kage_cmdline_end(&m.line, plan);
}
