package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/audit/recordpb"
	"github.com/stoa-lms/stoa/internal/service/audit/auditpb"
)

// entry is a row of the log.
type entry struct {
	Sequence                     int64
	EntryID                      string
	At                           time.Time
	Service, Action              string
	ActorID, SessionID, TokenID  string
	Caller                       string
	ObjectID, CourseID, PersonID string
	Before, After, Reason        string
	RequestID, EventID           string
	Hash                         []byte
}

const columns = `sequence, entry_id, at, service, action, actor_id, session_id, token_id, caller,
	object_id, course_id, person_id, before, after, reason, request_id, event_id, hash`

// newEntry returns what a service told, in the next place behind the head.
func newEntry(e *recordpb.Recorded, head head) entry {
	out := entry{
		Sequence: head.Sequence + 1, EntryID: e.GetEntryId(), At: e.GetAt().AsTime(), Service: e.GetService(), Action: e.GetAction(),
		ActorID: e.GetActorId(), SessionID: e.GetSessionId(), TokenID: e.GetTokenId(), Caller: e.GetCaller(),
		ObjectID: e.GetObjectId(), CourseID: e.GetCourseId(), PersonID: e.GetPersonId(),
		Before: e.GetBefore(), After: e.GetAfter(), Reason: e.GetReason(), RequestID: e.GetRequestId(), EventID: e.GetEventId(),
	}
	out.Hash = out.hash(head.Hash)
	return out
}

// hash returns the SHA-256 of the hash of the entry before and of all fields,
// each as its length in eight bytes, big-endian, and its bytes. Numbers are
// decimal text, the time is in microseconds since 1970. docs/audit.md tells it to
// those who verify an export.
func (e entry) hash(before []byte) []byte {
	var b bytes.Buffer
	b.WriteString("stoa audit entry v1\n")
	b.Write(before)
	for _, field := range []string{
		strconv.FormatInt(e.Sequence, 10), e.EntryID, strconv.FormatInt(e.At.UnixMicro(), 10), e.Service, e.Action,
		e.ActorID, e.SessionID, e.TokenID, e.Caller, e.ObjectID, e.CourseID, e.PersonID,
		e.Before, e.After, e.Reason, e.RequestID, e.EventID,
	} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		b.Write(size[:])
		b.WriteString(field)
	}
	sum := sha256.Sum256(b.Bytes())
	return sum[:]
}

func (e entry) message() *auditpb.Entry {
	return &auditpb.Entry{
		Id: e.EntryID, Sequence: e.Sequence, At: timestamppb.New(e.At), Service: e.Service, Action: e.Action,
		ActorId: e.ActorID, SessionId: e.SessionID, TokenId: e.TokenID, Caller: e.Caller,
		ObjectId: e.ObjectID, CourseId: e.CourseID, PersonId: e.PersonID,
		Before: e.Before, After: e.After, Reason: e.Reason, RequestId: e.RequestID, EventId: e.EventID,
		Hash: hex.EncodeToString(e.Hash),
	}
}

func messages(list []entry) []*auditpb.Entry {
	out := make([]*auditpb.Entry, len(list))
	for i, e := range list {
		out[i] = e.message()
	}
	return out
}
