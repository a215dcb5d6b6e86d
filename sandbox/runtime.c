/*
 * The little of a C library that the helper uses, without the start-up of one.
 *
 * A static glibc program makes a dozen system calls, picks string functions for
 * the processor and touches some thirty pages before main(). In an emulated
 * guest each block of code that runs for the first time has to be translated as
 * well, and all of the helper's does, once per machine. Measured under QEMU's
 * TCG with an empty command, with glibc and with this: 28 and 21 ms for the first
 * command of a machine, 6.4 and 5.6 ms for later ones. So the program links this
 * instead; the sanitizer builds and the unit tests use the same sources with the
 * real library.
 *
 * The declarations are libc's own, so a signature that differs does not compile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- start ---- */

int main(int argc, char **argv);
_Noreturn void kage_runtime_start(long *stack) __attribute__((used));

char **environ;

static _Noreturn void end_process(int code)
{
    for (;;)
        syscall(SYS_exit_group, code);
}

#if defined(__x86_64__)
#include <asm/prctl.h>

__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call kage_runtime_start\n");

/* Where the compiler looks for the stack protector's secret: 0x28 into what FS
 * points to (x86-64 ABI supplement, thread-local storage). */
static struct {
    long reserved[5];
    uintptr_t canary;
} thread;

static __attribute__((always_inline)) inline void set_canary(uintptr_t canary)
{
    long result;
    thread.canary = canary;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"(&thread)
                     : "rcx", "r11", "memory");
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl kage_runtime_start\n");

uintptr_t __stack_chk_guard;

