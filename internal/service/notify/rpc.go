package notify

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/page"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/notify/notifypb"
)

// server answers the contract.
type server struct {
	notifypb.UnimplementedNotifyServiceServer

	service *Service
}

func (r *server) ListNotifications(ctx context.Context, req *notifypb.ListNotificationsRequest) (*notifypb.ListNotificationsResponse, error) {
	account := auth.From(ctx).Account
	items, next, err := notificationsOf(ctx, r.service.db, account, req.GetUnread(), page.Size(req.GetPageSize()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	unread, err := countUnread(ctx, r.service.db, account)
	if err != nil {
		return nil, err
	}
	res := &notifypb.ListNotificationsResponse{NextCursor: next, UnreadCount: unread, Items: make([]*notifypb.Notification, len(items))}
	for i, n := range items {
		res.Items[i] = notificationPB(n)
	}
	return res, nil
}

func (r *server) ReadNotification(ctx context.Context, req *notifypb.ReadNotificationRequest) (*notifypb.Notification, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*notifypb.Notification, error) {
		n, err := r.service.markRead(ctx, tx, auth.From(ctx).Account, req.GetNotificationId())
		if err != nil {
			return nil, err
		}
		return notificationPB(n), nil
	})
}

func (r *server) ListDevelopmentMail(ctx context.Context, req *notifypb.ListDevelopmentMailRequest) (*notifypb.ListDevelopmentMailResponse, error) {
	if !r.service.developmentMail {
		return nil, ErrNoDevelopmentMail
	}
	items, err := r.service.newestMail(ctx, page.Size(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	res := &notifypb.ListDevelopmentMailResponse{Items: make([]*notifypb.DevelopmentMail, len(items))}
	for i, m := range items {
		res.Items[i] = &notifypb.DevelopmentMail{
			Id: m.ID, To: m.letter.To, Subject: m.letter.Subject, Text: m.letter.Text, CreatedAt: timestamppb.New(m.CreatedAt), State: m.State, Reply: m.Reply,
		}
	}
	return res, nil
}

func notificationPB(n notification) *notifypb.Notification {
	out := &notifypb.Notification{
		Id: n.ID, Kind: n.Kind, Title: n.Title, Body: n.Body, CourseId: n.CourseID, CreatedAt: timestamppb.New(n.CreatedAt),
	}
	if n.ReadAt != nil {
		out.ReadAt = timestamppb.New(*n.ReadAt)
	}
	return out
}
