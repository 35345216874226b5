; SPDX-License-Identifier: BSD-2-Clause
; The axioms of drivers/nvme/nvme.h about slots, by their names: that one does not hold is assumed, and has to be
; unsatisfiable.
(set-logic ALL)

; Of how many are taken. before and after: whether a slot is, in two states; count_...: of the slots below an index. What
; is said of counts of n slots is proved by induction: of none, and of one more than n.
(declare-fun before (Int) Bool)
(declare-fun after (Int) Bool)
(declare-fun count_before (Int) Int)
(declare-fun count_after (Int) Int)
(declare-const n Int)
(declare-const i Int)
(assert (and (<= 0 n) (<= 0 i)))
(assert (and (= (count_before 0) 0) (= (count_before (+ n 1)) (+ (count_before n) (ite (before n) 1 0)))))
(assert (and (= (count_after 0) 0) (= (count_after (+ n 1)) (+ (count_after n) (ite (after n) 1 0)))))
(define-fun some ((n Int)) Bool
  (and (<= 0 (count_before n)) (=> (and (< i n) (before i)) (< 0 (count_before n)))))
(define-fun one_less ((n Int)) Bool (= (count_after n) (- (count_before n) (ite (< i n) 1 0))))

(echo "some") (push)
(assert (not (and (some 0) (=> (some n) (some (+ n 1))))))
(check-sat) (pop)
(echo "one_less") (push)
(assert (and (before i) (not (after i)) (=> (distinct n i) (= (before n) (after n)))))
(assert (not (and (one_less 0) (=> (one_less n) (one_less (+ n 1))))))
(check-sat) (pop)

; Of bits: NVME_TAG_FREE is bit 16, NVME_TAG_RESULT is bit 17.
(declare-const a (_ BitVec 32))
(declare-const mask (_ BitVec 32))
(define-fun is_free ((tag (_ BitVec 32))) Bool (= ((_ extract 16 16) tag) #b1))

(echo "masked") (push)
(assert (not (and (bvule (bvand a mask) mask) (bvule (bvand a mask) a))))
(check-sat) (pop)
(echo "freed") (push)
(assert (not (is_free (bvor (bvand a #x0000ffff) #x00010000))))
(check-sat) (pop)
(echo "result") (push)
(assert (not (=> (bvult (bvand a (bvnot #x00020000)) #x00010000) (not (is_free a)))))
(check-sat) (pop)
