#include "runner/vm/registry.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/vm/folder.h"

#define ID_DIGITS 8
#define INFO_MAX 65536
#define POLL_MS 10
#define CREATION_GRACE_S 10

static const char *const state_names[] = {
    [KAGE_VM_STARTING] = "starting",
    [KAGE_VM_RUNNING] = "running",
    [KAGE_VM_ENDED] = "ended",
    [KAGE_VM_DEAD] = "dead",
};
static_assert(sizeof state_names / sizeof *state_names == KAGE_VM_STATE_COUNT, "");

const char *kage_vm_state_name(enum kage_vm_state state)
{
    return state_names[state];
}

/* ---- folders ---- */

static int own_folder(const char *path, struct kage_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make the folder %s", path);
    if (lstat(path, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "%s is not a folder that only you can enter; remove it", path);
    return 0;
}

char *kage_vm_base(struct kage_error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    KAGE_CLEANUP(kage_freep) char *path = NULL;
    struct stat st;

    /* After su or sudo the variable may still name the folder of who called. */
    if (runtime && *runtime == '/' && stat(runtime, &st) == 0 && S_ISDIR(st.st_mode) &&
        st.st_uid == geteuid() && access(runtime, W_OK) == 0)
        path = kage_asprintf("%s/kage", runtime);
    else
        path = kage_asprintf("/tmp/kage-%u", (unsigned)geteuid());
    return own_folder(path, err) < 0 ? NULL : KAGE_TAKE(path);
}

static char *in(const struct kage_vm *vm, const char *name)
{
    return kage_asprintf("%s/%s", vm->folder, name);
}

static int write_whole(const struct kage_vm *vm, const char *name, const void *data, size_t len,
                       struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = in(vm, name);
    KAGE_CLEANUP(kage_freep) char *part = kage_asprintf("%s.part", path);
    KAGE_CLEANUP(kage_closep)
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, len) != (ssize_t)len || rename(part, path) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
    return 0;
}

/* Owned and NUL-terminated; NULL when it cannot be read. */
static char *read_whole(const struct kage_vm *vm, const char *name, size_t max)
{
    KAGE_CLEANUP(kage_freep) char *path = in(vm, name);
    KAGE_CLEANUP(kage_freep) char *text = kage_alloc(max + 1);
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 || read(fd, text, max) < 0 ? NULL : KAGE_TAKE(text);
}

/* ---- the lock ---- */

/* The process that holds the lock, 0 if none does, -1 when there is no lock file. A POSIX lock,
 * because the kernel names its holder. */
static pid_t holder(const struct kage_vm *vm)
{
    KAGE_CLEANUP(kage_freep) char *path = in(vm, "lock");
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0)
        return -1;
    return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

static int take_lock(const struct kage_vm *vm, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = in(vm, "lock");
    /* Left open on purpose: the lock lives as long as the process, and closing any descriptor of
     * the file would drop it. */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot lock %s", path);
    return 0;
}

/* ---- reading ---- */

static char *json_text(const cJSON *root, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);

    return cJSON_IsString(item) ? kage_strdup(item->valuestring) : NULL;
}

static int64_t json_number(const cJSON *root, const char *name, int64_t min, int64_t max)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);

    return cJSON_IsNumber(item) && item->valuedouble >= (double)min &&
                   item->valuedouble <= (double)max
               ? (int64_t)item->valuedouble
               : 0;
}

/* The same without anything a terminal would act on. */
static char *json_label(const cJSON *root, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *text = json_text(root, name);

    return text ? kage_printable(text, strlen(text)) : NULL;
}

static void read_info(struct kage_vm *vm)
{
    KAGE_CLEANUP(kage_freep) char *text = read_whole(vm, "vm.json", INFO_MAX);
    KAGE_CLEANUP(kage_freep) char *state = NULL;
    cJSON *root = text ? cJSON_Parse(text) : NULL;

    vm->name = json_label(root, "name");
    vm->reason = json_text(root, "reason");
    vm->image = json_label(root, "image");
    vm->spec = json_text(root, "spec");
    vm->accel = json_label(root, "accelerator");
    vm->port = (uint16_t)json_number(root, "port", 1, 65535);
    vm->started = json_number(root, "started", 0, INT64_C(1) << 52);
    vm->network = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "network"));
    state = json_text(root, "state");
    for (int i = 0; state && i < KAGE_VM_STATE_COUNT; i++)
        if (!strcmp(state, state_names[i]))
            vm->state = (enum kage_vm_state)i;
    cJSON_Delete(root);
    if (!vm->name)
        vm->name = kage_strdup(vm->id);
    if (!vm->image)
        vm->image = kage_strdup("?");
    if (!vm->accel)
        vm->accel = kage_strdup("?");
}

static void read_token(struct kage_vm *vm)
{
    KAGE_CLEANUP(kage_freep) char *text = read_whole(vm, "token", KAGE_TOKEN_HEX);

    if (text && strlen(text) == KAGE_TOKEN_HEX)
        strcpy(vm->token, text);
    if (text)
        explicit_bzero(text, strlen(text));
}

