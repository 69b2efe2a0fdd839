package assessment

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// category is a category as it is stored.
type category struct {
	ID        string
	CourseID  string
	ParentID  string
	Name      string
	Revision  int64
	Path      []string
	Questions int32
}

func (c category) pb() *assessmentpb.QuestionCategory {
	return &assessmentpb.QuestionCategory{
		Id: c.ID, CourseId: c.CourseID, ParentId: c.ParentID, Name: c.Name, Path: c.Path, QuestionCount: c.Questions, Etag: strconv.FormatInt(c.Revision, 10),
	}
}

// tree returns all categories of some banks, by bank and then by path.
func tree(ctx context.Context, q pg.Querier, courses []string) ([]category, error) {
	rows, err := q.Query(ctx, `
		WITH RECURSIVE c AS (
			SELECT id, course_id, coalesce(parent_id, '') AS parent_id, name, revision, ARRAY[name] AS path
			FROM question_category WHERE course_id = ANY($1) AND parent_id IS NULL
			UNION ALL
			SELECT k.id, k.course_id, k.parent_id, k.name, k.revision, c.path || k.name FROM c JOIN question_category k ON k.parent_id = c.id
		)
		SELECT c.*, coalesce(n.questions, 0)::integer AS questions
		FROM c LEFT JOIN (
			SELECT category_id, count(*) AS questions FROM question WHERE course_id = ANY($1) AND deleted_at IS NULL GROUP BY category_id
		) n ON n.category_id = c.id
		ORDER BY array_position($1, c.course_id), c.path`, courses)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[category])
	if err != nil {
		return nil, fmt.Errorf("categories: %w", err)
	}
	return found, nil
}

// under returns a category of the tree and all that are in it, at any depth.
func under(all []category, categoryID string) []string {
	ids := []string{categoryID}
	for i := 0; i < len(ids); i++ {
		for _, c := range all {
			if c.ParentID == ids[i] {
				ids = append(ids, c.ID)
			}
		}
	}
	return ids
}

func find(all []category, categoryID string) (category, bool) {
	i := slices.IndexFunc(all, func(c category) bool { return c.ID == categoryID })
	if i < 0 {
		return category{}, false
	}
	return all[i], true
}

// place refuses a category to put something in that is not of the bank. It is locked
// against being deleted until the transaction ends.
func place(ctx context.Context, tx *pg.Tx, courseID, categoryID string) error {
	if categoryID == "" {
		return nil
	}
	var found bool
	err := tx.QueryRow(ctx, `SELECT true FROM question_category WHERE id = $1 AND course_id = $2 FOR KEY SHARE`, categoryID, courseID).Scan(&found)
	if pg.NoRows(err) {
		return fault.InvalidField("category_id", "category.not_found", "Name a category of this course's own bank, or none.")
	}
	return err
}

// ListCategories implements assessmentpb.BankServiceServer.
func (r *bankServer) ListCategories(ctx context.Context, req *assessmentpb.ListCategoriesRequest) (*assessmentpb.ListCategoriesResponse, error) {
	courses, err := banks(ctx, r.service.db, req.GetCourseId())
	if err != nil {
		return nil, err
	}
	all, err := tree(ctx, r.service.db, courses)
	if err != nil {
		return nil, err
	}
	res := &assessmentpb.ListCategoriesResponse{Items: make([]*assessmentpb.QuestionCategory, len(all))}
	for i, c := range all {
		res.Items[i] = c.pb()
	}
	return res, nil
}

