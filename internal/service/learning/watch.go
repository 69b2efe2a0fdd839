package learning

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/learning/learningpb"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// keptRanges bounds the parts that are kept of a file. With more of them gaps are taken
// as watched that are shorter than a second, and than a tenth of what was played on
// either side of them: so who jumps gains nothing by it. Of what is more still, the
// shortest go.
const (
	keptRanges = 500
	mostRanges = 1000
)

// RecordWatch implements learningpb.ProgressServiceServer.
func (s *Service) RecordWatch(ctx context.Context, req *learningpb.RecordWatchRequest) (*learningpb.RecordWatchResponse, error) {
	for i, p := range req.GetIntervals() {
		if p.GetToMs() <= p.GetFromMs() {
			return nil, fault.InvalidField(fmt.Sprintf("intervals[%d].to_ms", i), "watch.interval", "An interval ends behind where it begins.")
		}
	}
	return whenOpen(ctx, s, req.GetCourseId(), req.GetLessonId(), func(checked bool) (*learningpb.RecordWatchResponse, error) {
		return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*learningpb.RecordWatchResponse, error) {
			tx.Exempt("what was played, which the completion of the item records")
			c := &scene{AccountID: auth.From(ctx).Account, CourseID: req.GetCourseId(), ItemID: req.GetLessonId()}
			if err := s.enter(ctx, tx, c, checked, ErrLessonNotFound); err != nil {
				return nil, err
			}
			return s.watch(ctx, tx, c, req)
		})
	})
}

func (s *Service) watch(ctx context.Context, tx *pg.Tx, c *scene, req *learningpb.RecordWatchRequest) (*learningpb.RecordWatchResponse, error) {
	played, claimed, all := c.played(req.GetIntervals())
	newest := c.watch.newest(req.GetSessionId(), req.GetSequence())
	credited, repeated := c.watch.credit(c.now.UnixMilli(), req.GetSessionId(), req.GetSequence(), claimed)
	res := &learningpb.RecordWatchResponse{CreditedMs: credited, CutMs: all - credited, Repeated: repeated}
	if !repeated {
		position := req.GetPosition()
		if !newest {
			position = nil // where the player stood before
		}
		if err := c.store(ctx, tx, cut(played, credited), credited, position); err != nil {
			return nil, err
		}
	}
	lowest := int64(100)
	for i, m := range c.MediaIDs {
		w := &learningpb.WatchedMedia{MediaId: m, WatchedMs: c.Watched[i], DurationMs: c.Durations[i]}
		if w.GetDurationMs() > 0 {
			w.Percent = int32(min(100, w.GetWatchedMs()*100/w.GetDurationMs())) //nolint:gosec // at most 100
		}
		lowest = min(lowest, int64(w.GetPercent()))
		res.Media = append(res.Media, w)
	}
	res.Complete = c.Complete
	if c.Complete || c.WatchPercent == 0 || lowest < int64(c.WatchPercent) || credited == 0 {
		return res, nil
	}
	done, err := s.settle(ctx, tx, whom{c.CourseID, []string{c.AccountID}, []string{c.ItemID}, true, c.now})
	res.Complete = done > 0
	return res, err
}

// stretch is a part of one of the scene's media that was played.
type stretch struct {
	media int // its place in MediaIDs
	span
}

// played returns what a report tells of the media of the item, how long that is, and
// how long the report is in all.
func (c *scene) played(intervals []*learningpb.PlayedInterval) (list []stretch, claimed, all int64) {
	for _, p := range intervals {
		all += p.GetToMs() - p.GetFromMs()
		i := slices.Index(c.MediaIDs, p.GetMediaId())
		if i < 0 {
			continue
		}
		to := p.GetToMs()
		if c.Durations[i] > 0 {
			to = min(to, c.Durations[i])
		}
		if to > p.GetFromMs() {
			list = append(list, stretch{i, span{p.GetFromMs(), to}})
			claimed += to - p.GetFromMs()
		}
	}
	return list, claimed, all
}

// cut returns the first stretches, so that they are as long as was credited.
func cut(list []stretch, credited int64) []stretch {
	var out []stretch
	for _, p := range list {
		if credited <= 0 {
			break
		}
		p.To = min(p.To, p.From+credited)
		credited -= p.To - p.From
		out = append(out, p)
	}
	return out
}

// store adds stretches to what was watched, and what else a report leaves behind.
func (c *scene) store(ctx context.Context, tx *pg.Tx, played []stretch, credited int64, position *learningpb.PlayerPosition) error {
	ranges := make(map[int]string, 1)
	for _, p := range played {
		ranges[p.media] += ",[" + strconv.FormatInt(p.From, 10) + "," + strconv.FormatInt(p.To, 10) + ")"
	}
	var media, sets, many []string
	for i, m := range c.MediaIDs {
		if r := ranges[i]; r != "" {
			media, sets = append(media, m), append(sets, "{"+strings.TrimPrefix(r, ",")+"}")
		}
	}
	b := &pgx.Batch{}
	if len(media) > 0 {
		b.Queue(`
			INSERT INTO watched AS w (course_id, media_id, account_id, ranges, watched_ms)
			SELECT $1, f.media_id, $2, f.ranges::int4multirange, (SELECT sum(upper(r) - lower(r)) FROM unnest(f.ranges::int4multirange) AS r)
			FROM unnest($3::text[], $4::text[]) AS f (media_id, ranges)
			ON CONFLICT (course_id, media_id, account_id) DO UPDATE SET ranges = w.ranges + EXCLUDED.ranges,
				watched_ms = (SELECT sum(upper(r) - lower(r)) FROM unnest(w.ranges + EXCLUDED.ranges) AS r)
			RETURNING media_id, watched_ms::bigint, (SELECT count(*) FROM unnest(ranges))`, c.CourseID, c.AccountID, media, sets).Query(func(rows pgx.Rows) error {
			var m string
			var watched, n int64
			_, err := pgx.ForEachRow(rows, []any{&m, &watched, &n}, func() error {
				c.Watched[slices.Index(c.MediaIDs, m)] = watched
				if n > keptRanges {
					many = append(many, m)
				}
				return nil
			})
			return err
		})
	}
	if position != nil && slices.Contains(c.MediaIDs, position.GetMediaId()) {
		b.Queue(`
			INSERT INTO item_fact (course_id, account_id, item_id, position_media_id, position_ms, position_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (course_id, account_id, item_id) DO UPDATE SET position_media_id = EXCLUDED.position_media_id,
				position_ms = EXCLUDED.position_ms, position_at = EXCLUDED.position_at`,
			c.CourseID, c.AccountID, c.ItemID, position.GetMediaId(), position.GetPositionMs(), c.now)
	}
	if err := c.leave(b, credited, credited > 0); err != nil {
		return err
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("store watched: %w", err)
	}
	if len(many) == 0 {
		return nil
	}
	return c.compact(ctx, tx, many)
}

