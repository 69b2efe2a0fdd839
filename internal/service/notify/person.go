package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/secret"
)

// emailField names a person's address when it is sealed.
const emailField = "email"

// person is whom to tell.
type person struct {
	AccountID string
	Email     string
	Name      string
	Locale    string
	Version   int64
}

// course is what a course is called and whose it is.
type course struct {
	CourseID string
	Sequence int64
	Title    string
	OwnerID  string
}

// storePerson keeps the newest that was heard of somebody.
func (s *Service) storePerson(ctx context.Context, tx *pg.Tx, p person) error {
	key, err := s.vault.KeyIn(ctx, tx, p.AccountID)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO person (account_id, email_sealed, name, locale, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id) DO UPDATE SET
			email = '', email_sealed = EXCLUDED.email_sealed, name = EXCLUDED.name, locale = EXCLUDED.locale, version = EXCLUDED.version
		WHERE person.version < EXCLUDED.version`, p.AccountID, key.Seal(emailField, []byte(p.Email)), p.Name, p.Locale, p.Version)
	if err != nil {
		return fmt.Errorf("store person: %w", err)
	}
	return nil
}

// storeCourse keeps the newest that was heard of a course.
func storeCourse(ctx context.Context, tx *pg.Tx, c course) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO course (course_id, sequence, title, owner_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (course_id) DO UPDATE SET
			sequence = EXCLUDED.sequence, title = EXCLUDED.title, owner_id = EXCLUDED.owner_id
		WHERE course.sequence < EXCLUDED.sequence`, c.CourseID, c.Sequence, c.Title, c.OwnerID)
	if err != nil {
		return fmt.Errorf("store course: %w", err)
	}
	return nil
}

// people returns the accounts by id. One that was not heard of yet is an error
// which goes away when it was. One whose key was erased has no address.
func (s *Service) people(ctx context.Context, tx *pg.Tx, ids ...string) (map[string]person, error) {
	rows, err := tx.Query(ctx, `SELECT account_id, email, email_sealed, name, locale, version FROM person WHERE account_id = ANY ($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	type stored struct {
		person
		EmailSealed []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[stored])
	if err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	known := make([]string, len(found))
	for i, p := range found {
		known[i] = p.AccountID
	}
	keys, err := s.vault.KeysIn(ctx, tx, known...)
	if err != nil {
		return nil, err
	}
	out := make(map[string]person, len(found))
	for _, p := range found {
		if p.Email == "" {
			plain, err := keys[p.AccountID].Unseal(emailField, p.EmailSealed)
			if err != nil && !errors.Is(err, secret.ErrUnreadable) {
				return nil, err
			}
			p.Email = string(plain)
		}
		out[p.AccountID] = p.person
	}
	for _, id := range ids {
		if _, ok := out[id]; !ok {
			return nil, fmt.Errorf("account %s is not known here yet", id)
		}
	}
	return out, nil
}

// readCourse returns a course. One that was not heard of yet is an error which
// goes away when it was.
func readCourse(ctx context.Context, tx *pg.Tx, courseID string) (course, error) {
	rows, err := tx.Query(ctx, `SELECT course_id, sequence, title, owner_id FROM course WHERE course_id = $1`, courseID)
	if err != nil {
		return course{}, fmt.Errorf("read course: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[course])
	if pg.NoRows(err) {
		return course{}, fmt.Errorf("course %s is not known here yet", courseID)
	}
	if err != nil {
		return course{}, fmt.Errorf("read course: %w", err)
	}
	return c, nil
}
