package access

import (
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// modelGrant is a grant as the model knows it.
type modelGrant struct {
	account, course, item, role string
	ends                        time.Time
	id                          string
}

// model is the rules of roles as they are said, and nothing else: lists that are
// walked through.
type model struct {
	now      time.Time
	grants   []modelGrant
	made     map[string][]string // permissions of the roles that were made
	students map[string]bool
	course   string
}

func (m *model) allows(role string) []string {
	if list, ok := m.made[role]; ok {
		return list
	}
	return roles[role].permissions
}

// until returns until when an account holds a permission by roles on the item.
func (m *model) until(account, course, item, permission string) time.Time {
	var best time.Time
	for _, g := range m.grants {
		if g.account != account || !g.ends.After(m.now) || g.course != "" && g.course != course || g.item != "" && g.item != item {
			continue
		}
		if (slices.Contains(m.allows(g.role), permission) || g.item != "" && permission == courseView) && g.ends.After(best) {
			best = g.ends
		}
	}
	return best
}

// holds reports whether an account holds all the permissions until the end.
func (m *model) holds(account, course, item string, list []string, end time.Time) bool {
	for _, p := range list {
		if m.until(account, course, item, p).Before(end) {
			return false
		}
	}
	return true
}

// mayGive is the rule that nobody gives or takes what they lack.
func (m *model) mayGive(by string, g modelGrant, end time.Time) bool {
	list := append(slices.Clone(m.allows(g.role)), roleGrant)
	if g.item != "" {
		list = append(list, courseView)
	}
	if !m.holds(by, g.course, g.item, list, end) {
		return false
	}
	if g.role != roleOwner {
		return true
	}
	if m.holds(by, "", "", roles[roleOwner].permissions, end) {
		return true
	}
	return slices.ContainsFunc(m.grants, func(o modelGrant) bool {
		return o.account == by && o.course == g.course && o.role == roleOwner && o.ends.After(m.now) && !o.ends.Before(end)
	})
}

// may returns what an account may on the course, or on an item of it.
func (m *model) may(account, item string) map[string]bool {
	out := map[string]bool{meRead: true, meWrite: true, courseCreate: true}
	for _, p := range permissions {
		if m.until(account, m.course, item, p).After(m.now) {
			out[p] = true
		}
	}
	for _, g := range m.grants { // a role on any item lets see the course
		if g.account == account && g.course == m.course && g.item != "" && g.ends.After(m.now) {
			out[courseView] = true
		}
	}
	if m.students[account] {
		out[courseView], out[lessonRead], out[assessmentTake] = true, true, true
	}
	return out
}

func (m *model) find(g modelGrant) int {
	return slices.IndexFunc(m.grants, func(o modelGrant) bool {
		return o.account == g.account && o.course == g.course && o.item == g.item && o.role == g.role
	})
}

// last reports whether no other than the grant keeps the course's owner or the
// platform's admin.
func (m *model) last(g modelGrant) bool {
	if g.role != roleOwner && g.role != roleAdmin {
		return false
	}
	return !slices.ContainsFunc(m.grants, func(o modelGrant) bool {
		return o.account != g.account && o.course == g.course && o.role == g.role && o.ends.Equal(forever)
	})
}

// TestModelOfRoles: whatever is given, taken, made, changed and left to end, in
// whatever order and by whomever, the service refuses and answers as the model
// does, and explains what it answers.
func TestModelOfRoles(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		for _, table := range []string{"role_grant", "role_definition", "transfer", "entitlement"} {
			exec(t, e.db, `DELETE FROM `+table)
		}
		courseID, owner := e.owned(t)
		admin := e.admin(t)
		m := &model{made: map[string][]string{}, students: map[string]bool{}, course: courseID, grants: []modelGrant{
			{account: owner, course: courseID, role: roleOwner, ends: forever}, {account: admin, role: roleAdmin, ends: forever},
		}}
		for i, g := range m.grants {
			m.grants[i].id = query[string](t, e.db, `SELECT id FROM role_grant WHERE account_id = $1`, g.account)
		}
		people := []string{owner, admin, id.New("account"), id.New("account"), id.New("account")}
		items := []string{"", id.New("lesson"), id.New("lesson")}
		person := rapid.SampledFrom(people)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(roles[roleOwner].permissions), 1, 4, rapid.ID[string])
		madeIn := map[string]string{}
		check := func(t *rapid.T, what string, err error, ok bool) bool {
			if (err == nil) != ok {
				t.Fatalf("%s: %v, the model says %v", what, err, ok)
			}
			return ok
		}
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				by := person.Draw(t, "by")
				g := modelGrant{account: person.Draw(t, "to"), ends: forever}
				if rapid.IntRange(0, 3).Draw(t, "where") > 0 {
					g.course = courseID
					g.item = rapid.SampledFrom(items).Draw(t, "item")
				}
				where := onCourse
				if g.course == "" {
					where = onPlatform
				}
				names := builtIn(where, "")
				for _, made := range slices.Sorted(maps.Keys(madeIn)) {
					if madeIn[made] == g.course {
						names = append(names, made)
					}
				}
				g.role = rapid.SampledFrom(names).Draw(t, "role")
				if g.role == roleOwner {
					g.item = ""
				}
				var ends *timestamppb.Timestamp
				if minutes := rapid.IntRange(-60, 60).Draw(t, "minutes"); minutes > 0 {
					g.ends = m.now.Add(time.Duration(minutes) * time.Minute)
					ends = timestamppb.New(g.ends)
				}
				end, at := g.ends, m.find(g)
				if at >= 0 && m.grants[at].ends.After(end) {
					end = m.now
				}
				ok := m.mayGive(by, g, end) && (g.ends.Equal(forever) || !m.last(g))
				var (
					given *accesspb.RoleGrant
					err   error
				)
				if g.course != "" {
					given, err = e.GrantCourseRole(asAccount(t, by), &accesspb.GrantCourseRoleRequest{
						CourseId: g.course, AccountId: g.account, ItemId: g.item, Role: g.role, ExpiresAt: ends,
					})
				} else {
					given, err = e.GrantPlatformRole(asAccount(t, by), &accesspb.GrantPlatformRoleRequest{AccountId: g.account, Role: g.role, ExpiresAt: ends})
				}
				if !check(t, "grant "+g.role, err, ok) {
					return
				}
				if g.id = given.GetId(); at >= 0 {
					m.grants[at] = g
				} else {
					m.grants = append(m.grants, g)
				}
			},
			"revoke": func(t *rapid.T) {
				by, at := person.Draw(t, "by"), rapid.IntRange(0, len(m.grants)-1).Draw(t, "grant")
				g := m.grants[at]
				ok := m.mayGive(by, g, m.now) && !m.last(g)
				var err error
				if g.course != "" {
					_, err = e.RevokeCourseRole(asAccount(t, by), &accesspb.RevokeCourseRoleRequest{CourseId: courseID, GrantId: g.id})
				} else {
					_, err = e.RevokePlatformRole(asAccount(t, by), &accesspb.RevokePlatformRoleRequest{GrantId: g.id})
				}
				if check(t, "revoke "+g.role, err, ok) {
					m.grants = slices.Delete(m.grants, at, at+1)
				}
			},
			"define": func(t *rapid.T) {
				by, list := person.Draw(t, "by"), some.Draw(t, "permissions")
				where := rapid.SampledFrom([]string{"", courseID}).Draw(t, "where")
				if len(madeIn) > 20 {
					return
				}
				ok := m.holds(by, where, "", append(slices.Clone(list), roleDefine), m.now)
				name := "r" + id.New("x")[2:]
				var (
					made *accesspb.Role
					err  error
				)
				if where != "" {
					made, err = e.CreateCourseRole(asAccount(t, by), &accesspb.CreateCourseRoleRequest{CourseId: where, Name: name, Permissions: list})
				} else {
					made, err = e.CreateRole(asAccount(t, by), &accesspb.CreateRoleRequest{Name: name, Permissions: list})
				}
				if check(t, "define", err, ok) {
					m.made[made.GetId()], madeIn[made.GetId()] = list, where
				}
			},
			"redefine": func(t *rapid.T) {
				if len(madeIn) == 0 {
					return
				}
				by, list := person.Draw(t, "by"), some.Draw(t, "permissions")
				role := rapid.SampledFrom(slices.Sorted(maps.Keys(madeIn))).Draw(t, "role")
				var changed []string
				for _, p := range permissions {
					if slices.Contains(list, p) != slices.Contains(m.made[role], p) {
						changed = append(changed, p)
					}
				}
				ok := m.holds(by, madeIn[role], "", changed, forever) && m.holds(by, madeIn[role], "", []string{roleDefine}, m.now)
				var err error
				if madeIn[role] != "" {
					_, err = e.UpdateCourseRole(asAccount(t, by), &accesspb.UpdateCourseRoleRequest{CourseId: courseID, RoleId: role, Permissions: list})
				} else {
					_, err = e.UpdateRole(asAccount(t, by), &accesspb.UpdateRoleRequest{RoleId: role, Permissions: list})
				}
				if check(t, "redefine", err, ok) {
					m.made[role] = list
				}
			},
			"transfer": func(t *rapid.T) {
				by, to := person.Draw(t, "by"), person.Draw(t, "to")
				g := modelGrant{account: to, course: courseID, role: roleOwner, ends: forever}
				// Giving a course away takes no role.grant, but who holds all else an owner
				// has holds that.
				at := m.find(g)
				ok := m.mayGive(by, g, forever) && (at < 0 || !m.grants[at].ends.Equal(forever))
				offer, err := e.TransferCourse(asAccount(t, by), &accesspb.TransferCourseRequest{CourseId: courseID, AccountId: to})
				if !check(t, "transfer", err, ok) {
					return
				}
				if _, err := e.AcceptTransfer(asAccount(t, to), &accesspb.AcceptTransferRequest{TransferId: offer.GetId()}); err != nil {
					t.Fatal(err)
				}
				m.grants = e.modelGrants(t)
			},
			"buy": func(t *rapid.T) {
				account := person.Draw(t, "account")
				deliver(t, e, e.service.orderPaid, orderOf(account, e.clock.Now(), courseID))
				m.students[account] = true
			},
			"wait": func(t *rapid.T) {
				e.clock.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "minutes")) * time.Minute)
			},
			"": func(t *rapid.T) {
				m.now = e.service.now()
				account, item := person.Draw(t, "who"), rapid.SampledFrom(items).Draw(t, "on")
				want := slices.Sorted(maps.Keys(m.may(account, item)))
				found, err := e.service.resolve(t.Context(), []subject{{account, courseID}})
				if err != nil {
					t.Fatal(err)
				}
				all := maps.Clone(found[0].permissions)
				maps.Copy(all, found[0].items[item])
				if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
					t.Fatalf("%s on %q may %v, want %v", account, item, got, want)
				}
				for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom(permissions), 3, 3, rapid.ID[string]).Draw(t, "explained") {
					x, err := e.service.explain(t.Context(), subject{account, courseID}, p, item, true)
					if err != nil {
						t.Fatal(err)
					}
					if x.GetAllowed() != slices.Contains(want, p) || x.GetAllowed() != (len(x.GetSources()) > 0) || x.GetAllowed() != (x.GetMissing() == nil) {
						t.Fatalf("%s of %s on %q: %v, want %v", p, account, item, x, want)
					}
				}
				for _, role := range []string{roleOwner, roleAdmin} {
					if query[int](t, e.db, `SELECT count(*) FROM role_grant WHERE role = $1 AND expires_at IS NULL`, role) == 0 {
						t.Fatalf("there is no %s", role)
					}
				}
			},
		})
	})
}

// modelGrants returns the grants there are.
func (e *env) modelGrants(t fataler) []modelGrant {
	t.Helper()
	rows, err := e.db.Query(t.Context(), `SELECT account_id, course_id, item_id, role, coalesce(expires_at, $1), id FROM role_grant ORDER BY granted_at, id`, forever)
	if err != nil {
		t.Fatalf("grants: %v", err)
	}
	defer rows.Close()
	var list []modelGrant
	for rows.Next() {
		var g modelGrant
		if err := rows.Scan(&g.account, &g.course, &g.item, &g.role, &g.ends, &g.id); err != nil {
			t.Fatalf("grants: %v", err)
		}
		g.ends = g.ends.UTC()
		list = append(list, g)
	}
	return list
}
