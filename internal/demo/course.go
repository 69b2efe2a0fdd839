package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// build makes a course and publishes it. One that was published before is left
// as it is; one that is not is completed from where it stands.
func (s *school) build(ctx context.Context, c course) error {
	teacher, ok := byEmail(c.Teacher)
	if !ok {
		return fmt.Errorf("nobody has the address %q", c.Teacher)
	}
	ctx, err := s.as(ctx, teacher)
	if err != nil {
		return err
	}
	there, err := s.findCourse(ctx, c)
	if err != nil {
		return err
	}
	s.made[c.folder] = there.GetId()
	if there.GetPublishedVersion() > 0 {
		return nil
	}
	media, err := s.upload(ctx, c, there.GetId())
	if err != nil {
		return err
	}
	if there.GetCoverMediaId() == "" {
		cover := media[path.Base(c.Cover)]
		_, err := s.courses.UpdateCourse(c.key(ctx, "cover"), &coursespb.UpdateCourseRequest{CourseId: there.GetId(), CoverMediaId: &cover})
		if err != nil {
			return fmt.Errorf("cover: %w", err)
		}
	}
	if err := s.fill(ctx, c, there.GetId(), media); err != nil {
		return err
	}
	if err := s.addQuiz(ctx, c, there.GetId()); err != nil {
		return err
	}
	// Before it is published, so that nobody sees it without a price.
	if err := s.setPrice(ctx, c, there.GetId()); err != nil {
		return err
	}
	_, err = s.courses.PublishCourse(c.key(ctx, "publish"), &coursespb.PublishCourseRequest{CourseId: there.GetId(), Message: "First edition"})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// key returns a context for the one call that makes a thing of the course.
func (c course) key(ctx context.Context, format string, args ...any) context.Context {
	return rpc.WithIdempotencyKey(ctx, "demo-"+c.folder+"-"+fmt.Sprintf(format, args...))
}

// findCourse returns the caller's course of that title, new if there is none.
func (s *school) findCourse(ctx context.Context, c course) (*coursespb.Course, error) {
	for cursor := ""; ; {
		res, err := s.courses.ListCourses(ctx, &coursespb.ListCoursesRequest{PageSize: 100, Cursor: cursor})
		if err != nil {
			return nil, fmt.Errorf("list courses: %w", err)
		}
		for _, one := range res.GetItems() {
			if one.GetTitle() == c.Title {
				return one, nil
			}
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	made, err := s.courses.CreateCourse(c.key(ctx, "course"), &coursespb.CreateCourseRequest{
		Title: c.Title, Subtitle: c.Subtitle, Description: c.description, Language: c.Language,
		Level: c.Level, Category: c.Category, Tags: c.Tags, Outcomes: c.Outcomes,
	})
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	return made, nil
}

// upload brings the images and files that are not there yet and returns the ids
// of all by their names.
func (s *school) upload(ctx context.Context, c course, courseID string) (map[string]string, error) {
	ids := map[string]string{}
	for cursor := ""; ; {
		res, err := s.media.ListMedia(ctx, &mediapb.ListMediaRequest{CourseId: courseID, PageSize: 100, Cursor: cursor})
		if err != nil {
			return nil, fmt.Errorf("list media: %w", err)
		}
		for _, m := range res.GetItems() {
			ids[m.GetFilename()] = m.GetId()
		}
		if cursor = res.GetNextCursor(); cursor == "" {
			break
		}
	}
	for _, name := range c.media {
		if ids[path.Base(name)] != "" {
			continue
		}
		body, err := c.read(name)
		if err != nil {
			return nil, err
		}
		err = again(ctx, "upload "+name, away, func(ctx context.Context) (err error) {
			ids[path.Base(name)], err = s.send(c.key(ctx, "media-%s", name), courseID, path.Base(name), body)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", name, err)
		}
	}
	return ids, nil
}

// send uploads one file.
func (s *school) send(ctx context.Context, courseID, filename string, body []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stream, err := s.media.UploadMedia(ctx)
	if err != nil {
		return "", err
	}
	const piece = 64 << 10
	for chunk := range slices.Chunk(body, piece) {
		err := stream.Send(&mediapb.UploadMediaRequest{CourseId: courseID, Filename: filename, Chunk: chunk})
		if errors.Is(err, io.EOF) {
			break // what went wrong is in the answer
		}
		if err != nil {
			return "", err
		}
		courseID, filename = "", "" // only in the first message
	}
	m, err := stream.CloseAndRecv()
	return m.GetId(), err
}

// fill adds the modules and lessons that are missing. They are made in their
// order, so what is there is the beginning.
func (s *school) fill(ctx context.Context, c course, courseID string, media map[string]string) error {
	outline, err := s.courses.GetOutline(ctx, &coursespb.GetOutlineRequest{CourseId: courseID})
	if err != nil {
		return fmt.Errorf("outline: %w", err)
	}
	for i, m := range c.Modules {
		at := slices.IndexFunc(outline.GetModules(), func(o *coursespb.Module) bool { return o.GetTitle() == m.Title })
		var there *coursespb.Module
		if at >= 0 {
			there = outline.GetModules()[at]
		} else {
			there, err = s.courses.CreateModule(c.key(ctx, "module-%d", i), &coursespb.CreateModuleRequest{CourseId: courseID, Title: m.Title})
			if err != nil {
				return fmt.Errorf("module %q: %w", m.Title, err)
			}
		}
		for _, l := range m.Lessons {
			if slices.ContainsFunc(there.GetLessons(), func(o *coursespb.Lesson) bool { return o.GetTitle() == l.title }) {
				continue
			}
			_, err := s.courses.CreateLesson(c.key(ctx, "lesson-%s", l.File), &coursespb.CreateLessonRequest{
				CourseId: courseID, ModuleId: there.GetId(), Title: l.title, Preview: l.Preview, Blocks: l.contract(media),
			})
			if err != nil {
				return fmt.Errorf("lesson %q: %w", l.title, err)
			}
		}
	}
	return nil
}

// contract returns the lesson's blocks as the contract has them.
func (l lesson) contract(media map[string]string) []*coursespb.Block {
	blocks := make([]*coursespb.Block, 0, len(l.blocks))
	for _, b := range l.blocks {
		id := media[path.Base(b.media)]
		switch {
		case b.media == "":
			blocks = append(blocks, &coursespb.Block{Content: &coursespb.Block_Markdown{Markdown: &coursespb.MarkdownBlock{Text: b.text}}})
		case b.image():
			blocks = append(blocks, &coursespb.Block{Content: &coursespb.Block_Image{Image: &coursespb.ImageBlock{MediaId: id, Alt: b.text, Caption: b.caption}}})
		default:
			blocks = append(blocks, &coursespb.Block{Content: &coursespb.Block_File{File: &coursespb.FileBlock{MediaId: id, Title: b.text}}})
		}
	}
	return blocks
}

func (s *school) setPrice(ctx context.Context, c course, courseID string) error {
	_, err := s.commerce.GetPrice(ctx, &commercepb.GetPriceRequest{CourseId: courseID})
	if err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, err := s.commerce.SetPrice(c.key(ctx, "price"), &commercepb.SetPriceRequest{CourseId: courseID, Price: c.price()}); err != nil {
		return fmt.Errorf("price: %w", err)
	}
	return nil
}
