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
    /* those that push an error code themselves: SDM vol. 3 table 6-1; 29 and 30 are AMD's, APM vol. 2 8.2 */
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push $0
    .endif
    push $vector
    .if vector == 2
    jmp trap_nmi
    .elseif vector < 32
    jmp trap_exception
    .else
    jmp trap_interrupt
    .endif
    .set vector, vector + 1
    .endr

    .macro push_all /* struct trap_frame of machine.h, bottom up */
    .irp register, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    push %\register
    .endr
    .endm

    .type trap_exception, @function
trap_exception:
    push_all
    mov %rsp, %rdi
    cld
    call panic_exception
    ud2

    .type trap_nmi, @function
trap_nmi:
    push_all
    mov %rsp, %rdi
    cld
    call core_interrupted
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
    pop %\register
    .endr
    add $16, %rsp
    iretq

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
 * The one place where interrupts are taken while there is nothing to do. `sti` has effect after the instruction that
 * follows it (SDM vol. 2 STI), so that an interrupt ends the hlt and can't come before it; where a non-maskable one came
 * before it, cores.c goes on behind it.
 */
    .globl trap_sleep, trap_sleep_halt
    .type trap_sleep, @function
trap_sleep:
    sti
trap_sleep_halt:
    hlt
    cli
    ret

/*
 * Linux's convention: number in rax, arguments in rdi rsi rdx r10 r8 r9, result in rax; rcx (the return address)
 * and r11 are the caller's to lose. The caller may keep data in the 128 bytes below its stack pointer.
 */
    .globl trap_syscall
    .type trap_syscall, @function
trap_syscall:
    lea -128(%rsp), %rsp
    /* struct system_call of machine.h, bottom up */
    push %rcx
    push %r9
    push %r8
    push %r10
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    mov %rsp, %rbp
    and $-16, %rsp
    mov %rax, %rdi
    lea 8(%rbp), %rsi
    call libc_system_call
    mov %rbp, %rsp
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %r10
    pop %r8
    pop %r9
    pop %rcx
    lea 128(%rsp), %rsp
    jmp *%rcx

/* core_resume(rip, rsp, r9): a thread's first instructions, as clone(2) promises them: 0 was returned. */
    .globl core_resume
    .type core_resume, @function
core_resume:
    mov %rsi, %rsp
    mov %rdx, %r9
    mov %rdi, %rcx
    xor %eax, %eax
    xor %ebp, %ebp
    jmp *%rcx

    .section .note.GNU-stack, "", @progbits
