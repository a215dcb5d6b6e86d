#include "runner/image/manifest.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"

/* Real ones have less than 1 KiB. */
#define MANIFEST_MAX (64 * 1024)

static char *read_text(const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = kage_alloc(MANIFEST_MAX + 1);
    ssize_t n = fd < 0 ? -1 : read(fd, text, MANIFEST_MAX);

    if (n < 0) {
        kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", path);
        kage_freep(&text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static const char *string_of(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static int read_file_entry(const char *folder, const cJSON *root, const char *key,
                           struct kage_manifest_file *ret)
{
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(root, key);
    const char *sha256 = string_of(entry, "sha256");
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(entry, "size");
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, key);
    struct stat st;

    *ret = (struct kage_manifest_file){0};
    if (!entry)
        return 0;
    if (!sha256 || strlen(sha256) != KAGE_SHA256_HEX || !cJSON_IsNumber(size))
        return -1;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || (double)st.st_size != size->valuedouble)
        return -1;
    memcpy(ret->sha256, sha256, KAGE_SHA256_HEX + 1);
    ret->size = (uint64_t)st.st_size;
    return 0;
}

int kage_manifest_read(const char *folder, struct kage_manifest *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/manifest.json", folder);
    KAGE_CLEANUP(kage_freep) char *text = read_text(path, err);
    struct kage_manifest m = {0};
    cJSON *root;

    if (!text)
        return -1;
    root = cJSON_Parse(text);
    m.name = kage_strdup(string_of(root, "name"));
    m.arch = kage_strdup(string_of(root, "arch"));
    m.packages = kage_strdup(string_of(root, "packages"));
    m.from = kage_strdup(string_of(root, "from"));
    m.boots = kage_strdup(string_of(root, "boots"));
    if (!m.name || !m.arch || !m.packages || read_file_entry(folder, root, "kernel", &m.kernel) ||
        read_file_entry(folder, root, "initrd", &m.initrd) ||
        read_file_entry(folder, root, "rootfs", &m.rootfs) ||
        (!*m.rootfs.sha256 && (!*m.kernel.sha256 || !*m.initrd.sha256))) {
        cJSON_Delete(root);
        kage_manifest_done(&m);
        return kage_error_set(err, KAGE_CLASS_IMAGE, "the image in %s is damaged", folder);
    }
    cJSON_Delete(root);
    *ret = m;
    return 0;
}

void kage_manifest_done(struct kage_manifest *manifest)
{
    kage_freep(&manifest->name);
    kage_freep(&manifest->arch);
    kage_freep(&manifest->packages);
    kage_freep(&manifest->from);
    kage_freep(&manifest->boots);
}

char *kage_manifest_digest(const char *kernel_sha256, const char *initrd_sha256)
{
    struct kage_sha256 *hash = kage_sha256_new();
    char hex[KAGE_SHA256_HEX + 1];

    kage_sha256_add(hash, kernel_sha256, strlen(kernel_sha256));
    if (initrd_sha256)
        kage_sha256_add(hash, initrd_sha256, strlen(initrd_sha256));
    kage_sha256_end(hash, hex);
    return kage_asprintf("sha256:%s", hex);
}

static int verify(const char *folder, const char *name, const char *expected,
                  struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, name);
    char hex[KAGE_SHA256_HEX + 1];

    if (!*expected)
        return 0;
    if (kage_sha256_file(path, hex, err) < 0)
        return -1;
    if (strcmp(hex, expected))
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "%s is damaged: its SHA-256 is %s, not %s as when it was built", path,
                              hex, expected);
    return 0;
}

int kage_manifest_verify(const char *folder, const struct kage_manifest *manifest,
                         struct kage_error *err)
{
    if (verify(folder, "kernel", manifest->kernel.sha256, err) < 0 ||
        verify(folder, "initrd", manifest->initrd.sha256, err) < 0)
        return -1;
    return verify(folder, "rootfs", manifest->rootfs.sha256, err);
}
