#include "runner/host/probe_guest.h"

#include <elf.h>
#include <string.h>

/*
 * The x86_64 guest, entered as PVH has it (32-bit protected mode, no paging;
 * https://xenbits.xen.org/docs/unstable/misc/pvh.html), which is also the way
 * kage's own kernels start. Stages, each announced on port 0xe9 when it is done:
 *   A  entered
 *   B  CPUID tells of long mode
 *   C  MSRs every kernel touches can be read and written
 *   D  paging and long mode
 *   E  an exception is delivered and returned from
 *   F  the serial port takes a character
 *   G  interrupts of the PIT arrive through the PIC
 *   H  interrupts of the local APIC's timer arrive
 *   I  80 MiB of memory keep what is written to them
 * It lies at 1 MiB and keeps its tables from 0x110000 on, in memory that QEMU
 * has zeroed. P(x) is where the label x is then.
 *
 * 7f 45 4c 46 and what else belongs to the file is put around it by elf_file().
 */
#ifdef __x86_64__
#define LOAD_AT "0x100000"
#define P(label) "(" label " - kage_probe_start + " LOAD_AT ")"
#define SAY(letter) "    movb $'" letter "', %al\n    outb %al, $0xe9\n"
/* A gate of the IDT at 0x114000: 64-bit interrupt gate, code segment 0x18. */
#define GATE(vector, handler)                                                                      \
    "    movl $" P(handler) ", %eax\n"                                                             \
                            "    movw %ax, 0x114000 + " vector " * 16\n"                           \
                            "    movw $0x18, 0x114002 + " vector " * 16\n"                         \
                            "    movw $0x8e00, 0x114004 + " vector " * 16\n"                       \
                            "    shrl $16, %eax\n"                                                 \
                            "    movw %ax, 0x114006 + " vector " * 16\n"

extern const unsigned char kage_probe_start[], kage_probe_end[];

