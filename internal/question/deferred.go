package question

import pb "github.com/stoa-lms/stoa/internal/question/questionpb"

// deferred scores once, when the attempt ends, and tells nothing before.
type deferred struct{}

func (deferred) check(*Instance, Rules, *State) bool  { return false }
func (deferred) hint(*Instance, Rules, *State) bool   { return false }
func (deferred) giveUp(*Instance, Rules, *State) bool { return false }

func (deferred) finish(in *Instance, _ Rules, s *State) { in.end(s, false) }

func (deferred) tell(*State) *pb.OutcomeMask { return &pb.OutcomeMask{} }
