#include "runner/spec/below.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

/* "/a/./b/../c/" to "/a/c", "/" to "". Owned. */
static char *tidy(const char *path)
{
    struct kage_buf out = {0};

    for (const char *p = path; *p;) {
        size_t n;

        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            while (out.len && out.data[--out.len] != '/')
                ;
        } else if (n && !(n == 1 && p[0] == '.')) {
            kage_buf_addc(&out, '/');
            kage_buf_add(&out, p, n);
        }
        p += n;
    }
    return kage_buf_take(&out);
}

char *kage_path_below(const char *folder, const char *path)
{
    KAGE_CLEANUP(kage_freep) char *outer = tidy(folder);
    KAGE_CLEANUP(kage_freep) char *inner = tidy(path);
    size_t n = strlen(outer);

    if (strncmp(inner, outer, n) != 0 || (inner[n] && inner[n] != '/'))
        return NULL;
    return kage_strdup(inner[n] && inner[n + 1] ? inner + n + 1 : ".");
}
