// Package access is who may do what, and why.
//
// It owns roles and who has them, offers of courses to new owners, the ledger of
// entitlements to courses, the enrollments that follow from it, cohorts and their
// waitlists, groups, invitations, seats that others give out, and imports of
// people from files. Whom an invitation by e-mail or a seat is for, and the addresses of a
// file, are sealed with a key of their own.
//
// It answers which permissions somebody has on a course or on the platform, and
// why; gives and takes roles; enrolls people in free courses, lists who is
// enrolled, gives and ends access, puts people into cohorts and groups and has
// them wait for seats, invites to courses by codes and by e-mail, keeps count of seats, and lets
// in whole files of people with a report of each row.
//
// It sends EntitlementGranted, EntitlementRevoked, EnrollmentStarted,
// EnrollmentEnded, EnrollmentResumed, CourseOwnerChanged, CourseRoleChanged,
// AccommodationChanged, CohortChanged, CohortMembershipChanged, GroupChanged,
// GroupMembershipChanged, WaitlistOffered, WaitlistOfferExpired, SeatBlockCreated and
// InvitationMailRequested.
//
// It hears CoursePublished and CourseUnpublished of courses, PriceSet, OrderPaid,
// GiftRedeemed, LinesRefunded and SubscriptionEnded of commerce, and AccountCreated and
// AccountUpdated of identity.
//
// It calls nobody.
package access

