#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/look.h"
#include "runner/needs/parts.h"
#include "runner/plan/plan.h"
#include "runner/qemu/scratch.h"
#include "runner/session/secrets.h"

static const char *show(struct kage_diags *diags, const char *s)
{
    return kage_diags_show(diags, s, strlen(s));
}

static void say_disk(struct kage_diags *diags, struct kage_span at, const char *what,
                     uint64_t space, uint64_t there, const char *folder, const char *variable)
{
    char wanted[32], left[32];
    struct kage_finding *f = kage_diags_add(
        diags, K610_LITTLE_DISK, at, "%s takes up to %s, and %s are free in %s", what,
        kage_needs_size(space, wanted), kage_needs_size(there, left), show(diags, folder));

    kage_finding_help(f, "make room there, or set %s to a folder with more", variable);
}

void kage_needs_check_image(const struct kage_spec *spec, uint64_t disk_free,
                            struct kage_diags *diags)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_spec_image image = spec->image;
    struct kage_image_view view = {0};
    struct kage_finding *f;

    image.own_kernel = spec->machine.kernel; /* as a plan has it */
    if (kage_image_look(&image, spec->machine.arch, &view, &err) < 0) {
        kage_needs_say(diags, K608_NO_IMAGE, kage_needs_place(spec, spec->image.loc), &err,
                       strstr(err.message, strerror(ENOENT))
                           ? "paths start from the folder of the spec"
                           : NULL);
        kage_error_done(&err);
        return;
    }
    if (view.download) {
        f = kage_diags_add(diags, K609_IMAGE_TO_COME, kage_needs_place(spec, spec->image.loc),
                           "the image is not here yet, and is downloaded by the first run");
        kage_finding_help(f,
                          "'kage image pull' with its URL and digest downloads it ahead of time");
    } else if (view.build) {
        f = kage_diags_add(diags, K609_IMAGE_TO_COME, kage_needs_place(spec, spec->image.loc),
                           "%s is not here yet, and is built by the first run%s",
                           view.build_rootfs ? "the image" : "kage's own image, tiny,",
                           view.compile ? ", which may compile a lean kernel first" : "");
        kage_finding_help(f,
                          "'kage image build%s%s%s' builds it ahead of time, from packages that it "
                          "downloads",
                          view.compile ? " --kernel lean" : "", view.build_rootfs ? " " : "",
                          view.build_rootfs ? spec->image.name : "");
    }
    if (disk_free)
        view.free = disk_free;
    if (view.space > view.free)
        say_disk(diags, kage_needs_place(spec, spec->image.loc), "the image", view.space, view.free,
                 view.cache, "XDG_CACHE_HOME");
    kage_image_view_done(&view);
}

void kage_needs_check_scratch(const struct kage_spec *spec, uint64_t disk_free,
                              struct kage_diags *diags)
{
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct kage_error err = KAGE_ERROR_INIT;
    struct statvfs fs;
    uint64_t there;

    if (!spec->machine.disk)
        return;
    if (kage_scratch_make(spec->machine.disk, &fd, &err) < 0) {
        kage_needs_say(diags, K611_NO_SCRATCH, kage_needs_place(spec, spec->machine.disk_loc), &err,
                       "set TMPDIR to a folder that can hold it");
        kage_error_done(&err);
        return;
    }
    if (fstatvfs(fd, &fs) < 0)
        return;
    there = disk_free ? disk_free : (uint64_t)fs.f_bavail * fs.f_frsize;
    if (spec->machine.disk > there)
        say_disk(diags, kage_needs_place(spec, spec->machine.disk_loc), "the scratch disk",
                 spec->machine.disk, there, kage_scratch_folder(), "TMPDIR");
}

static void say_closed(struct kage_diags *diags, struct kage_span at, const char *path,
                       const char *what, int why)
{
    struct kage_finding *f = kage_diags_add(diags, K612_FOLDER_CLOSED, at, "'%s' cannot be %s: %s",
                                            show(diags, path), what, strerror(why));

    if (why == EROFS)
        kage_finding_help(f, "it is mounted read-only");
    else if (why == ENOTDIR)
        kage_finding_help(f, "what is on the way to an artifact must be folders, and no links");
    else if (why == EACCES)
        kage_finding_help(f, "chown or chmod it; kage runs with the rights of uid %u",
                          (unsigned)geteuid());
}

