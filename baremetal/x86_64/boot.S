/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From whatever started us to C in 64-bit mode. One ELF file is entered in two ways, both in 32-bit protected
 * mode with paging off and the loader's information in ebx:
 *   PVH         (Xen x86/HVM direct boot ABI) at pvh_start, named by the ELF note below
 *   Multiboot2  (specification 2.0, 3.3) at chalk_image_entry
 * The other processors enter by `startup`, in real mode, each when it is given something to run.
 */

#define MULTIBOOT2_MAGIC     0xe85250d6 /* Multiboot2 3.1.2 */
#define XEN_PHYS32_ENTRY     18         /* Xen elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY */
#define STACK_SIZE           0x80000

    .section .multiboot2, "a"
    .balign 8
header:
    .long MULTIBOOT2_MAGIC, 0 /* i386, 32-bit protected mode */
    .long header_end - header
    .long -(MULTIBOOT2_MAGIC + (header_end - header))
    .short 6, 0 /* modules are page-aligned, 3.1.11 */
    .long 8
    /* Where the file goes, 3.1.5 and 3.1.6: GRUB refuses to load an ELF file that keeps its relocations. */
    .short 2, 0
    .long 24
    .long header, chalk_image_start, chalk_data_end, chalk_image_end
    .short 3, 0
    .long 12
    .long chalk_image_entry
    .balign 8
    .short 0, 0 /* end of tags */
    .long 8
header_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, XEN_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start

    .section .text.boot, "ax"
    .code32
    .globl chalk_image_entry, pvh_start
    .type chalk_image_entry, @function
    .type pvh_start, @function
pvh_start:
    mov $0, %edi
    jmp 1f
chalk_image_entry:
    mov %eax, %edi /* the loader's magic; boot.c checks it */
1:  cli
    cld
    mov %ebx, %esi /* cpuid changes ebx */
    mov $main_stack_top, %esp

    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    test $(1 << 29), %edx /* LM, SDM vol. 2 CPUID */
    jz no_long_mode

    /* The first tables: 4 GiB identity-mapped by 2 MiB pages, present and writable. memory.c makes the real ones. */
    movl $boot_level3 + 3, boot_level4
    mov $boot_level2 + 3, %eax
    xor %ecx, %ecx
2:  mov %eax, boot_level3(, %ecx, 8)
    add $4096, %eax
    inc %ecx
    cmp $4, %ecx
    jb 2b
    mov $0x83, %eax
    xor %ecx, %ecx
3:  mov %eax, boot_level2(, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $2048, %ecx
    jb 3b

    mov $start_64, %ebp
    /*
     * To 64-bit mode, and on at ebp. SDM vol. 3 10.8.5: PAE, page tables, LME, paging. Caches on; SSE usable (EM clear,
     * MP set, OSFXSR). CR4 holds nothing else: a firmware's LA57 would change what the tables mean.
     */
enter_64:
    mov $0x620, %eax
    mov %eax, %cr4
    mov $boot_level4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x60000004, %eax
    or $0x80000003, %eax
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $0x8, $in_64

no_long_mode:
    mov $no_long_mode_text, %esi
    mov $0x3f8, %dx
4:  lodsb
    test %al, %al
    jz 5f
    out %al, %dx
    jmp 4b
5:  mov $1, %al
    out %al, $0xf4
6:  hlt
    jmp 6b

    .code64
in_64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov %ebp, %eax
    xor %ebp, %ebp /* the end of every backtrace */
    jmp *%rax

start_64:
    mov $main_stack_top, %esp
    mov %edi, %edi
    mov %esi, %esi
    call machine_start
    ud2

startup_64:
    mov cores_starting_stack, %rsp
    call core_begin
    ud2

    /*
     * Where another processor begins (SDM vol. 3 9.4.4): copied to a page below 1 MiB, its code segment starts there.
     * It runs on the first tables, which have all that it needs and are there until the end.
     */
    .code16
    .globl startup, startup_end
startup:
    cli
    lgdtl %cs:(startup_gdt_pointer - startup)
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x18, $startup_32
startup_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt
startup_end:

    .code32
startup_32:
    mov $0x10, %eax
    mov %eax, %ds
    mov $startup_64, %ebp
    jmp enter_64

    .section .rodata.boot, "a"
no_long_mode_text:
    .asciz "chalk: this processor has no 64-bit mode; Chalk needs x86-64-v2 (QEMU: -cpu max)\n"
    .balign 8
    .globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* 0x08: code, 64-bit */
    .quad 0x00cf93000000ffff /* 0x10: data */
    .quad 0x00cf9b000000ffff /* 0x18: code, 32-bit: on the way here from real mode */
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_level4:
    .skip 4096
boot_level3:
    .skip 4096
boot_level2:
    .skip 4 * 4096
    .globl main_stack_guard, main_stack_top
main_stack_guard:
    .skip 4096
    .skip STACK_SIZE
main_stack_top:

    .section .note.GNU-stack, "", @progbits
