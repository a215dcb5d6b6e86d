#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"

const char *fuzz_file(const void *data, size_t size)
{
    static char path[32];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return path;
}

static char folder[] = "/tmp/kage-fuzz-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    static bool made;
    if (!made) {
        if (!mkdtemp(folder))
            abort();
        made = true;
        atexit(remove_folder);
    }
    return folder;
}

uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (!in->size)
        return 0;
    in->size--;
    return *in->data++;
}

const uint8_t *fuzz_part(struct fuzz_input *in, size_t *len)
{
    size_t n = fuzz_byte(in);
    n |= (size_t)fuzz_byte(in) << 8;
    if (n > in->size)
        n = in->size;
    const uint8_t *part = in->data;
    in->data += n;
    in->size -= n;
    *len = n;
    return part;
}

char *fuzz_text(struct fuzz_input *in)
{
    size_t n;
    const uint8_t *part = fuzz_part(in, &n);
    return n ? kage_strndup((const char *)part, n) : kage_strdup("");
}
