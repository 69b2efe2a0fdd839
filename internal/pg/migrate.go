package pg

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// common holds the tables that every service has: outbox, inbox and
// idempotency keys.
//
//go:embed migrations/*.sql
var common embed.FS

// Schema is a service's name with its migrations: numbered goose files at the
// root of the file system.
type Schema struct {
	Name       string
	Migrations fs.FS
}

// Sub returns the folder "migrations" of an embedded file system. It panics
// when there is none, which is a defect of the build.
func Sub(fsys fs.FS) fs.FS {
	sub, err := fs.Sub(fsys, "migrations")
	if err != nil {
		panic(err)
	}
	return sub
}

// Version is how far a schema has been migrated.
type Version struct {
	Schema        string
	Current, Want int64
}

// Migrate brings each schema up to its newest migration, making the schema and
// its role when they are not there. It waits for another process that migrates
// the same schema. The URL's user must be allowed to make schemas and roles.
func Migrate(ctx context.Context, url string, schemas ...Schema) error {
	for _, s := range schemas {
		if err := migrate(ctx, url, s); err != nil {
			return fmt.Errorf("migrate %s: %w", s.Name, err)
		}
	}
	return nil
}

// Versions returns how far each schema has been migrated, without changing it.
func Versions(ctx context.Context, url string, schemas ...Schema) ([]Version, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, told(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var out []Version
	for _, s := range schemas {
		v := Version{Schema: s.Name}
		names, err := fs.Glob(s.Migrations, "*.sql")
		if err != nil {
			return nil, err
		}
		v.Want = int64(len(names))
		var exists bool
		if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, s.Name+".migration").Scan(&exists); err != nil {
			return nil, err
		}
		if exists {
			table := pgx.Identifier{s.Name, "migration"}.Sanitize()
			if err := conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+table).Scan(&v.Current); err != nil {
				return nil, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func migrate(ctx context.Context, url string, s Schema) error {
	if !schemaName.MatchString(s.Name) {
		return fmt.Errorf("%q is no schema name", s.Name)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["search_path"] = s.Name + ",public"
	cfg.RuntimeParams["application_name"] = "stoa/migrate"
	db := stdlib.OpenDB(*cfg)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(2)

	// One lock over everything, held by a connection of its own: roles and
	// extensions are made for all schemas.
	lock, err := db.Conn(ctx)
	if err != nil {
		return told(err)
	}
	defer func() { _ = lock.Close() }()
	if _, err := lock.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockKey); err != nil {
		return err
	}
	defer func() { _, _ = lock.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockKey) }()

	if _, err := lock.ExecContext(ctx, prepare(s.Name)); err != nil {
		return fmt.Errorf("schema and role: %w", err)
	}
	files, err := fs.Sub(common, "migrations")
	if err != nil {
		return err
	}
	if err := up(ctx, db, files, "migration_common"); err != nil {
		return err
	}
	if err := up(ctx, db, s.Migrations, "migration"); err != nil {
		return err
	}
	_, err = lock.ExecContext(ctx, grants(s.Name))
	return err
}

var lockKey = int64(binary.BigEndian.Uint64([]byte("stoa.mig")))

func up(ctx context.Context, db *sql.DB, files fs.FS, table string) error {
	store, err := database.NewStore(database.DialectPostgres, table)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectCustom, db, files, goose.WithStore(store))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// prepare is guarded against another database of the same cluster that makes
// the role at the same time: roles belong to the cluster, the lock does not.
// Since PostgreSQL 16 who makes a role is a member of it and still may not act
// as it.
func prepare(schema string) string {
	return fmt.Sprintf(`
CREATE SCHEMA IF NOT EXISTS %[1]s;
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[2]s') THEN
		CREATE ROLE %[2]s NOLOGIN;
	END IF;
	IF NOT pg_has_role(current_user, '%[2]s', CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
		GRANT %[2]s TO CURRENT_USER;
	END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;`, schema, Role(schema))
}

// grants lets the service use its tables and not change their shape.
func grants(schema string) string {
	return fmt.Sprintf(`
GRANT USAGE ON SCHEMA %[1]s TO %[2]s;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %[1]s TO %[2]s;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %[1]s TO %[2]s;`, schema, Role(schema))
}

// Fingerprint names the state that the schemas' migrations lead to: equal
// files, equal name.
func Fingerprint(schemas ...Schema) (string, error) {
	h := sha256.New()
	add := func(name string, fsys fs.FS) error {
		return fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(fsys, path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(h, "%s/%s %d\n%s\n", name, path, len(text), text)
			return err
		})
	}
	if err := add("common", common); err != nil {
		return "", err
	}
	for _, s := range schemas {
		if _, err := fmt.Fprint(h, grants(s.Name), prepare(s.Name)); err != nil {
			return "", err
		}
		if err := add(s.Name, s.Migrations); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
