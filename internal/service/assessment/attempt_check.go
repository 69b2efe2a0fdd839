package assessment

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/question"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// The kinds of operations.
const (
	opAnswer = "answer"
	opCheck  = "check"
	opHint   = "hint"
	opGiveUp = "give_up"
	opFlag   = "flag"
	opUnflag = "unflag"
	opPage   = "page"
	opFinish = "finish"
)

var opKinds = []string{opAnswer, opCheck, opHint, opGiveUp, opFlag, opUnflag, opPage, opFinish}

// The verdicts that are told: of the log, and of what was not taken.
const (
	accepted  = "accepted"
	late      = "late"
	overtaken = "overtaken"
	tooLate   = "too_late"
	refused   = "refused"

	missing  = "missing"
	conflict = "conflict"
	invalid  = "invalid"
)

// counting reports whether what has the verdict counts by itself.
func counting(verdict string) bool { return verdict == accepted || verdict == late }

// sent is an operation as it was sent, ready for the log.
type sent struct {
	seq   int64
	kind  string
	slot  int32
	page  int32
	value []byte     // canonical JSON, nil for none
	at    *time.Time // by the client's clock
	place int        // in the batch
	op    *assessmentpb.Operation

	verdict, code, hint string
	lost                bool // it is taken nowhere
}

// same reports whether two operations of one number are one.
func (o *sent) same(p *sent) bool {
	return o.kind == p.kind && o.slot == p.slot && o.page == p.page && bytes.Equal(o.value, p.value)
}

// digest is what is compared with the log, which may be far away.
func digest(kind string, slot, page int32, value []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(kind + " " + strconv.Itoa(int(slot)) + " " + strconv.Itoa(int(page)) + " "))
	h.Write(value)
	return [32]byte(h.Sum(nil))
}

// stateful reports whether an operation acts on what was answered before it, so that
// it waits for what is missing of its client.
func (o *sent) stateful() bool {
	switch o.kind {
	case opCheck, opHint, opGiveUp, opPage, opFinish:
		return true
	default:
		return false
	}
}

// strand is what operations replace one another in: the answers of a question, or its
// flag.
func (o *sent) strand() string { return strandOf(o.kind, o.slot) }

func strandOf(kind string, slot int32) string {
	if kind == opFlag || kind == opUnflag {
		return "flag " + strconv.Itoa(int(slot))
	}
	return "answer " + strconv.Itoa(int(slot))
}

// readOperation looks at an operation by itself, but for its answer.
func readOperation(op *assessmentpb.Operation, place int) *sent {
	if op == nil {
		op = &assessmentpb.Operation{}
	}
	o := &sent{seq: op.GetClientSeq(), kind: op.GetKind(), slot: op.GetSlot(), page: op.GetPage(), place: place, op: op}
	malformed := func(hint string) *sent {
		o.verdict, o.code, o.hint, o.lost = invalid, codeMalformed, hint, true
		return o
	}
	switch {
	case o.seq < 1 || o.seq > maxClientSeq:
		return malformed("client_seq: from 1, one more than the one before.")
	case !slices.Contains(opKinds, o.kind):
		return malformed("kind: one of " + strings.Join(opKinds, ", ") + ".")
	case op.GetClientTime() != nil && !op.GetClientTime().IsValid():
		return malformed("client_time: not a time.")
	case (o.kind == opAnswer) != (op.GetAnswer() != nil):
		return malformed("answer: send it with the kind \"answer\", and with no other.")
	case (o.kind == opPage) != (o.page != 0) || o.page < 0:
		return malformed("page: send it with the kind \"page\", and with no other.")
	case (o.kind == opPage || o.kind == opFinish) != (o.slot == 0):
		return malformed("slot: name the question, and none for \"page\" and \"finish\".")
	case proto.Size(op.GetAnswer()) > question.MaxAnswer:
		o.verdict, o.code, o.hint, o.lost = invalid, "operation.too_large", "An answer has at most 256 KiB.", true
		return o
	}
	if op.GetClientTime() != nil {
		o.at = new(op.GetClientTime().AsTime().Truncate(time.Microsecond))
	}
	o.value = canonical(op.GetAnswer())
	return o
}

// Codes of what can't be taken.
const (
	codeMalformed = "operation.malformed"
	codeSlot      = "operation.no_question"
	codeKind      = "operation.kind"
	codeAnswer    = "operation.answer"
)

// fits looks at an operation as one of an attempt.
func (o *sent) fits(b *batch) error {
	if o.lost {
		return nil
	}
	o.verdict, o.code, o.hint = "", "", ""
	sl := b.layout.slot(o.slot)
	if o.slot != 0 && sl == nil {
		o.verdict, o.code, o.hint = invalid, codeSlot, "The attempt has no such question."
		return nil
	}
	switch o.kind {
	case opAnswer:
		in, err := b.service.instance(b.ctx, b.tx, sl.shown(), b.attempt.Engine, sl.seed())
		if err != nil {
			return err
		}
		if err := in.CheckAnswer(o.op.GetAnswer()); err != nil {
			e, ok := errors.AsType[*fault.Error](err)
			if !ok {
				return err
			}
			o.verdict, o.code, o.hint = invalid, codeAnswer, e.Message
			if len(e.Fields) > 0 {
				o.hint = "answer." + strings.TrimPrefix(e.Fields[0].Path, "answer.") + ": " + e.Fields[0].Hint
			}
		}
	case opPage:
		if !b.layout.sequential() {
			o.verdict, o.code, o.hint = invalid, codeKind, "Its pages are open in any order."
		}
	case opCheck, opHint, opGiveUp:
		if !sl.steps() {
			o.verdict, o.code, o.hint = invalid, codeKind, "This question is not checked while the attempt runs."
		}
	}
	return nil
}
