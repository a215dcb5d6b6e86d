/* Any bytes in the files that kage keeps: an image's manifest, a template's and a machine's
 * description. Whoever can write them is the user already, but a torn or strange file must give an
 * error or "?", not an end. The first byte says which. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/manifest.h"
#include "runner/template/template.h"
#include "runner/vm/registry.h"
#include "tests/fuzz/fuzz.h"

#define TEMPLATE "templates/0123456789abcdef0123456789abcdef"
#define MACHINE "kage/01234567"

static void write_file(const char *name, const void *data, size_t size)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", fuzz_folder(), name);
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    PROMISE(fd >= 0 && (!size || write(fd, data, size) == (ssize_t)size));
}

static void make_folder(const char *name)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", fuzz_folder(), name);
    mkdir(path, 0700);
}

static void set_up(void)
{
    static bool ready;
    if (ready)
        return;
    ready = true;
    setenv("XDG_RUNTIME_DIR", fuzz_folder(), 1);
    setenv("XDG_CACHE_HOME", fuzz_folder(), 1);
    make_folder("image");
    write_file("image/kernel", "k", 1);
    write_file("image/initrd", "in", 2);
    make_folder("kage");
    make_folder(MACHINE);
    write_file(MACHINE "/lock", "", 0);
    write_file(MACHINE "/token", "short", 5);
    make_folder("kage/templates");
    make_folder("kage/" TEMPLATE);
    write_file("kage/" TEMPLATE "/lock", "", 0);
}

static void read_manifest(const uint8_t *data, size_t size)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_asprintf("%s/image", fuzz_folder());
    struct kage_manifest manifest = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    write_file("image/manifest.json", data, size);
    if (kage_manifest_read(folder, &manifest, &err) == 0) {
        PROMISE(manifest.name && manifest.arch && manifest.packages);
        kage_manifest_verify(folder, &manifest, &err);
        kage_manifest_done(&manifest);
    } else {
        PROMISE(err.message && *err.message);
    }
    kage_error_done(&err);
}

static void read_template(const uint8_t *data, size_t size)
{
    struct kage_template_info *list = NULL;
    struct kage_error err = KAGE_ERROR_INIT;
    size_t n = 0;
    write_file("kage/" TEMPLATE "/meta.json", data, size);
    PROMISE(kage_template_list(&list, &n, &err) == 0);
    PROMISE(n == 1 && list[0].key && list[0].name && list[0].accel);
    kage_template_list_free(list, n);
}

static void read_machine(const uint8_t *data, size_t size)
{
    struct kage_vm *vms = NULL;
    struct kage_error err = KAGE_ERROR_INIT;
    size_t n = 0;
    write_file(MACHINE "/vm.json", data, size);
    PROMISE(kage_vm_list(&vms, &n, &err) == 0);
    /* without a start it counts as being made */
    PROMISE(n <= 1 && (!n || (vms[0].name && vms[0].image && vms[0].accel)));
    kage_vm_list_free(vms, n);
    kage_error_done(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    if (!size)
        return 0;
    switch (data[0]) {
    case 'i':
        read_manifest(data + 1, size - 1);
        break;
    case 't':
        read_template(data + 1, size - 1);
        break;
    case 'v':
        read_machine(data + 1, size - 1);
        break;
    default:
        read_manifest(data, size);
        read_template(data, size);
        read_machine(data, size);
    }
    return 0;
}