__asm__(".pushsection .rodata\n"
        ".globl kage_probe_start, kage_probe_end\n"
        ".hidden kage_probe_start, kage_probe_end\n"
        "kage_probe_start:\n"
        ".code32\n"
        "    cli\n"
        "    cld\n" /**/
        SAY("A") "    lgdt " P("probe_gdtr") "\n"
                                             "    ljmp $0x08, $" P(
                                                 "probe_flat") "\n"
                                                               "probe_flat:\n"
                                                               "    movw $0x10, %ax\n"
                                                               "    movw %ax, %ds\n"
                                                               "    movw %ax, %es\n"
                                                               "    movw %ax, %ss\n"
                                                               "    movl $0x200000, %esp\n"

                                                               "    movl $0x80000001, %eax\n"
                                                               "    cpuid\n"
                                                               "    testl $1 << 29, %edx\n"
                                                               "    jz probe_fail32\n" /**/
        SAY("B")

        /* APIC base, TSC, MTRR capabilities, MISC_ENABLE, then PAT and SYSENTER_CS written too */
        "    movl $0x1b, %ecx\n    rdmsr\n"
        "    movl $0x10, %ecx\n    rdmsr\n"
        "    movl $0xfe, %ecx\n    rdmsr\n"
        "    movl $0x1a0, %ecx\n    rdmsr\n"
        "    movl $0x277, %ecx\n    rdmsr\n    wrmsr\n"
        "    movl $0x174, %ecx\n    rdmsr\n    wrmsr\n" /**/
        SAY("C")

        /* identity map in pages of 2 MiB: the first GiB, and the fourth for the APIC */
        "    movl $0x111003, 0x110000\n"
        "    movl $0x112003, 0x111000\n"
        "    movl $0x113003, 0x111018\n"
        "    xorl %ecx, %ecx\n"
        "1:  movl %ecx, %eax\n"
        "    shll $21, %eax\n"
        "    orl $0x83, %eax\n"
        "    movl %eax, 0x112000(, %ecx, 8)\n"
        "    addl $0xc0000010, %eax\n" /* uncached */
        "    movl %eax, 0x113000(, %ecx, 8)\n"
        "    incl %ecx\n"
        "    cmpl $512, %ecx\n"
        "    jne 1b\n"
        "    movl %cr4, %eax\n"
        "    orl $0x620, %eax\n" /* PAE, SSE */
        "    movl %eax, %cr4\n"
        "    movl $0x110000, %eax\n"
        "    movl %eax, %cr3\n"
        "    movl $0xc0000080, %ecx\n" /* EFER.LME */
        "    rdmsr\n"
        "    orl $0x100, %eax\n"
        "    wrmsr\n"
        "    movl %cr0, %eax\n"
        "    andl $~0xc, %eax\n" /* FPU present */
        "    orl $0x80000003, %eax\n"
        "    movl %eax, %cr0\n"
        "    ljmp $0x18, $" P("probe_long") "\n"
                                            "probe_fail32:\n"
                                            "    movb $0x11, %al\n"
                                            "    outb %al, $0xf4\n"
                                            "    hlt\n"

                                            ".code64\n"
                                            "probe_long:\n"
                                            "    pxor %xmm0, %xmm0\n" /**/
        SAY("D") GATE("6", "probe_ud") GATE("8", "probe_fail") GATE("13", "probe_fail")
            GATE("14", "probe_fail") GATE("0x20", "probe_pit") GATE("0x27", "probe_spurious")
                GATE("0x30", "probe_apic")
                    GATE("0xff",
                         "probe_spurious") "    lidt " P("probe_idtr") "\n"
                                                                       "    xorl %r13d, %r13d\n"
                                                                       "    ud2\n"
                                                                       "    cmpl $1, %r13d\n"
                                                                       "    jne probe_fail\n" /**/
        SAY("E")

            "    movl $1000000, %ecx\n"
            "    movw $0x3fd, %dx\n"
            "1:  inb %dx, %al\n"
            "    testb $0x20, %al\n" /* transmitter empty */
            "    jnz 2f\n"
            "    loop 1b\n"
            "    jmp probe_fail\n"
            "2:  movw $0x3f8, %dx\n"
            "    movb $'k', %al\n"
            "    outb %al, %dx\n" /**/
        SAY("F")

        /* APIC on, LINT0 hands the PIC's interrupts through */
        "    movl $0xfee00000, %ebx\n"
        "    movl $0x1ff, 0xf0(%rbx)\n"
        "    movl $0x700, 0x350(%rbx)\n"
        "    movb $0x11, %al\n    outb %al, $0x20\n    outb %al, $0xa0\n"
        "    movb $0x20, %al\n    outb %al, $0x21\n"
        "    movb $0x28, %al\n    outb %al, $0xa1\n"
        "    movb $4, %al\n    outb %al, $0x21\n"
        "    movb $2, %al\n    outb %al, $0xa1\n"
        "    movb $1, %al\n    outb %al, $0x21\n    outb %al, $0xa1\n"
        "    movb $0xfe, %al\n    outb %al, $0x21\n"
        "    movb $0xff, %al\n    outb %al, $0xa1\n"
        /* 1193182 Hz / 11932: 100 interrupts a second */
        "    movb $0x34, %al\n    outb %al, $0x43\n"
        "    movb $0x9c, %al\n    outb %al, $0x40\n"
        "    movb $0x2e, %al\n    outb %al, $0x40\n"
        "    xorl %r15d, %r15d\n"
        "1:  sti\n"
        "    hlt\n"
        "    cmpl $3, %r15d\n"
        "    jb 1b\n"
        "    cli\n"
        "    movb $0xff, %al\n    outb %al, $0x21\n" /**/
        SAY("G")

        /* divide by 1, periodic, vector 0x30 */
        "    movl $0xb, 0x3e0(%rbx)\n"
        "    movl $0x20030, 0x320(%rbx)\n"
        "    movl $5000000, 0x380(%rbx)\n"
        "    xorl %r14d, %r14d\n"
        "1:  sti\n"
        "    hlt\n"
        "    cmpl $3, %r14d\n"
        "    jb 1b\n"
        "    cli\n"
        "    movl $0x10000, 0x320(%rbx)\n" /**/
        SAY("H")

            "    movl $0x1000000, %edi\n"
            "1:  movq %rdi, (%rdi)\n"
            "    addl $0x1000, %edi\n"
            "    cmpl $0x6000000, %edi\n"
            "    jb 1b\n"
            "    movl $0x1000000, %edi\n"
            "1:  cmpq %rdi, (%rdi)\n"
            "    jne probe_fail\n"
            "    addl $0x1000, %edi\n"
            "    cmpl $0x6000000, %edi\n"
            "    jb 1b\n" /**/
        SAY("I") "    movb $0x21, %al\n"
                 "    outb %al, $0xf4\n"
                 "1:  hlt\n"
                 "    jmp 1b\n"

                 "probe_fail:\n"
                 "    movb $0x11, %al\n"
                 "    outb %al, $0xf4\n"
                 "1:  hlt\n"
                 "    jmp 1b\n"
                 "probe_ud:\n"
                 "    incl %r13d\n"
                 "    addq $2, (%rsp)\n" /* over the ud2 */
                 "    iretq\n"
                 "probe_pit:\n"
                 "    incl %r15d\n"
                 "    pushq %rax\n"
                 "    movb $0x20, %al\n"
                 "    outb %al, $0x20\n"
                 "    popq %rax\n"
                 "    iretq\n"
                 "probe_apic:\n"
                 "    incl %r14d\n"
                 "    movl $0, 0xb0(%rbx)\n"
                 "probe_spurious:\n"
                 "    iretq\n"

                 ".balign 8\n"
                 "probe_gdt:\n"
                 "    .quad 0\n"
                 "    .quad 0x00cf9a000000ffff\n" /* 0x08 code, 32 bits */
                 "    .quad 0x00cf92000000ffff\n" /* 0x10 data */
                 "    .quad 0x00af9a000000ffff\n" /* 0x18 code, 64 bits */
                 "probe_gdtr:\n"
                 "    .word probe_gdtr - probe_gdt - 1\n"
                 "    .long " P("probe_gdt") "\n"
                                             "probe_idtr:\n"
                                             "    .word 0xfff\n"
                                             "    .quad 0x114000\n"
                                             "kage_probe_end:\n"
                                             ".popsection\n");

