/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From one stack to another. What a function call preserves is saved on the stack that is left (System V psABI
 * x86-64 3.2.1): rbx, rbp, r12-r15, the control bits of MXCSR and the x87 control word. Loading those two is slow,
 * so it is done only when they differ. Nothing here needs privilege.
 */

/* The frame that lies at the stack pointer of what does not run; task.c makes the first one. */
        .set    MXCSR, 0
        .set    X87, 4
        .set    FRAME, 8
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
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        subq    $FRAME, %rsp
        stmxcsr MXCSR(%rsp)
        fnstcw  X87(%rsp)
        movl    MXCSR(%rsp), %eax
        movzwl  X87(%rsp), %ecx
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        xorl    MXCSR(%rsp), %eax
        testl   $CONTROL, %eax
        jne     .Lcontrol_words
        cmpw    X87(%rsp), %cx
        jne     .Lcontrol_words
.Lregisters:
        addq    $FRAME, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        popq    %rcx
        movl    %edx, %eax
        jmp     *%rcx
.Lcontrol_words:
        ldmxcsr MXCSR(%rsp)
        fldcw   X87(%rsp)
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
