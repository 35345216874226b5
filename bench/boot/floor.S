/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The least that a virtual machine can do: entered by PVH, prints one line, exits. What an image needs beyond
 * this is what booting it costs.
 */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad _start

    .text
    .code32
    .globl _start
_start:
    mov $0x3f8, %dx
    mov $line, %esi
1:  lodsb
    test %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  xor %eax, %eax
    mov $0xf4, %dx
    outb %al, %dx
    cli
3:  hlt
    jmp 3b
line: .asciz "hello\n"

    .section .note.GNU-stack, "", @progbits
