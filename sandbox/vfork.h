#pragma once

#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/types.h>

/*
 * clone3() with the meaning of vfork(): args->flags must have CLONE_VM and
 * CLONE_VFORK. The child goes on in the parent's memory and stack, and the
 * parent sleeps until the child has exec'd or ended. The child must not return
 * from the function that called this one, which therefore becomes part of it.
 * Returns a negative errno on failure.
 */
static inline __attribute__((always_inline)) pid_t kage_vfork(const struct clone_args *args)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(args), "S"(sizeof *args)
                     : "rcx", "r11", "memory");
    return (pid_t)result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    return (pid_t)x0;
#else
#error "no clone3() for this architecture"
#endif
}

/*
 * What the child wrote before it ended is seen by the parent, though to the
 * compiler no path leads there: the child's ends in _exit(). This stands around
 * the call, for each object that the child writes to.
 */
static inline __attribute__((always_inline)) void kage_vfork_shares(void *object)
{
    __asm__ volatile("" : : "r"(object) : "memory");
}