/* Between the folder and the lock a new machine looks like a dead one. */
static bool being_made(const struct kage_vm *vm)
{
    struct stat st;

    return stat(vm->folder, &st) == 0 && time(NULL) - st.st_mtime < CREATION_GRACE_S;
}

/* Returns -1 when the folder is not, or not yet, a machine's. */
static int read_vm(const char *base, const char *id, struct kage_vm *ret)
{
    struct kage_vm vm = {.id = kage_strdup(id), .folder = kage_asprintf("%s/%s", base, id)};
    pid_t owner = holder(&vm);

    if (owner < 0) {
        kage_vm_done(&vm);
        return -1;
    }
    vm.owner = owner;
    read_info(&vm);
    if (!owner && !vm.started && being_made(&vm)) {
        kage_vm_done(&vm);
        return -1;
    }
    /* The file is what the owner wrote last; whether the owner lives is for the lock to say. */
    if (owner == 0 && vm.state != KAGE_VM_ENDED) {
        vm.state = KAGE_VM_DEAD;
        free(vm.reason);
        vm.reason = kage_strdup("its owner process was killed");
    }
    if (owner && vm.state == KAGE_VM_RUNNING)
        read_token(&vm);
    *ret = vm;
    return 0;
}

static bool is_id(const char *name)
{
    return strlen(name) == ID_DIGITS && strspn(name, "0123456789abcdef") == ID_DIGITS;
}

static int by_age(const void *a, const void *b)
{
    const struct kage_vm *x = a, *y = b;

    if (x->started != y->started)
        return x->started < y->started ? -1 : 1;
    return strcmp(x->id, y->id);
}

int kage_vm_list(struct kage_vm **ret, size_t *n, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_vm_base(err);
    struct kage_vm *vms = NULL;
    size_t count = 0, cap = 0;
    struct dirent *entry;
    DIR *dir;

    if (!base)
        return -1;
    dir = opendir(base);
    if (!dir)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot read %s", base);
    while ((entry = readdir(dir))) {
        if (!is_id(entry->d_name))
            continue;
        vms = kage_array_grow(vms, &cap, count + 1, sizeof *vms);
        if (read_vm(base, entry->d_name, &vms[count]) == 0)
            count++;
    }
    closedir(dir);
    if (count)
        qsort(vms, count, sizeof *vms, by_age);
    *ret = vms;
    *n = count;
    return 0;
}

void kage_vm_done(struct kage_vm *vm)
{
    free(vm->id);
    free(vm->name);
    free(vm->folder);
    free(vm->reason);
    free(vm->image);
    free(vm->spec);
    free(vm->accel);
    explicit_bzero(vm->token, sizeof vm->token);
    *vm = (struct kage_vm){0};
}

void kage_vm_list_free(struct kage_vm *vms, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kage_vm_done(&vms[i]);
    free(vms);
}

/* ---- finding ---- */

static bool matches(const struct kage_vm *vm, const char *handle, int how)
{
    char port[8];

    switch (how) {
    case 0:
        return !strcmp(vm->id, handle);
    case 1:
        return !strcmp(vm->name, handle);
    case 2:
        snprintf(port, sizeof port, "%u", vm->port);
        return vm->port && vm->owner && !strcmp(port, handle);
    default:
        return !strncmp(vm->id, handle, strlen(handle));
    }
}

static int not_found(const char *handle, const struct kage_vm *vms, size_t n, size_t found,
                     struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(handle, strlen(handle));
    struct kage_buf list = {0};

    for (size_t i = 0; i < n; i++)
        kage_buf_addf(&list, "%s%s (%s, %s)", i ? ", " : "", vms[i].id, vms[i].name,
                      kage_vm_state_name(vms[i].state));
    if (found)
        kage_error_set(err, KAGE_CLASS_HOST, "'%s' is more than one machine; use an id of: %s",
                       shown, list.data);
    else if (n)
        kage_error_set(err, KAGE_CLASS_HOST, "there is no machine '%s'; there are: %s", shown,
                       list.data);
    else
        kage_error_set(err, KAGE_CLASS_HOST,
                       "there is no machine '%s', nor any other; `kage start` makes one", shown);
    kage_buf_done(&list);
    return -1;
}

int kage_vm_find(const char *handle, struct kage_vm *ret, struct kage_error *err)
{
    struct kage_vm *vms, *hit = NULL;
    size_t n, found = 0;

    if (kage_vm_list(&vms, &n, err) < 0)
        return -1;
    /* Of machines with one name, the one that lives is meant. */
    for (int how = 0; how < 4 && !found && *handle; how++) {
        for (int live = 1; live >= 0 && !found; live--) {
            for (size_t i = 0; i < n; i++) {
                if (matches(&vms[i], handle, how) && (vms[i].owner != 0) == live) {
                    hit = &vms[i];
                    found++;
                }
            }
        }
    }
    if (found != 1) {
        not_found(handle, vms, n, found, err);
        kage_vm_list_free(vms, n);
        return -1;
    }
    *ret = *hit;
    *hit = (struct kage_vm){0};
    kage_vm_list_free(vms, n);
    return 0;
}

