package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg"
)

// The permissions that contracts demand. A role is a set of them; nothing asks
// for a role.
const (
	meRead  = "me.read"  // read what is one's own
	meWrite = "me.write" // change what is one's own

	courseCreate       = "course.create"       // make courses
	courseView         = "course.view"         // know that a course exists, and read its outline and price
	courseEdit         = "course.edit"         // change a course, and read what is not published yet
	coursePublish      = "course.publish"      // publish a course and take it out again
	courseTransfer     = "course.transfer"     // give a course to another owner
	lessonRead         = "lesson.read"         // read the lessons and note one's progress in them
	progressList       = "progress.list"       // see how far those who take a course have come
	certificateManage  = "certificate.manage"  // issue certificates again, and revoke them
	mediaUpload        = "media.upload"        // put files into a course
	mediaRead          = "media.read"          // see all files of a course, used or not
	priceEdit          = "price.edit"          // say what a course costs
	saleList           = "sale.list"           // see what was sold of a course
	saleRefund         = "sale.refund"         // give back what was paid for a course
	deadlineSet        = "deadline.override"   // say other deadlines for some who take a course
	revenueSplit       = "revenue.split"       // say how what a course earns is shared
	revenueEdit        = "revenue.edit"        // say what the platform keeps of sales
	couponManage       = "coupon.manage"       // make coupons of the platform, and end anybody's
	refundManage       = "refund.manage"       // give back what was paid for any order, and see what is disputed
	payoutManage       = "payout.manage"       // pay teachers
	subscriptionManage = "subscription.manage" // see who has subscribed to what, and end it
	ledgerRead         = "ledger.read"         // see what the accounts of the ledger have, and whose shares are what
	ledgerReconcile    = "ledger.reconcile"    // have orders, the ledger, access and the payment provider compared
	courseReview       = "course.review"       // review courses before they come into the marketplace
	progressEdit       = "progress.edit"       // mark items as done for those who take a course

	assessmentTake = "assessment.take" // answer quizzes and hand in assignments
	assessmentEdit = "assessment.edit" // make quizzes, assignments and rubrics
	questionRead   = "question.read"   // see the bank of questions with their keys
	questionEdit   = "question.edit"   // change it
	submissionRead = "submission.read" // see what students answered and handed in
	submissionMark = "submission.mark" // mark it
	examProctor    = "exam.proctor"    // watch exams while they run, and give more time
	gradeRead      = "grade.read"      // see the gradebook, what is not posted too
	gradeEdit      = "grade.edit"      // change grades: overrides, excuses, imports
	gradePost      = "grade.post"      // post grades and hide them, and say how they are counted

	enrollmentList     = "enrollment.list"     // see who takes a course, and why they may
	enrollmentManage   = "enrollment.manage"   // let people into a course and out: grants, invitations, cohorts, waitlists
	accommodationRead  = "accommodation.read"  // see whose deadlines and times are eased
	accommodationGrant = "accommodation.grant" // ease them

	roleList      = "role.list"      // see who has which role
	roleGrant     = "role.grant"     // give roles, and take them, whose permissions one holds oneself
	roleDefine    = "role.define"    // make roles of permissions that one holds oneself
	accessExplain = "access.explain" // ask why somebody may or may not do something

	accountRead          = "account.read"           // look accounts up
	accountSuspend       = "account.suspend"        // suspend accounts and let them in again
	serviceAccountManage = "service_account.manage" // make accounts for programs, and their tokens
	auditRead            = "audit.read"             // read the audit log

	templatePublish = "template.publish" // show templates of courses to everybody who makes courses
)

// permissions are all there are.
var permissions = []string{
	meRead, meWrite,
	courseCreate, courseView, courseEdit, coursePublish, courseTransfer, lessonRead, progressList, progressEdit, deadlineSet, certificateManage, mediaUpload, mediaRead, priceEdit, saleList, saleRefund, revenueSplit, revenueEdit, refundManage, subscriptionManage, payoutManage, couponManage, ledgerRead, ledgerReconcile, courseReview,
	assessmentTake, assessmentEdit, questionRead, questionEdit, submissionRead, submissionMark, examProctor, gradeRead, gradeEdit, gradePost,
	enrollmentList, enrollmentManage, accommodationRead, accommodationGrant,
	roleList, roleGrant, roleDefine, accessExplain,
	accountRead, accountSuspend, serviceAccountManage, auditRead, templatePublish,
}

// role is a named set of permissions.
type role struct {
	permissions []string
	scope       scope
	implicit    bool // nobody is given it: it follows from something else
}

// scope is where a role is given.
type scope uint8

const (
	onPlatform scope = iota + 1 // and holds on every course
	onCourse
)