import (
	"context"
	"embed"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/cache"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema holds the service's tables.
var Schema = pg.Schema{Name: "access", Migrations: pg.Sub(files)}

// Errors told by the service.
var (
	ErrNotFound  = auth.ErrHidden
	ErrNotFree   = fault.New(fault.Forbidden, "enrollment.not_free", "This course is not free. Place an order to take it.")
	ErrOwnCourse = fault.New(fault.Conflict, "enrollment.own_course", "You teach this course, so you have access to all of it already.")

	ErrEntitlementNotFound = fault.New(fault.NotFound, "entitlement.not_found", "The course has no such grant of access.")
	ErrInvitationNotFound  = fault.New(fault.NotFound, "invitation.not_found", "The course has no such invitation.")
	ErrTooManyInvitations  = fault.New(fault.Conflict, "invitation.too_many", "The course has %d open invitations. Revoke some first.", maxInvitations)
	ErrInviteUnpublished   = fault.New(fault.Conflict, "invitation.course_unpublished", "The course is not published, so that nobody can be invited to it yet.")
	errInvitation          = fault.New(fault.Invalid, "invitation.invalid", "This code is not one of ours, or it is expired, revoked or used up.")
	ErrEntitlementPeriod   = fault.New(fault.Conflict, "entitlement.subscription", "This access is paid for up to its end. Give a grant of its own to who may stay longer.")
	ErrEntitlementRevoked  = fault.New(fault.Conflict, "entitlement.revoked", "This grant was revoked. Make a new one.")

	ErrCohortNotFound          = fault.New(fault.NotFound, "cohort.not_found", "The course has no such cohort.")
	ErrCohortFull              = fault.New(fault.Conflict, "cohort.full", "All seats are taken or held for people who waited. Wait for one.")
	ErrCohortClosed            = fault.New(fault.Conflict, "cohort.closed", "Nobody can join this cohort now.")
	ErrCohortCancelled         = fault.New(fault.Conflict, "cohort.cancelled", "The cohort was cancelled.")
	ErrCohortNameTaken         = fault.New(fault.Conflict, "cohort.name_taken", "Another cohort of the course has this name.")
	ErrCohortSeatsTaken        = fault.New(fault.Conflict, "cohort.seats_taken", "More seats are taken or offered than there would be.")
	ErrCohortNotFull           = fault.New(fault.Conflict, "cohort.not_full", "A seat is free. Join the cohort.")
	ErrCohortOnly              = fault.New(fault.Forbidden, "enrollment.cohort_only", "This course is taken in cohorts. Join one of them.")
	ErrTooManyCohorts          = fault.New(fault.Conflict, "cohort.too_many", "A course has at most %d cohorts.", maxCohorts)
	ErrInCohort                = fault.New(fault.Conflict, "cohort.joined", "You are in this cohort already.")
	ErrNotInCohort             = fault.New(fault.NotFound, "cohort.not_member", "Not in this cohort.")
	ErrNotWaiting              = fault.New(fault.NotFound, "waitlist.not_waiting", "Nobody of this account waits for this cohort.")
	ErrWaitlistFull            = fault.New(fault.Conflict, "waitlist.full", "At most %d people wait for one cohort.", maxWaiting)
	ErrEmailInvitationNotFound = fault.New(fault.NotFound, "invitation.not_found", "There is no such invitation.")
	ErrEmailInvitationEnded    = fault.New(fault.Conflict, "invitation.ended", "The invitation is not open any more. Make a new one.")
	ErrTooManyEmailInvitations = fault.New(fault.Conflict, "invitation.too_many", "The course has %d open invitations by e-mail. Revoke some first.", maxEmailInvitations)

	ErrGroupNotFound    = fault.New(fault.NotFound, "group.not_found", "The course has no such group.")
	ErrGroupNameTaken   = fault.New(fault.Conflict, "group.name_taken", "Another group of the course has this name.")
	ErrTooManyGroups    = fault.New(fault.Conflict, "group.too_many", "A course has at most %d groups.", maxGroups)
	ErrGroupFull        = fault.New(fault.Conflict, "group.full", "The group has no room for as many.")
	ErrGroupHasMembers  = fault.New(fault.Conflict, "group.has_members", "A group that has members stays in its set.")
	ErrGroupNotEnrolled = fault.New(fault.Conflict, "group.not_enrolled", "Only who takes the course is in its groups.")
	ErrGroupInSet       = fault.New(fault.Conflict, "group.in_set", "You were put into another group of this set.")
	ErrNotInGroup       = fault.New(fault.NotFound, "group.not_member", "Not in this group.")
	errGroupName        = invalid("group.name", "name", "A name has at least one letter.")

	ErrImportNotFound = fault.New(fault.NotFound, "import.not_found", "The course has no such import.")
	ErrImportEncoding = fault.New(fault.Invalid, "import.encoding", "The file is not UTF-8. Save it as CSV in UTF-8.")
	ErrImportEmpty    = fault.New(fault.Invalid, "import.empty", "The file has no row.")
	ErrImportSize     = fault.New(fault.TooLarge, "import.too_large", "A file has at most %d MiB.", maxImportSize>>20)
	ErrImportRows     = fault.New(fault.TooLarge, "import.too_many_rows", "A file has at most %d rows.", maxImportRows)
	ErrTooManyImports = fault.New(fault.Conflict, "import.too_many", "The course has %d imports that are not finished. Wait for one of them.", maxImports)
	ErrImportGone     = fault.New(fault.Conflict, "import.gone", "The import was cancelled, or its upload took longer than a day. Send the file again.")
	ErrImportFinished = fault.New(fault.Conflict, "import.finished", "The import has come to its end already.")

	ErrSeatBlockNotFound = fault.New(fault.NotFound, "seat_block.not_found", "There is no such block of seats here.")
	ErrSeatBlockEnded    = fault.New(fault.Conflict, "seat_block.ended", "The block of seats has ended.")
	ErrNoSeat            = fault.New(fault.Conflict, "seat.none_free", "No seat is free. Take one back first.")
	ErrSeatNotFound      = fault.New(fault.NotFound, "seat.not_found", "The block has no such seat.")
	ErrSeatHeld          = fault.New(fault.Conflict, "seat.held_already", "You have a seat of these already.")
	ErrSeatReassignments = fault.New(fault.Conflict, "seat.reassignments_used", "As many seats as the block allows were taken back already.")

	ErrRoleUnknown = fault.New(fault.Invalid, "role.unknown", "There is no such role.")

	ErrGrantNotFound      = fault.New(fault.NotFound, "grant.not_found", "There is no such grant here.")
	ErrRoleNotOnItem      = fault.New(fault.Invalid, "role.not_on_item", "A course has an owner; an item of it has none.")
	ErrRoleExpired        = fault.New(fault.Invalid, "role.expired", "The end of the grant is past.")
	ErrRoleNotHeld        = fault.New(fault.Forbidden, "role.not_held", "Nobody gives, takes or makes what they do not hold themselves by a role, for as long.")
	ErrRoleLast           = fault.New(fault.Conflict, "role.last", "Somebody has to remain who has this role without an end. Give it to another first.")
	ErrTooManyGrants      = fault.New(fault.Conflict, "role.too_many", "One person has at most %d grants of roles in one place.", maxGrants)
	ErrDefinitionNotFound = fault.New(fault.NotFound, "role_definition.not_found", "There is no such role here that was made for it.")
	ErrRoleNameTaken      = fault.New(fault.Conflict, "role.name_taken", "Another role has this name.")
	ErrRoleInUse          = fault.New(fault.Conflict, "role.in_use", "Somebody has this role. Take it away from all first.")
	ErrTooManyDefinitions = fault.New(fault.Conflict, "role.too_many_defined", "At most %d roles can be made in one place.", maxDefinitions)
	ErrPermissionUnknown  = fault.New(fault.Invalid, "permission.unknown", "There is no such permission here.")
	ErrTransferNotFound   = fault.New(fault.NotFound, "transfer.not_found", "There is no such offer, or it does not stand any more.")
	ErrTransferToOwner    = fault.New(fault.Conflict, "transfer.to_owner", "The course is theirs already.")
)

// Config is what the service needs.
type Config struct {
	DB  *pg.DB
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
	// Attempts counts codes of invitations that are none.
	Attempts cache.Attempts
	Vault    *secret.Vault // seals what is written of accommodations, and whom invitations are to
}

// Service answers the calls of accesspb.AccessService and accesspb.RoleService.
type Service struct {
	accesspb.UnimplementedAccessServiceServer
	accesspb.UnimplementedEntitlementServiceServer
	accesspb.UnimplementedAccommodationServiceServer
	accesspb.UnimplementedInvitationServiceServer
	accesspb.UnimplementedCohortServiceServer
	accesspb.UnimplementedEmailInvitationServiceServer
	accesspb.UnimplementedImportServiceServer
	accesspb.UnimplementedSeatServiceServer
	accesspb.UnimplementedRoleServiceServer
	accesspb.UnimplementedGroupServiceServer

	db  *pg.DB
	log *slog.Logger
	now func() time.Time

	vault    *secret.Vault
	attempts cache.Attempts
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{
		db: cfg.DB, log: cfg.Log, vault: cfg.Vault, attempts: cfg.Attempts,
		// The database keeps microseconds; what is told must be what is kept.
		now: func() time.Time { return cfg.Now().UTC().Truncate(time.Microsecond) },
	}
}

// Register has r answer the service's calls.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	accesspb.RegisterAccessServiceServer(r, s)
	accesspb.RegisterEntitlementServiceServer(r, s)
	accesspb.RegisterAccommodationServiceServer(r, s)
	accesspb.RegisterInvitationServiceServer(r, s)
	accesspb.RegisterCohortServiceServer(r, s)
	accesspb.RegisterEmailInvitationServiceServer(r, s)
	accesspb.RegisterImportServiceServer(r, s)
	accesspb.RegisterSeatServiceServer(r, s)
	accesspb.RegisterRoleServiceServer(r, s)
	accesspb.RegisterGroupServiceServer(r, s)
}

// actor returns who gives a role in ctx: the account that calls, else the
// service that does so by itself.
func actor(ctx context.Context) string {
	p := auth.From(ctx)
	if p.Account != "" {
		return p.Account
	}
	return p.Service
}
