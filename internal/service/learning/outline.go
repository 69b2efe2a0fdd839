package learning

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/release"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
)

// outlineServer answers the contract of outlines.
type outlineServer struct {
	learningpb.UnimplementedOutlineServiceServer

	service *Service
}

// GetLearnerOutline implements learningpb.OutlineServiceServer.
func (r *outlineServer) GetLearnerOutline(ctx context.Context, req *learningpb.GetLearnerOutlineRequest) (*learningpb.LearnerOutline, error) {
	at := r.service.now()
	list, err := r.service.persons(ctx, r.service.db, auth.From(ctx).Account, at, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	p := list[0]
	if p == nil {
		return nil, ErrNotPublished
	}
	if p.facts.EnrolledAt.IsZero() {
		if p.all, err = isStaff(ctx); err != nil {
			return nil, err
		}
	}
	return p.outline(at), nil
}

// outline returns the course as the person sees it.
func (p *person) outline(at time.Time) *learningpb.LearnerOutline {
	whole := release.Decision{Open: true}
	if !p.all {
		whole = release.Eval(p.version.rule, p.facts, at)
	}
	out := &learningpb.LearnerOutline{
		CourseId: p.CourseID, Version: p.version.number, Title: p.version.title, TimeZone: p.version.zone.String(),
		State: whole.State(), CompletedAt: optional(p.CompletedAt),
	}
	if whole.Hidden {
		out.State = "locked" // the course itself is no secret to who takes it
		return out
	}
	out.Reasons, out.OpensAt = p.sentences(whole.Missing, at), stampOf(whole.OpensAt)
	out.Items = make([]*learningpb.LearnerItem, 0, len(p.version.items))
	shown := make([]*learningpb.LearnerItem, len(p.version.items))
	for _, it := range p.version.items {
		if it.parent != nil && shown[it.parent.place] == nil {
			continue // what is in a hidden module is hidden
		}
		d := p.decide(it, at)
		if d.Hidden {
			continue
		}
		o := p.item(it, d, at)
		shown[it.place] = o
		out.Items = append(out.Items, o)
		if it.GetKind() == "module" || !it.GetRequired() {
			continue
		}
		out.TotalItems++
		if o.GetCompleted() {
			out.CompletedItems++
		}
		for up := it.parent; up != nil; up = up.parent {
			shown[up.place].TotalItems++
			if o.GetCompleted() {
				shown[up.place].CompletedItems++
			}
		}
	}
	if it := p.version.byID[p.ResumeLessonID]; it != nil && shown[it.place] != nil && p.decide(it, at).Open {
		out.ResumeLessonId = p.ResumeLessonID
	}
	return out
}

// item returns an item as the person sees it.
func (p *person) item(it *versionItem, d release.Decision, at time.Time) *learningpb.LearnerItem {
	o := &learningpb.LearnerItem{
		Id: it.GetId(), ParentId: it.GetParentId(), Kind: it.GetKind(), Title: it.GetTitle(), State: d.State(),
		Required: it.GetRequired(), Minutes: it.GetMinutes(),
	}
	if !d.Open {
		o.Reasons, o.OpensAt = p.sentences(d.Missing, at), stampOf(d.OpensAt)
	}
	if t, ok := p.completed(it); ok {
		o.Completed, o.CompletedAt = true, stampOf(t)
	}
	if i, ok := p.result[it.GetId()]; ok {
		if p.Percents[i] != nil {
			o.Percent, o.Passed = p.facts.Scores[it.GetId()].String(), p.Passed[i]
		}
		o.SubmittedAt = optional(p.Submitted[i])
	}
	if i, ok := p.deadline[it.GetId()]; ok {
		o.AvailableFrom, o.Due, o.Until = optional(p.AvailableFrom[i]), optional(p.Due[i]), optional(p.Until[i])
	}
	return o
}

// momentOf returns the moment that a request names as text, now for none.
func (s *Service) momentOf(text string) (time.Time, error) {
	if text == "" {
		return s.now(), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 || at.Year() > 9000 {
		return time.Time{}, fault.InvalidField("at", "time.invalid", "Send a time such as 2026-05-03T09:00:00Z.")
	}
	return at.UTC().Truncate(time.Microsecond), nil
}

// ExplainRelease implements learningpb.OutlineServiceServer.
func (r *outlineServer) ExplainRelease(ctx context.Context, req *learningpb.ExplainReleaseRequest) (*learningpb.ReleaseExplanation, error) {
	at, err := r.service.momentOf(req.GetAt())
	if err != nil {
		return nil, err
	}
	account, own := auth.From(ctx).Account, true
	if other := req.GetAccountId(); other != "" && other != account {
		account, own = other, false
		sees, err := auth.Has(ctx, "progress.list")
		if err != nil {
			return nil, err
		}
		if !sees {
			return nil, auth.ErrForbidden
		}
	}
	list, err := r.service.persons(ctx, r.service.db, account, at, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	p := list[0]
	switch {
	case p == nil:
		return nil, ErrItemNotFound
	case p.facts.EnrolledAt.IsZero() && !own:
		return nil, ErrNotLearner
	}
	it := p.version.byID[req.GetItemId()]
	if it == nil && req.GetItemId() != req.GetCourseId() {
		return nil, ErrItemNotFound
	}
	out := p.explain(it, at)
	out.AccountId = account
	if out.GetState() == "hidden" && own {
		sees, err := isStaff(ctx)
		if err != nil {
			return nil, err
		}
		if !sees {
			return nil, ErrItemNotFound
		}
	}
	return out, nil
}

// explain says what opens an item, the course for nil.
func (p *person) explain(it *versionItem, at time.Time) *learningpb.ReleaseExplanation {
	out := &learningpb.ReleaseExplanation{ItemId: p.CourseID, At: timestamppb.New(at), Version: p.version.number}
	all := p.version.rule
	add := func(itemID string, r *release.Rule) {
		if r != nil {
			_, node := release.Explain(r, p.facts, at)
			out.Rules = append(out.Rules, p.node(node, itemID, at))
		}
	}
	add(p.CourseID, p.version.rule)
	if it != nil {
		all, out.ItemId = p.rule(it), it.GetId()
		for _, itemID := range it.path {
			add(itemID, p.version.byID[itemID].rule)
			if from := p.availableFrom(itemID); from != nil {
				add(itemID, release.From(*from))
			}
		}
	}
	d, node := release.Explain(all, p.facts, at)
	out.State, out.Reasons, out.OpensAt = d.State(), p.sentences(d.Missing, at), stampOf(d.OpensAt)
	if d.Open {
		out.ClosesAt = stampOf(node.ClosesAt)
	}
	return out
}

func (p *person) node(n release.Node, itemID string, at time.Time) *learningpb.ReleaseNode {
	out := &learningpb.ReleaseNode{
		ItemId: itemID, Kind: n.Kind, Holds: n.Holds, KeepsClosed: n.Keeps, Hides: n.Hides,
		OpensAt: stampOf(n.OpensAt), ClosesAt: stampOf(n.ClosesAt),
	}
	if n.Keeps {
		if n.Parts == nil || n.Reason.Text != "" {
			out.Reason = p.sentences([]release.Reason{n.Reason}, at)[0]
		}
	}
	for _, part := range n.Parts {
		out.Parts = append(out.Parts, p.node(part, "", at))
	}
	return out
}