static __attribute__((always_inline)) inline void set_canary(uintptr_t canary)
{
    __stack_chk_guard = canary;
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#endif

/* The stack holds argc, argv, NULL, environment, NULL, auxiliary vector. */
__attribute__((no_stack_protector)) void kage_runtime_start(long *stack)
{
    int argc = (int)stack[0];
    char **argv = (char **)(stack + 1);
    uintptr_t canary = 0;
    environ = argv + argc + 1;
    char **end = environ;
    while (*end)
        end++;
    for (const uintptr_t *aux = (const uintptr_t *)(end + 1); aux[0] != 0; aux += 2) {
        if (aux[0] == 25) /* AT_RANDOM, linux/auxvec.h: 16 random bytes */
            canary = *(const uintptr_t *)aux[1];
    }
    /* A zero byte first stops string functions from reading or writing it. */
    set_canary(canary & ~(uintptr_t)0xff);
    end_process(main(argc, argv));
}

_Noreturn void __stack_chk_fail(void);
void __stack_chk_fail(void)
{
    static const char text[] = "sandbox-helper: stack smashed\n";
    call(SYS_write, STDERR_FILENO, (long)text, sizeof text - 1, 0, 0, 0);
    end_process(125);
}

/* ---- system calls ---- */

/* One for init and the command's process: they never run at the same time. */
static int error_number;

int *__errno_location(void)
{
    return &error_number;
}

static long checked(long result)
{
    if (result >= 0 || result < -4095)
        return result;
    error_number = (int)-result;
    return -1;
}

#define CALL(nr, a, b, c, d, e, f)                                                                 \
    checked(call(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))

long syscall(long nr, ...)
{
    long a[6];
    va_list ap;
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    return CALL(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void _exit(int code)
{
    end_process(code);
}

int access(const char *path, int mode)
{
    return (int)CALL(SYS_faccessat, AT_FDCWD, path, mode, 0, 0, 0);
}

int chdir(const char *path)
{
    return (int)CALL(SYS_chdir, path, 0, 0, 0, 0, 0);
}

int close(int fd)
{
    return (int)CALL(SYS_close, fd, 0, 0, 0, 0, 0);
}

int close_range(unsigned first, unsigned last, int flags)
{
    return (int)CALL(SYS_close_range, first, last, flags, 0, 0, 0);
}

int dup2(int fd, int to)
{
    return (int)CALL(SYS_dup3, fd, to, 0, 0, 0, 0);
}

int execve(const char *path, char *const argv[], char *const envp[])
{
    return (int)CALL(SYS_execve, path, argv, envp, 0, 0, 0);
}

int fcntl(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    long arg = va_arg(ap, long);
    va_end(ap);
    return (int)CALL(SYS_fcntl, fd, command, arg, 0, 0, 0);
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    return (int)CALL(SYS_prlimit64, 0, resource, NULL, limit, 0, 0);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return (int)CALL(SYS_prlimit64, 0, resource, limit, NULL, 0, 0);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    long arg = va_arg(ap, long);
    va_end(ap);
    return (int)CALL(SYS_ioctl, fd, request, arg, 0, 0, 0);
}

int kill(pid_t pid, int sig)
{
    return (int)CALL(SYS_kill, pid, sig, 0, 0, 0, 0);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data)
{
    return (int)CALL(SYS_mount, source, target, type, flags, data, 0);
}

/* The helper creates no files, so there is never a mode. */
int open(const char *path, int flags, ...)
{
    return (int)CALL(SYS_openat, AT_FDCWD, path, flags, 0, 0, 0);
}

/* Size of the kernel's signal sets, which sigset_t begins with. */
enum { KERNEL_SIGSET_SIZE = 8 };

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    return (int)CALL(SYS_ppoll, fds, n, timeout, mask, KERNEL_SIGSET_SIZE, 0);
}

int prctl(int option, ...)
{
    long a[4];
    va_list ap;
    va_start(ap, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    return (int)CALL(SYS_prctl, option, a[0], a[1], a[2], a[3], 0);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    return CALL(SYS_recvfrom, fd, data, size, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    return CALL(SYS_recvmsg, fd, msg, flags, 0, 0, 0);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    return CALL(SYS_sendto, fd, data, size, flags, NULL, 0);
}

int sethostname(const char *name, size_t len)
{
    return (int)CALL(SYS_sethostname, name, len, 0, 0, 0, 0);
}

int setns(int fd, int kind)
{
    return (int)CALL(SYS_setns, fd, kind, 0, 0, 0, 0);
}

pid_t setsid(void)
{
    return (pid_t)CALL(SYS_setsid, 0, 0, 0, 0, 0, 0);
}

int sigemptyset(sigset_t *set)
{
    memset(set, 0, sizeof *set);
    return 0;
}

int sigaddset(sigset_t *set, int sig)
{
    set->__val[0] |= 1UL << (sig - 1);
    return 0;
}

int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return (int)CALL(SYS_rt_sigprocmask, how, set, old, KERNEL_SIGSET_SIZE, 0, 0);
}

int socket(int family, int type, int protocol)
{
    return (int)CALL(SYS_socket, family, type, protocol, 0, 0, 0);
}

mode_t umask(mode_t mask)
{
    return (mode_t)CALL(SYS_umask, mask, 0, 0, 0, 0, 0);
}

int unshare(int flags)
{
    return (int)CALL(SYS_unshare, flags, 0, 0, 0, 0, 0);
}

ssize_t read(int fd, void *data, size_t size)
{
    return CALL(SYS_read, fd, data, size, 0, 0, 0);
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    return (pid_t)CALL(SYS_wait4, pid, status, options, NULL, 0, 0);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return CALL(SYS_write, fd, data, size, 0, 0, 0);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return CALL(SYS_writev, fd, iov, n, 0, 0, 0);
}

/* ---- strings ---- */

void *memset(void *to, int c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = (char)c;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memccpy(void *restrict to, const void *restrict from, int c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((char *)to)[i] = ((const char *)from)[i];
        if (((const char *)from)[i] == (char)c)
            return (char *)to + i + 1;
    }
    return NULL;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

void *memchr(const void *s, int c, size_t n)
{
    const unsigned char *p = s;
    for (; n > 0; p++, n--) {
        if (*p == (unsigned char)c)
            return (void *)p;
    }
    return NULL;
}

char *strchrnul(const char *s, int c)
{
    while (*s && *s != (char)c)
        s++;
    return (char *)s;
}

char *strchr(const char *s, int c)
{
    char *found = strchrnul(s, c);
    return *found == (char)c ? found : NULL;
}

char *getenv(const char *name)
{
    size_t len = strlen(name);
    for (char **entry = environ; *entry; entry++) {
        size_t i = 0;
        while (i < len && (*entry)[i] == name[i])
            i++;
        if (i == len && (*entry)[i] == '=')
            return *entry + len + 1;
    }
    return NULL;
}

/* Those that the helper's steps are known to meet. */
const char *strerrordesc_np(int errnum)
{
    static const struct {
        int errnum;
        const char *text;
    } table[] = {
        {EPERM, "Operation not permitted"},
        {ENOENT, "No such file or directory"},
        {EIO, "Input/output error"},
        {E2BIG, "Argument list too long"},
        {ENOEXEC, "Exec format error"},
        {EBADF, "Bad file descriptor"},
        {EAGAIN, "Resource temporarily unavailable"},
        {ENOMEM, "Cannot allocate memory"},
        {EACCES, "Permission denied"},
        {EFAULT, "Bad address"},
        {EBUSY, "Device or resource busy"},
        {ENOTDIR, "Not a directory"},
        {EISDIR, "Is a directory"},
        {EINVAL, "Invalid argument"},
        {EMFILE, "Too many open files"},
        {ENOTTY, "Inappropriate ioctl for device"},
        {ETXTBSY, "Text file busy"},
        {ENOSPC, "No space left on device"},
        {ENAMETOOLONG, "File name too long"},
        {ENOSYS, "Function not implemented"},
        {ELOOP, "Too many levels of symbolic links"},
        {EUSERS, "Too many users"},
        {EOPNOTSUPP, "Operation not supported"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].errnum == errnum)
            return table[i].text;
    }
    return NULL;
}
