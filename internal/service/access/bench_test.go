package access

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/pg/pgtest"
	"github.com/stoa-lms/stoa/internal/rpc/rpctest"
	"github.com/stoa-lms/stoa/internal/secret"
	"github.com/stoa-lms/stoa/internal/service/access/accesspb"
)

// idSQL is an id made of the text of a number.
func idSQL(kind, number string) string {
	return fmt.Sprintf(`'%s_' || lpad((%s)::text, 26, '0')`, kind, number)
}

func benchID(kind string, n int) string { return fmt.Sprintf("%s_%026d", kind, n) }

// grow fills the tables with so many accounts, each with five roles and five
// entitlements, on courses that have fifty of each.
func grow(b *testing.B, accounts int) *Service {
	b.Helper()
	url := pgtest.New(b, Schema)
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	const courseOf = `(n::bigint * 7919 + k * 104729) % greatest($1 / 10, 1)`
	run := func(list ...string) {
		for _, sql := range list {
			if _, err := conn.Exec(b.Context(), strings.ReplaceAll(sql, "$1", strconv.Itoa(accounts))); err != nil {
				b.Fatalf("%s: %v", sql, err)
			}
		}
	}
	// The indexes are made at the end, which is faster.
	rows, err := conn.Query(b.Context(), `SELECT indexdef FROM pg_indexes WHERE schemaname = 'access' AND tablename IN ('role_grant', 'entitlement')`)
	if err != nil {
		b.Fatal(err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	run(
		`SET search_path = access`,
		`ALTER TABLE role_grant SET UNLOGGED`,
		`ALTER TABLE entitlement SET UNLOGGED`,
		`ALTER TABLE role_grant DROP CONSTRAINT role_grant_once`,
		`ALTER TABLE entitlement DROP CONSTRAINT entitlement_pkey`,
		`DROP INDEX role_grant_id, role_grant_list, role_grant_holder, role_grant_role, entitlement_order, entitlement_free, entitlement_access,
			entitlement_once, entitlement_due, entitlement_course, entitlement_account`,
		`INSERT INTO course (course_id, published) SELECT `+idSQL("course", "n")+`, true FROM generate_series(0, $1 / 10) AS n`,
		`INSERT INTO person SELECT `+idSQL("account", "n")+`, 'Person ' || n, 1 FROM generate_series(1, $1) AS n`,
		`INSERT INTO role_grant (id, account_id, course_id, role, granted_by, granted_at)
			SELECT `+idSQL("grant", "n::bigint * 10 + k")+`, `+idSQL("account", "n")+`, `+idSQL("course", courseOf)+`,
				(ARRAY['observer', 'grader', 'teaching_assistant', 'co_teacher', 'owner'])[k], 'x', now() - n * interval '1 second'
			FROM generate_series(1, $1) AS n, generate_series(1, 5) AS k`,
		`INSERT INTO entitlement (id, account_id, course_id, source, source_id, starts_at)
			SELECT `+idSQL("entitlement", "n::bigint * 10 + k")+`, `+idSQL("account", "n")+`, `+idSQL("course", courseOf+` + 1`)+`,
				'order', n || '.' || k, now() - interval '1 day'
			FROM generate_series(1, $1) AS n, generate_series(1, 5) AS k`,
	)
	run(indexes...)
	run(`VACUUM ANALYZE role_grant, entitlement, course, person`)
	return New(Config{DB: pgtest.OpenURL(b, url, "access"), Log: rpctest.Log(b)})
}

// BenchmarkGrowth asks the same of ten and a hundred times as many accounts: no
// answer may take longer for it.
func BenchmarkGrowth(b *testing.B) {
	for _, accounts := range []int{10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(accounts), func(b *testing.B) {
			s := grow(b, accounts)
			n := 0
			next := func(kind string, of int) string {
				n += 7
				return benchID(kind, 1+n*1009%(of-1))
			}
			for _, one := range []struct {
				name string
				call func() error
			}{
				{"check", func() error {
					_, err := s.resolve(b.Context(), []subject{{next("account", accounts), next("course", accounts/10)}})
					return err
				}},
				{"explain", func() error {
					_, err := s.explain(b.Context(), subject{next("account", accounts), next("course", accounts/10)}, courseEdit, "", true)
					return err
				}},
				{"list", func() error {
					_, err := s.roleGrants(b.Context(), next("course", accounts/10), 20, "")
					return err
				}},
				{"holders", func() error {
					_, err := s.ListHolders(b.Context(), &accesspb.ListHoldersRequest{CourseId: next("course", accounts/10), Permission: courseEdit})
					return err
				}},
			} {
				for range 500 { // pages and plans are in memory, as they are in production
					if err := one.call(); err != nil {
						b.Fatal(err)
					}
				}
				b.Run(one.name, func(b *testing.B) {
					for b.Loop() {
						if err := one.call(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// BenchmarkImport imports files of so many people: the time of a row and the
// memory may not grow with them.
func BenchmarkImport(b *testing.B) {
	for _, size := range []int{1000, 10_000, 100_000} {
		if size > 10_000 && testing.Short() {
			continue
		}
		for _, kind := range []string{"enroll", "invite"} {
			b.Run(fmt.Sprint(kind, "/", size), func(b *testing.B) {
				db := pgtest.Open(b, Schema)
				keyset, err := secret.Generate()
				if err != nil {
					b.Fatal(err)
				}
				keys, err := secret.Parse(keyset)
				if err != nil {
					b.Fatal(err)
				}
				vault, err := secret.NewVault(keys, db)
				if err != nil {
					b.Fatal(err)
				}
				s := New(Config{DB: db, Log: slog.New(slog.DiscardHandler), Vault: vault})
				admin := id.New("account")
				if _, err := db.Exec(b.Context(), `INSERT INTO role_grant (account_id, course_id, role, granted_by, granted_at) VALUES ($1, '', 'admin', 'x', now())`, admin); err != nil {
					b.Fatal(err)
				}
				ctx := auth.With(b.Context(), auth.Principal{Account: admin})
				line := func(n int) string { return benchID("account", n) + ",\n" }
				if kind == "invite" {
					line = func(n int) string { return fmt.Sprintf(",person%d@example.org\n", n) }
				}
				if _, err := db.Exec(b.Context(), `INSERT INTO person (account_id, name, version) SELECT `+idSQL("account", "n")+`, 'Person', 1 FROM generate_series(1, $1::int) AS n`, size); err != nil {
					b.Fatal(err)
				}
				var upload, apply time.Duration
				var most uint64
				for b.Loop() {
					courseID := id.New("course")
					if _, err := db.Exec(b.Context(), `INSERT INTO course (course_id, published) VALUES ($1, true)`, courseID); err != nil {
						b.Fatal(err)
					}
					before := heap()
					stop := make(chan struct{})
					peak := make(chan uint64)
					go func() { peak <- peakHeap(stop) }()
					begun := time.Now()
					i, err := s.upload(ctx, &accesspb.UploadImportRequest{CourseId: courseID}, &manyRows{of: size, header: "account_id,email\n", line: line})
					if err != nil {
						b.Fatal(err)
					}
					staged := time.Now()
					if err := s.runImports(b.Context()); err != nil {
						b.Fatal(err)
					}
					upload, apply = upload+staged.Sub(begun), apply+time.Since(staged)
					close(stop)
					most = max(most, <-peak-before)
					got, err := s.GetImport(ctx, &accesspb.GetImportRequest{CourseId: courseID, ImportId: i.GetId()})
					if err != nil || int(got.GetEnrolled()+got.GetInvited()) != size {
						b.Fatal(got, err)
					}
				}
				rows := float64(b.N * size)
				b.ReportMetric(float64(upload.Microseconds())/rows, "µs-upload/row")
				b.ReportMetric(float64(apply.Microseconds())/rows, "µs-apply/row")
				b.ReportMetric(float64(most)/(1<<20), "MiB-peak")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// peakHeap looks at the memory in use, garbage too, until stop.
func peakHeap(stop <-chan struct{}) (most uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		metrics.Read(sample)
		most = max(most, sample[0].Value.Uint64())
		select {
		case <-tick.C:
		case <-stop:
			return most
		}
	}
}