// Roles that are not given but follow from something else.
const (
	roleMember  = "member"  // who has an account
	roleStudent = "student" // who has a live entitlement to the course
	roleVisitor = "visitor" // everybody, on a published course
)

// Roles of which somebody has to have one without an end, once anybody has.
const (
	roleOwner = "owner" // has all permissions on a course
	roleAdmin = "admin" // has all permissions there are
)

const roleCoTeacher = "co_teacher"

// roles are the built-in roles by name.
var roles = map[string]role{
	roleMember:  {scope: onPlatform, implicit: true, permissions: []string{meRead, meWrite, courseCreate}},
	roleAdmin:   {scope: onPlatform, permissions: permissions},
	"moderator": {scope: onPlatform, permissions: []string{courseView, coursePublish, courseReview, lessonRead, mediaRead, accountRead, accountSuspend, templatePublish}},
	"finance":   {scope: onPlatform, permissions: []string{courseView, saleList, saleRefund, revenueEdit, refundManage, subscriptionManage, payoutManage, couponManage, ledgerRead, ledgerReconcile}},
	"support": {scope: onPlatform, permissions: []string{
		courseView, lessonRead, enrollmentList, enrollmentManage, progressList, accommodationRead, roleList, accessExplain, accountRead,
	}},

	roleOwner: {scope: onCourse, permissions: []string{
		courseView, courseEdit, coursePublish, courseTransfer, lessonRead, progressList, progressEdit, deadlineSet, certificateManage, mediaUpload, mediaRead, priceEdit, saleList, saleRefund, revenueSplit,
		assessmentEdit, questionRead, questionEdit, submissionRead, submissionMark, examProctor, gradeRead, gradeEdit, gradePost,
		enrollmentList, enrollmentManage, accommodationRead, accommodationGrant, roleList, roleGrant, roleDefine, accessExplain,
	}},
	roleCoTeacher: {scope: onCourse, permissions: []string{
		courseView, courseEdit, coursePublish, lessonRead, progressList, progressEdit, deadlineSet, certificateManage, mediaUpload, mediaRead, saleList,
		assessmentEdit, questionRead, questionEdit, submissionRead, submissionMark, examProctor, gradeRead, gradeEdit, gradePost,
		enrollmentList, enrollmentManage, accommodationRead, accommodationGrant, roleList, roleGrant, accessExplain,
	}},
	"teaching_assistant": {scope: onCourse, permissions: []string{courseView, lessonRead, mediaRead, enrollmentList, progressList, progressEdit, deadlineSet, questionRead, submissionRead, submissionMark, examProctor, gradeRead, gradeEdit}},
	"grader":             {scope: onCourse, permissions: []string{courseView, lessonRead, mediaRead, enrollmentList, progressList, questionRead, submissionRead, submissionMark, gradeRead}},
	"observer":           {scope: onCourse, permissions: []string{courseView, lessonRead, progressList, gradeRead}},
	roleStudent:          {scope: onCourse, implicit: true, permissions: []string{courseView, lessonRead, assessmentTake}},
	roleVisitor:          {scope: onCourse, implicit: true, permissions: []string{courseView}},
}

// builtIn returns the names of the built-in roles that can be given in the
// scope: those with a permission, unless it is empty.
func builtIn(where scope, permission string) []string {
	var names []string
	for name, r := range roles {
		if r.scope == where && !r.implicit && (permission == "" || slices.Contains(r.permissions, permission)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkRole refuses a role that nobody can be given in the scope.
func checkRole(name string, where scope) error {
	if r, ok := roles[name]; ok && r.scope == where && !r.implicit {
		return nil
	}
	return &fault.Error{
		Kind: ErrRoleUnknown.Kind, Code: ErrRoleUnknown.Code, Message: ErrRoleUnknown.Message,
		Fields: []fault.Field{{Path: "role", Code: ErrRoleUnknown.Code, Hint: fmt.Sprintf("Roles here are %q.", builtIn(where, ""))}},
	}
}

// byOperator is who gave a role that was given on the command line.
const byOperator = "operator"

// GrantPlatformRole gives an account a role on the platform, such as "admin".
// Giving it again changes nothing; what is no role of the platform is
// ErrRoleUnknown. It is for the administrator's command line: whoever can reach
// the database may give roles.
func GrantPlatformRole(ctx context.Context, db *pg.DB, account, role string) error {
	if !id.Valid("account", account) {
		return fault.InvalidField("account", "id.invalid", "An id of an account looks like account_01h455vb4pex5vsknk084sn02q.")
	}
	if err := checkRole(role, onPlatform); err != nil {
		return err
	}
	return db.InTx(ctx, func(tx *pg.Tx) error {
		_, err := giveRole(ctx, tx, givenRole{AccountID: account, Role: role, GrantedBy: byOperator, GrantedAt: time.Now()})
		return err
	})
}