// CreateCategory implements assessmentpb.BankServiceServer.
func (r *bankServer) CreateCategory(ctx context.Context, req *assessmentpb.CreateCategoryRequest) (*assessmentpb.QuestionCategory, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*assessmentpb.QuestionCategory, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		all, err := tree(ctx, tx, []string{req.GetCourseId()})
		if err != nil {
			return nil, err
		}
		if len(all) >= maxCategories {
			return nil, ErrCategoriesFull
		}
		c := category{ID: id.New("category"), CourseID: req.GetCourseId(), ParentID: req.GetParentId(), Name: strings.TrimSpace(req.GetName()), Revision: 1}
		if c.Path, err = pathOf(all, c, 1); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO question_category (id, course_id, parent_id, name, created_at) VALUES ($1, $2, nullif($3, ''), $4, $5)`,
			c.ID, c.CourseID, c.ParentID, c.Name, r.service.time()); err != nil {
			return nil, categoryFault(err)
		}
		return c.pb(), audit.Record(ctx, tx, audit.Entry{Action: "question_category.created", Object: c.ID, Course: c.CourseID, After: c.state()})
	})
}

func (c category) state() any { return map[string]string{"name": c.Name, "parent": c.ParentID} }

// pathOf returns the names down to a category that is to be in the tree, and refuses
// one that would be too deep with what is in it: height levels, itself counted.
func pathOf(all []category, c category, height int) ([]string, error) {
	path := []string{c.Name}
	if c.ParentID != "" {
		parent, ok := find(all, c.ParentID)
		if !ok {
			return nil, fault.InvalidField("parent_id", "category.not_found", "Name a category of this course's own bank, or none.")
		}
		path = append(slices.Clone(parent.Path), c.Name)
	}
	if len(path)-1+height > maxDepth {
		return nil, fault.InvalidField("parent_id", "category.too_deep", fmt.Sprintf("Categories are at most %d deep.", maxDepth))
	}
	return path, nil
}

func categoryFault(err error) error {
	if pg.Violates(err, "question_category_name") {
		return ErrCategoryExists
	}
	return err
}

// UpdateCategory implements assessmentpb.BankServiceServer.
func (r *bankServer) UpdateCategory(ctx context.Context, req *assessmentpb.UpdateCategoryRequest) (*assessmentpb.QuestionCategory, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*assessmentpb.QuestionCategory, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		all, err := tree(ctx, tx, []string{req.GetCourseId()})
		if err != nil {
			return nil, err
		}
		c, ok := find(all, req.GetCategoryId())
		if !ok {
			return nil, ErrCategoryNotFound
		}
		if err := rpc.Match(ctx, strconv.FormatInt(c.Revision, 10)); err != nil {
			return nil, err
		}
		before, inside := c, under(all, c.ID)
		if req.Name != nil {
			c.Name = strings.TrimSpace(req.GetName())
		}
		if req.ParentId != nil {
			c.ParentID = req.GetParentId()
		}
		if slices.Contains(inside, c.ParentID) {
			return nil, fault.InvalidField("parent_id", "category.circle", "A category can't be moved into itself.")
		}
		height := 1
		for _, k := range all {
			if slices.Contains(inside, k.ID) {
				height = max(height, len(k.Path)-len(before.Path)+1)
			}
		}
		if c.Path, err = pathOf(all, c, height); err != nil {
			return nil, err
		}
		if c.Name == before.Name && c.ParentID == before.ParentID {
			tx.Exempt("nothing changes")
			return c.pb(), nil
		}
		if err := tx.QueryRow(ctx, `UPDATE question_category SET name = $2, parent_id = nullif($3, ''), revision = revision + 1 WHERE id = $1 RETURNING revision`,
			c.ID, c.Name, c.ParentID).Scan(&c.Revision); err != nil {
			return nil, categoryFault(err)
		}
		return c.pb(), audit.Record(ctx, tx, audit.Entry{Action: "question_category.updated", Object: c.ID, Course: c.CourseID, Before: before.state(), After: c.state()})
	})
}

// DeleteCategory implements assessmentpb.BankServiceServer.
func (r *bankServer) DeleteCategory(ctx context.Context, req *assessmentpb.DeleteCategoryRequest) (*emptypb.Empty, error) {
	return idempotency.Do(ctx, r.service.db, req, func(tx *pg.Tx) (*emptypb.Empty, error) {
		if err := lockBank(ctx, tx, req.GetCourseId()); err != nil {
			return nil, err
		}
		c := category{ID: req.GetCategoryId(), CourseID: req.GetCourseId()}
		err := tx.QueryRow(ctx, `SELECT name, coalesce(parent_id, '') FROM question_category WHERE id = $1 AND course_id = $2 FOR UPDATE`, c.ID, c.CourseID).Scan(&c.Name, &c.ParentID)
		if pg.NoRows(err) {
			return nil, ErrCategoryNotFound
		}
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE question SET category_id = nullif($2, '') WHERE category_id = $1`, c.ID, c.ParentID); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, `UPDATE question_category SET parent_id = nullif($2, ''), revision = revision + 1 WHERE parent_id = $1`, c.ID, c.ParentID); err != nil {
			return nil, categoryFault(err)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM question_category WHERE id = $1`, c.ID); err != nil {
			if pg.Violates(err, "quiz_category_category") {
				return nil, ErrCategoryDrawn
			}
			return nil, err
		}
		return &emptypb.Empty{}, audit.Record(ctx, tx, audit.Entry{Action: "question_category.deleted", Object: c.ID, Course: c.CourseID, Before: c.state()})
	})
}
