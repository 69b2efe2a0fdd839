package identity

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/service/identity/identitypb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// hear hands events over, one after the other.
func (e *env) hear(t *testing.T, events ...*mediapb.AvatarChanged) {
	t.Helper()
	for _, event := range events {
		err := e.db.InTx(t.Context(), func(tx *pg.Tx) error {
			tx.Exempt("a test")
			return e.service.avatarChanged(t.Context(), tx, event)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func avatarChanged(account, avatarID string, version int64) *mediapb.AvatarChanged {
	return &mediapb.AvatarChanged{AccountId: account, AvatarId: avatarID, Version: version}
}

func TestAvatar(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ada, other := e.account(t, "ada@example.org"), e.account(t, "other@example.org")
	ctx := rpctest.Account(t.Context(), ada.GetId())
	shows := func(step, avatarID, etag string) *identitypb.Account {
		t.Helper()
		me, err := e.GetMe(ctx, &identitypb.GetMeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		want := proto.CloneOf(ada)
		want.Etag = etag
		if avatarID != "" {
			want.AvatarUrl = "/v1/avatars/" + avatarID
		}
		t.Log(step)
		same(t, me, want)
		return me
	}
	shows("before", "", "1")
	one, two, three := id.New("avatar"), id.New("avatar"), id.New("avatar")
	first := avatarChanged(ada.GetId(), one, 1)
	e.hear(t, first, first)
	before := shows("twice", one, "2")
	e.hear(t, avatarChanged(ada.GetId(), three, 3), avatarChanged(ada.GetId(), two, 2), avatarChanged(ada.GetId(), three, 3))
	shows("out of order", three, "3")
	e.hear(t, avatarChanged(id.New("account"), two, 1)) // of an account that was deleted

	// A change of the profile keeps it, and knows that it has changed.
	ada.Name = "Countess Lovelace"
	change := &identitypb.UpdateMeRequest{Name: new(ada.GetName())}
	_, err := e.UpdateMe(rpc.WithIfMatch(ctx, before.GetEtag()), change)
	wantCode(t, err, "etag.stale")
	me, err := e.UpdateMe(ctx, change)
	if err != nil {
		t.Fatal(err)
	}
	same(t, me, shows("renamed", three, "4"))
	e.hear(t, avatarChanged(ada.GetId(), "", 4), avatarChanged(ada.GetId(), two, 2))
	shows("none", "", "5")
	if theirs, err := e.GetMe(rpctest.Account(t.Context(), other.GetId()), &identitypb.GetMeRequest{}); err != nil || theirs.GetAvatarUrl() != "" {
		t.Errorf("another: %v, %v", theirs, err)
	}

	updated := func(name, avatarID string, version int64) proto.Message {
		return &identitypb.AccountUpdated{
			AccountId: ada.GetId(), Email: "ada@example.org", Name: name, Locale: "en", TimeZone: "UTC", Version: version, AvatarId: avatarID,
		}
	}
	same(t, e.events(t)[2:], []proto.Message{
		updated("Ada Lovelace", one, 2), updated("Ada Lovelace", three, 3),
		updated("Countess Lovelace", three, 4), updated("Countess Lovelace", "", 5),
	})
}

// Nobody is told of a program's picture: others keep people only.
func TestAvatarOfAProgram(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	program, err := e.tokens.CreateServiceAccount(rpctest.Account(t.Context(), id.New("account")), &identitypb.CreateServiceAccountRequest{Name: "Robot"})
	if err != nil {
		t.Fatal(err)
	}
	e.hear(t, avatarChanged(program.GetId(), id.New("avatar"), 1))
	if n := query[int](t, e.db, `SELECT count(*) FROM account WHERE avatar_id <> ''`); n != 1 {
		t.Errorf("%d accounts have a picture", n)
	}
	if events := e.events(t); len(events) != 0 {
		t.Errorf("events %v", events)
	}
}