// compact keeps the number of ranges of some media small.
func (c *scene) compact(ctx context.Context, tx *pg.Tx, media []string) error {
	rows, err := tx.Query(ctx, `
		WITH part AS (
			SELECT w.media_id, lower(x) AS a, upper(x) AS b, lower(x) - lag(upper(x)) OVER one AS gap,
				least(upper(x) - lower(x), lag(upper(x) - lower(x)) OVER one) AS shorter
			FROM watched w CROSS JOIN unnest(w.ranges) AS x WHERE w.course_id = $1 AND w.account_id = $2 AND w.media_id = ANY($3::text[])
			WINDOW one AS (PARTITION BY w.media_id ORDER BY lower(x))
		), joined AS (
			SELECT media_id, a, b, count(*) FILTER (WHERE gap IS NULL OR gap >= 1000 OR gap * 10 > shorter) OVER (PARTITION BY media_id ORDER BY a) AS island
			FROM part
		), longest AS (
			SELECT media_id, min(a) AS a, max(b) AS b, row_number() OVER (PARTITION BY media_id ORDER BY max(b) - min(a) DESC, min(a)) AS n
			FROM joined GROUP BY media_id, island
		), fewer AS (
			SELECT media_id, range_agg(int4range(a, b)) AS ranges FROM longest WHERE n <= $4 GROUP BY media_id
		)
		UPDATE watched w SET ranges = f.ranges, watched_ms = (SELECT sum(upper(r) - lower(r)) FROM unnest(f.ranges) AS r)
		FROM fewer f WHERE w.course_id = $1 AND w.account_id = $2 AND w.media_id = f.media_id
		RETURNING w.media_id, w.watched_ms::bigint`, c.CourseID, c.AccountID, media, mostRanges)
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	var m string
	var watched int64
	_, err = pgx.ForEachRow(rows, []any{&m, &watched}, func() error {
		c.Watched[slices.Index(c.MediaIDs, m)] = watched
		return nil
	})
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// mediaChanged keeps how long a file is. What was reported beyond its end was never
// played; and who had watched enough of it before its length was known has completed
// what hangs on it.
func (s *Service) mediaChanged(ctx context.Context, tx *pg.Tx, e *mediapb.MediaChanged) error {
	duration := min(max(e.GetDurationMs(), 0), maxMedia)
	var before int64
	err := tx.QueryRow(ctx, `
		WITH old AS (SELECT duration_ms FROM media WHERE media_id = $1)
		INSERT INTO media AS m (media_id, version, duration_ms) VALUES ($1, $2, $3)
		ON CONFLICT (media_id) DO UPDATE SET version = EXCLUDED.version, duration_ms = EXCLUDED.duration_ms WHERE m.version < EXCLUDED.version
		RETURNING coalesce((SELECT duration_ms FROM old), 0)`, e.GetMediaId(), e.GetVersion(), duration).Scan(&before)
	if pg.NoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store media: %w", err)
	}
	if duration == 0 || duration == before {
		return nil
	}
	rows, err := tx.Query(ctx, `
		SELECT course_id, array_agg(DISTINCT item_id) FROM published_item WHERE media_ids @> ARRAY[$1] AND media_ids <> '{}'
		GROUP BY course_id ORDER BY course_id`, e.GetMediaId())
	if err != nil {
		return fmt.Errorf("items of media: %w", err)
	}
	type shown struct {
		CourseID string
		ItemIDs  []string
	}
	courses, err := pgx.CollectRows(rows, pgx.RowToStructByPos[shown])
	if err != nil {
		return fmt.Errorf("items of media: %w", err)
	}
	ids := make([]string, len(courses))
	for i, c := range courses {
		ids[i] = c.CourseID
		if err := lockCourseToChange(ctx, tx, c.CourseID); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `
		UPDATE watched w SET ranges = w.ranges * int4multirange(int4range(0, $2)),
			watched_ms = (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(w.ranges * int4multirange(int4range(0, $2))) AS r)
		WHERE w.course_id = ANY($3::text[]) AND w.media_id = $1 AND upper(w.ranges) > $2`, e.GetMediaId(), duration, ids)
	if err != nil {
		return fmt.Errorf("cut watched: %w", err)
	}
	for _, c := range courses {
		if err := s.settleAll(ctx, tx, crowd{CourseID: c.CourseID, Items: c.ItemIDs, Narrow: true}); err != nil {
			return err
		}
	}
	return nil
}