static void check_share(const struct kage_spec *spec, const struct kage_spec_share *share,
                        struct kage_diags *diags)
{
    KAGE_CLEANUP(kage_closep) int fd = open(share->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || faccessat(AT_FDCWD, share->path, R_OK | X_OK, AT_EACCESS) < 0)
        say_closed(diags, kage_needs_place(spec, share->path_loc), share->path, "read", errno);
    else if (share->writable && faccessat(AT_FDCWD, share->path, W_OK, AT_EACCESS) < 0)
        say_closed(diags, kage_needs_place(spec, share->path_loc), share->path, "written to",
                   errno);
}

/* An artifact's folders are made when it is written. So many of them as are there must be folders,
 * and the last of them writable. */
static void check_artifact(const struct kage_spec *spec, const struct kage_spec_artifact *artifact,
                           struct kage_diags *diags)
{
    KAGE_CLEANUP(kage_freep) char *there = kage_strdup(spec->folder);

    for (const char *part = artifact->to; strchr(part, '/');) {
        size_t n = strcspn(part, "/");
        KAGE_CLEANUP(kage_freep) char *next = kage_asprintf("%s/%.*s", there, (int)n, part);
        struct stat st;

        part += n + strspn(part + n, "/");
        if (lstat(next, &st) < 0)
            break;
        if (!S_ISDIR(st.st_mode)) { /* links are not followed */
            say_closed(diags, kage_needs_place(spec, artifact->loc), next, "written to", ENOTDIR);
            return;
        }
        kage_freep(&there);
        there = KAGE_TAKE(next);
    }
    if (faccessat(AT_FDCWD, there, W_OK | X_OK, AT_EACCESS) < 0)
        say_closed(diags, kage_needs_place(spec, artifact->loc), there, "written to", errno);
}

void kage_needs_check_folders(const struct kage_spec *spec, struct kage_diags *diags)
{
    for (size_t i = 0; i < spec->n_shares; i++)
        check_share(spec, &spec->shares[i], diags);
    for (size_t i = 0; i < spec->n_artifacts; i++)
        check_artifact(spec, &spec->artifacts[i], diags);
}

void kage_needs_check_secrets(const struct kage_spec *spec, struct kage_diags *diags)
{
    for (size_t i = 0; i < spec->n_secrets; i++) {
        const struct kage_spec_secret *s = &spec->secrets[i];
        const struct kage_plan_secret secret = {.name = s->name, .env = s->env, .file = s->file};
        struct kage_error err = KAGE_ERROR_INIT;

        if (kage_spec_uses_secret(spec, s->name) && kage_secret_try(&secret, &err) < 0) {
            kage_error_wrap(&err, "secret %s", s->name);
            kage_needs_say(diags, K613_NO_SECRET, kage_needs_place(spec, s->loc), &err,
                           s->env ? "export it where kage runs; in a CI job, from the CI's secrets"
                                  : "write it there, for this user only (chmod 600)");
        }
        kage_error_done(&err);
    }
}

/* As QEMU's user network takes it (slirp's socket.c): with SO_REUSEADDR, bind, listen. */
static int try_port(const struct kage_spec_forward *forward)
{
    KAGE_CLEANUP(kage_closep)
    int fd = socket(AF_INET, (forward->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(forward->host_port)};
    int one = 1;

    if (fd < 0 || inet_pton(AF_INET, forward->address, &addr.sin_addr) != 1)
        return 0; /* nothing that could be told of the port */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        (!forward->udp && listen(fd, 1) < 0))
        return errno;
    return 0;
}

void kage_needs_check_ports(const struct kage_spec *spec, struct kage_diags *diags)
{
    for (size_t i = 0; i < spec->network.n_forwards; i++) {
        const struct kage_spec_forward *forward = &spec->network.forwards[i];
        int why = try_port(forward);
        struct kage_finding *f;

        if (!why)
            continue;
        f = kage_diags_add(diags, K614_PORT_TAKEN, kage_needs_place(spec, forward->loc),
                           "%s port %u of %s cannot be had: %s", forward->udp ? "UDP" : "TCP",
                           forward->host_port, forward->address, strerror(why));
        if (why == EADDRINUSE)
            kage_finding_help(f, "another program has it; 'ss -%sp' says which, or take another",
                              forward->udp ? "lun" : "ltn");
        else if (why == EACCES)
            kage_finding_help(f, "ports below 1024 are root's; take one above");
        else if (why == EADDRNOTAVAIL)
            kage_finding_help(f, "no interface of this machine has the address");
    }
}
