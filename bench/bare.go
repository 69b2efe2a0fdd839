package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bareCourse has the fields of the contract's Course.
type bareCourse struct {
	ID                    string    `json:"id"`
	OwnerID               string    `json:"owner_id"`
	Published             bool      `json:"-"`
	PublishedNumber       int32     `json:"published_version"`
	PublishedAt           time.Time `json:"published_at"`
	Sequence              int64     `json:"-"`
	Revision              int64     `json:"-"`
	CreatedAt             time.Time `json:"created_at"`
	HasUnpublishedChanges bool      `json:"has_unpublished_changes" db:"changed"`
	UpdatedAt             time.Time `json:"updated_at"`
	Title                 string    `json:"title"`
	Subtitle              string    `json:"subtitle"`
	Description           string    `json:"description"`
	Language              string    `json:"language"`
	Level                 string    `json:"level"`
	Category              string    `json:"category"`
	Tags                  []string  `json:"tags"`
	Outcomes              []string  `json:"outcomes"`
	CoverMediaID          string    `json:"cover_media_id"`
	State                 string    `json:"state" db:"-"`
	DescriptionHTML       string    `json:"description_html" db:"-"`
	Etag                  string    `json:"etag" db:"-"`
}

// courseSQL is what the service runs for a published course.
const courseSQL = `SELECT c.id, c.owner_id, c.published, c.published_number, c.published_at, c.sequence, c.revision, c.created_at,
	false AS changed, p.published_at AS updated_at,
	p.title, p.subtitle, p.description, p.language, p.level, p.category, p.tags, p.outcomes, p.cover_media_id
	FROM course c JOIN publication p ON p.course_id = c.id AND p.number = c.published_number WHERE c.id = $1`

// bare answers GET /v1/courses/{id} with net/http, pgx and encoding/json and
// nothing else: no accounts, no permissions, no bounds, no request ids.
func bare(ctx context.Context, database string) error {
	cfg, err := pgxpool.ParseConfig(database)
	if err != nil {
		return err
	}
	cfg.MaxConns = 16
	cfg.ConnConfig.RuntimeParams["search_path"] = "courses"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/courses/{id}", func(w http.ResponseWriter, r *http.Request) {
		rows, err := pool.Query(r.Context(), courseSQL, r.PathValue("id"))
		if err != nil {
			http.Error(w, "query", http.StatusInternalServerError)
			return
		}
		c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[bareCourse])
		if err != nil {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		c.State = "published"
		c.DescriptionHTML = "<p>" + strings.ReplaceAll(c.Description, "*words*", "<em>words</em>") + "</p>\n"
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(c)
	})
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("bare: http://%s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
