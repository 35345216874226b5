/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the processor goes when something happens: one stub a vector, and the target of libc's `syscall`.
 * Every vector has a stack of its own (cpu.c), so that the red zone below the interrupted stack survives. C
 * called from here uses general registers only (see meson.build): vector registers need no saving.
 */

    .text
    .globl trap_stubs
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    /* those that push an error code themselves: SDM vol. 3 table 6-1 */
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push $0
    .endif
    push $vector
    .if vector < 32
    jmp trap_exception
    .else
    jmp trap_interrupt
    .endif
    .set vector, vector + 1
    .endr

/* struct trap_frame of machine.h, bottom up */
    .type trap_exception, @function
trap_exception:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    call panic_exception
    ud2

    .type trap_interrupt, @function
trap_interrupt:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    mov 72(%rsp), %rdi /* the vector; the processor aligned the stack, and 16 words are on it now */
    cld
    call interrupt_handle
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

/*
 * Linux's convention: number in rax, arguments in rdi rsi rdx r10 r8 r9, result in rax; rcx (the return address)
 * and r11 are the caller's to lose. The caller may keep data in the 128 bytes below its stack pointer.
 */
    .globl trap_syscall
    .type trap_syscall, @function
trap_syscall:
    lea -128(%rsp), %rsp
    push %rcx
    push %rdi
    push %rsi
    push %rdx
    push %r8
    push %r9
    push %r10
    push %rbp
    mov %rsp, %rbp
    and $-16, %rsp
    mov %r8, %r9 /* the sixth argument (mmap's offset) is of no use to anyone here */
    mov %r10, %r8
    mov %rdx, %rcx
    mov %rsi, %rdx
    mov %rdi, %rsi
    mov %rax, %rdi
    call libc_system_call
    mov %rbp, %rsp
    pop %rbp
    pop %r10
    pop %r9
    pop %r8
    pop %rdx
    pop %rsi
    pop %rdi
    pop %rcx
    lea 128(%rsp), %rsp
    jmp *%rcx

    .section .note.GNU-stack, "", @progbits