#define PVH_ENTRY 0x100000u
#define XEN_ELFNOTE_PHYS32_ENTRY 18 /* xen/include/public/elfnote.h */

static void elf_file(const unsigned char *code, size_t len, struct kage_buf *out)
{
    struct {
        Elf64_Ehdr head;
        Elf64_Phdr load, note;
        Elf64_Nhdr note_head;
        char note_name[4];
        uint64_t entry;
    } file = {
        .head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT},
                 .e_type = ET_EXEC,
                 .e_machine = EM_X86_64,
                 .e_version = EV_CURRENT,
                 .e_entry = PVH_ENTRY,
                 .e_phoff = sizeof(Elf64_Ehdr),
                 .e_ehsize = sizeof(Elf64_Ehdr),
                 .e_phentsize = sizeof(Elf64_Phdr),
                 .e_phnum = 2},
        .load = {.p_type = PT_LOAD,
                 .p_flags = PF_R | PF_W | PF_X,
                 .p_offset = sizeof(file),
                 .p_vaddr = PVH_ENTRY,
                 .p_paddr = PVH_ENTRY,
                 .p_filesz = len,
                 .p_memsz = len},
        .note = {.p_type = PT_NOTE, .p_align = 4},
        .note_head = {.n_namesz = 4, .n_descsz = 8, .n_type = XEN_ELFNOTE_PHYS32_ENTRY},
        .note_name = "Xen",
        .entry = PVH_ENTRY,
    };

    file.note.p_offset = (size_t)((char *)&file.note_head - (char *)&file);
    file.note.p_filesz = sizeof(file) - file.note.p_offset;
    file.note.p_memsz = file.note.p_filesz;
    kage_buf_add(out, &file, sizeof(file));
    kage_buf_add(out, code, len);
}
#endif

/*
 * The aarch64 guest, a raw image that QEMU starts at its first instruction (at
 * EL1 under KVM and HVF, both of which have PSCI behind hvc): waits until the
 * virtual counter moves on, then powers off.
 */
static const uint32_t aarch64_guest[] = {
    0xd53be041, /*    mrs  x1, cntvct_el0 */
    0xd53be042, /* 1: mrs  x2, cntvct_el0 */
    0xcb010042, /*    sub  x2, x2, x1 */
    0xf13ffc5f, /*    cmp  x2, #4095 */
    0x54ffffa3, /*    b.lo 1b */
    0xd2800100, /*    mov  x0, #8 */
    0xf2b08000, /*    movk x0, #0x8400, lsl #16: SYSTEM_OFF (Arm DEN 0022, 5.1) */
    0xd4000002, /*    hvc  #0 */
    0x14000000, /*    b    . */
};

bool kage_probe_guest(enum kage_arch arch, struct kage_buf *out)
{
#ifdef __x86_64__
    if (arch == KAGE_ARCH_X86_64) {
        elf_file(kage_probe_start, (size_t)(kage_probe_end - kage_probe_start), out);
        return true;
    }
#endif
    if (arch != KAGE_ARCH_AARCH64)
        return false;
    for (size_t i = 0; i < sizeof(aarch64_guest) / sizeof(aarch64_guest[0]); i++)
        for (int shift = 0; shift < 32; shift += 8) /* little endian on any host */
            kage_buf_addc(out, (char)(aarch64_guest[i] >> shift & 0xff));
    return true;
}

const char *kage_probe_stage(size_t n)
{
    /* What comes after each letter. */
    static const char *const doing[] = {
        "starting",
        "reading CPUID",
        "reading and writing MSRs",
        "turning on long mode",
        "taking an exception",
        "writing to the serial port",
        "waiting for interrupts of the PIT",
        "waiting for interrupts of the APIC timer",
        "writing and reading memory",
        "ending",
    };

    return doing[n < sizeof(doing) / sizeof(doing[0]) ? n : sizeof(doing) / sizeof(doing[0]) - 1];
}