int kage_vm_find_running(const char *handle, struct kage_vm *ret, struct kage_error *err)
{
    struct kage_vm vm = {0};

    if (kage_vm_find(handle, &vm, err) < 0)
        return -1;
    if (vm.state != KAGE_VM_RUNNING || !*vm.token) {
        kage_error_set(err, KAGE_CLASS_HOST, "machine %s (%s) is not running: %s", vm.id, vm.name,
                       vm.reason                      ? vm.reason
                       : vm.state == KAGE_VM_STARTING ? "it is still starting"
                                                      : kage_vm_state_name(vm.state));
        kage_vm_done(&vm);
        return -1;
    }
    *ret = vm;
    return 0;
}

/* ---- the owner's side ---- */

int kage_vm_create(struct kage_vm *vm, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_vm_base(err);
    uint32_t random;

    if (!base)
        return -1;
    for (;;) {
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot get random bytes");
        free(vm->id);
        free(vm->folder);
        vm->id = kage_asprintf("%08x", random);
        vm->folder = kage_asprintf("%s/%s", base, vm->id);
        if (mkdir(vm->folder, 0700) == 0)
            break;
        if (errno != EEXIST)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make %s", vm->folder);
    }
    vm->started = time(NULL);
    vm->owner = getpid();
    if (take_lock(vm, err) < 0) {
        rmdir(vm->folder);
        return -1;
    }
    return kage_vm_write(vm, err);
}

int kage_vm_write(const struct kage_vm *vm, struct kage_error *err)
{
    cJSON *root = cJSON_CreateObject();
    char *text;
    int r;

    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddStringToObject(root, "id", vm->id);
    cJSON_AddStringToObject(root, "name", vm->name);
    cJSON_AddStringToObject(root, "state", kage_vm_state_name(vm->state));
    if (vm->reason)
        cJSON_AddStringToObject(root, "reason", vm->reason);
    if (vm->port)
        cJSON_AddNumberToObject(root, "port", vm->port);
    cJSON_AddNumberToObject(root, "started", (double)vm->started);
    cJSON_AddStringToObject(root, "image", vm->image);
    if (vm->spec)
        cJSON_AddStringToObject(root, "spec", vm->spec);
    cJSON_AddStringToObject(root, "accelerator", vm->accel);
    cJSON_AddBoolToObject(root, "network", vm->network);
    text = cJSON_Print(root);
    cJSON_Delete(root);
    r = 0;
    if (vm->state == KAGE_VM_RUNNING)
        r = write_whole(vm, "token", vm->token, strlen(vm->token), err);
    if (r == 0)
        r = write_whole(vm, "vm.json", text ? text : "", text ? strlen(text) : 0, err);
    cJSON_free(text);
    return r;
}

/* ---- the end ---- */

int kage_vm_remove_folder(const struct kage_vm *vm, struct kage_error *err)
{
    static const char *const names[] = {"token",           "token.part",  "vm.json",
                                        "vm.json.part",    "console.log", "console.log.part",
                                        "console.log.old", "lock"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        KAGE_CLEANUP(kage_freep) char *path = in(vm, names[i]);

        if (unlink(path) < 0 && errno != ENOENT)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot remove %s", path);
    }
    if (rmdir(vm->folder) < 0 && errno != ENOENT)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot remove %s", vm->folder);
    return 0;
}

int kage_vm_remove(const struct kage_vm *vm, struct kage_error *err)
{
    if (holder(vm) > 0)
        return kage_error_set(err, KAGE_CLASS_HOST, "machine %s lives; stop it first", vm->id);
    return kage_vm_remove_folder(vm, err);
}

int kage_vm_signal_owner(const struct kage_vm *vm, int signo, struct kage_error *err)
{
    pid_t pid = holder(vm);
    KAGE_CLEANUP(kage_closep) int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    /* Still the holder once the descriptor is open: then the descriptor is of the owner, whatever
     * happens to the number later. */
    if (fd < 0 || holder(vm) != pid)
        return 1;
    if (syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) < 0)
        return errno == ESRCH ? 1
                              : kage_error_errno(err, KAGE_CLASS_HOST, errno,
                                                 "cannot signal the owner of machine %s", vm->id);
    return 0;
}

int kage_vm_wait_end(const struct kage_vm *vm, unsigned timeout_ms)
{
    uint64_t end = kage_now_ms() + timeout_ms;
    struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};

    while (holder(vm) > 0) {
        if (kage_now_ms() >= end)
            return 1;
        nanosleep(&nap, NULL);
    }
    return 0;
}
