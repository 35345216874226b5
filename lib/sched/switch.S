/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From one stack to another. What a function call preserves is saved on the stack that is left (System V psABI
 * x86-64 3.2.1): rbx, rbp, r12-r15, the control bits of MXCSR and the x87 control word. Loading those two is slow,
 * so it is done only when they differ. Nothing here needs privilege.
 */

/*
 * The frame that lies at the stack pointer of what does not run; task.c makes the first one. It is written and read
 * where the stack pointer is not yet, or not any more: that is the red zone.
 */
        .set    MXCSR, 0
        .set    X87, 4
        .set    R15, 8
        .set    R14, 16
        .set    R13, 24
        .set    R12, 32
        .set    RBX, 40
        .set    RBP, 48
        .set    RIP, 56 /* the return address */
        .set    FRAME, 64
        .set    CONTROL, 0xffc0 /* SDM vol. 1 10.2.3: the bits below are exceptions that were seen */

        .section .text.chalk_switch, "ax", @progbits
        .globl  chalk_switch
        .hidden chalk_switch
        .type   chalk_switch, @function

/*
 * int chalk_switch(void **from, void *to, int result): leaves the stack pointer in *from and goes on at `to`, where the
 * call that had left it returns `result`. The return is a jump: the processor predicts a `ret` from the calls of the
 * stack that was left.
 */
chalk_switch:
        leaq    -RIP(%rsp), %rcx
        movq    %rbp, RBP(%rcx)
        movq    %rbx, RBX(%rcx)
        movq    %r12, R12(%rcx)
        movq    %r13, R13(%rcx)
        movq    %r14, R14(%rcx)
        movq    %r15, R15(%rcx)
        stmxcsr MXCSR(%rcx)
        fnstcw  X87(%rcx)
        movq    %rcx, (%rdi)
        movl    MXCSR(%rcx), %eax
        movzwl  X87(%rcx), %ecx
        xorl    MXCSR(%rsi), %eax
        testl   $CONTROL, %eax
        jne     .Lcontrol_words
        cmpw    X87(%rsi), %cx
        jne     .Lcontrol_words
.Lregisters:
        movq    R15(%rsi), %r15
        movq    R14(%rsi), %r14
        movq    R13(%rsi), %r13
        movq    R12(%rsi), %r12
        movq    RBX(%rsi), %rbx
        movq    RBP(%rsi), %rbp
        movq    RIP(%rsi), %rcx
        leaq    FRAME(%rsi), %rsp
        movl    %edx, %eax
        jmp     *%rcx
.Lcontrol_words:
        ldmxcsr MXCSR(%rsi)
        fldcw   X87(%rsi)
        jmp     .Lregisters
        .size   chalk_switch, . - chalk_switch

        .section .text.chalk_task_first, "ax", @progbits
        .globl  chalk_task_first
        .hidden chalk_task_first
        .type   chalk_task_first, @function

/* Where a task begins, with its handle in rbx and rbp 0, so that whoever walks the frames finds their end. */
chalk_task_first:
        movq    %rbx, %rdi
        call    chalk_task_main
        ud2
        .size   chalk_task_first, . - chalk_task_first

        .section .note.GNU-stack, "", @progbits
