#include "runner/check/mend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/diag/diag.h"
#include "runner/spec/spec.h"

/* A fix can bring to light what could not be judged before; a syntax error hides everything. Each
 * round settles at least one finding, so this is a bound for hostile files only. */
#define MAX_ROUNDS 200

#define BOM "\xef\xbb\xbf"

static char *mend_once(const char *file, const char *folder, const char *text, size_t len,
                       size_t *ret_len, size_t *ret_fixed)
{
    KAGE_CLEANUP(kage_diags_freep) struct kage_diags *diags = kage_diags_new();
    struct kage_spec *spec = NULL;
    kage_spec_load_text(file, folder, text, len, &spec, diags);
    kage_spec_free(spec);
    return kage_diags_apply(diags, file, ret_len, ret_fixed);
}

char *kage_mend_text(const char *file, const char *folder, const char *text, size_t len,
                     size_t *ret_len, size_t *ret_fixed)
{
    KAGE_CLEANUP(kage_freep) char *now = NULL;
    *ret_fixed = 0;
    size_t mark = len >= 3 && memcmp(text, BOM, 3) == 0 ? 3 : 0;
    text += mark;
    len -= mark;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        size_t fixed, next_len;
        char *next = mend_once(file, folder, now ? now : text, len, &next_len, &fixed);
        if (!next)
            break;
        free(now);
        now = next;
        len = next_len;
        *ret_fixed += fixed;
    }
    if (!now)
        return NULL;
    struct kage_buf out = {0};
    kage_buf_add(&out, BOM, mark);
    kage_buf_add(&out, now, len);
    *ret_len = out.len;
    return kage_buf_take(&out);
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Through a new file next to it, so that there is always a whole one; behind links, to the file
 * they lead to. */
static int replace(const char *path, const char *data, size_t len, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *target = realpath(path, NULL);
    struct stat st;
    if (!target || stat(target, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot find %s", path);
    KAGE_CLEANUP(kage_freep) char *name = kage_asprintf("%s.XXXXXX", target);
    KAGE_CLEANUP(kage_closep) int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot write next to %s", path);
    if (write_all(fd, data, len) < 0 || fchmod(fd, st.st_mode & 07777) < 0 || fsync(fd) < 0 ||
        rename(name, target) < 0) {
        int why = errno;
        unlink(name);
        return kage_error_errno(err, KAGE_CLASS_SPEC, why, "cannot write %s", path);
    }
    return 0;
}

int kage_mend_file(const char *path, size_t *ret_fixed, struct kage_error *err)
{
    KAGE_CLEANUP(kage_buf_done) struct kage_buf text = {0};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    size_t len, fixed;
    if (kage_spec_read(path, &text, &folder, err) < 0)
        return -1;
    KAGE_CLEANUP(kage_freep)
    char *mended = kage_mend_text(path, folder, text.data ? text.data : "", text.len, &len, &fixed);
    if (mended && replace(path, mended, len, err) < 0)
        return -1;
    *ret_fixed = fixed;
    return 0;
}
