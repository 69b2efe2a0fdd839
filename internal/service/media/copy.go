package media

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-lms/stoa/internal/audit"
	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/id"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// CopyMedia implements mediapb.LibraryServiceServer. The number of statements
// does not depend on that of the files, as long as they are processed.
func (r *server) CopyMedia(ctx context.Context, req *mediapb.CopyMediaRequest) (*mediapb.CopyMediaResponse, error) {
	s := r.media
	return idempotency.Do(ctx, s.db, req, func(tx *pg.Tx) (*mediapb.CopyMediaResponse, error) {
		// Locked, so that none is purged before its copy is there.
		rows, err := tx.Query(ctx, `
			SELECT `+columns+` FROM media WHERE id = ANY ($1) AND course_id = $2 AND (deleted_at IS NULL OR held) AND purpose = 'library'
			ORDER BY id FOR SHARE`, req.GetMediaIds(), req.GetFromCourseId())
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[file])
		if err != nil {
			return nil, err
		}
		if len(found) < len(req.GetMediaIds()) {
			return nil, ErrNotFound
		}
		copies, size, now := map[string]string{}, int64(0), s.utc()
		var finished []file
		for _, f := range found {
			from := f.ID
			f.ID, f.CourseID, f.CreatedAt, f.Public = id.New("media"), req.GetToCourseId(), now, false
			copies[from] = f.ID
			size += f.Size
			if slices.Contains([]string{stateReady, stateBroken, stateRefused}, f.State) {
				finished = append(finished, f)
			} else if err := s.stored(ctx, tx, &f); err != nil {
				return nil, err
			}
		}
		if err := insertFiles(ctx, tx, finished); err != nil {
			return nil, err
		}
		if err := tellLengths(ctx, tx, finished); err != nil {
			return nil, err
		}
		if err := copyCaptions(ctx, tx, copies); err != nil {
			return nil, err
		}
		if err := s.settle(ctx, tx, req.GetToCourseId(), "", room{Used: size}); err != nil {
			return nil, err
		}
		res := &mediapb.CopyMediaResponse{}
		for _, from := range req.GetMediaIds() {
			res.Items = append(res.Items, &mediapb.CopiedMedia{FromMediaId: from, MediaId: copies[from]})
		}
		return res, audit.Record(ctx, tx, audit.Entry{
			Action: "media.copied", Object: req.GetToCourseId(), Course: req.GetToCourseId(),
			After: map[string]any{"from": req.GetFromCourseId(), "files": len(found), "size": size},
		})
	})
}

// tellLengths tells how long new files are whose objects were processed before: no
// processing tells it of them. They are of one course's library.
func tellLengths(ctx context.Context, tx *pg.Tx, files []file) error {
	ids, of := []string{}, map[string][]file{}
	for _, f := range files {
		if f.State == stateReady && orLibrary(f.Purpose) == purposeLibrary {
			ids, of[f.objectOf()] = append(ids, f.objectOf()), append(of[f.objectOf()], f)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT object_id, kind, width, height, duration_ms FROM asset WHERE object_id = ANY ($1) AND duration_ms > 0 ORDER BY object_id`, ids)
	if err != nil {
		return err
	}
	assets, err := pgx.CollectRows(rows, pgx.RowToStructByPos[asset])
	if err != nil {
		return err
	}
	var events []proto.Message
	for _, a := range assets {
		for _, f := range of[a.ObjectID] {
			// A row that is new has version 1.
			events = append(events, &mediapb.MediaChanged{
				MediaId: f.ID, CourseId: f.CourseID, State: f.State, Percent: int32(f.Percent), Kind: a.Kind, DurationMs: a.DurationMS, Version: 1,
			})
		}
	}
	return bus.Publish(ctx, tx, events...)
}

// copyCaptions gives copies the captions of what they are of.
func copyCaptions(ctx context.Context, tx *pg.Tx, copies map[string]string) error {
	from, to := make([]string, 0, len(copies)), make([]string, 0, len(copies))
	for a, b := range copies {
		from, to = append(from, a), append(to, b)
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO caption SELECT (jsonb_populate_record(c, jsonb_build_object('media_id', f.copy))).*
		FROM unnest($1::text[], $2::text[]) AS f (original, copy) JOIN caption c ON c.media_id = f.original`, from, to)
	return err
}

// ReadMedia implements mediapb.LibraryServiceServer.
func (r *server) ReadMedia(req *mediapb.ReadMediaRequest, stream grpc.ServerStreamingServer[mediapb.ReadMediaResponse]) error {
	f, err := r.media.one(stream.Context(), `
		SELECT `+columns+` FROM media WHERE id = $1 AND course_id = $2 AND (deleted_at IS NULL OR held) AND purpose = 'library'`, req.GetMediaId(), req.GetCourseId())
	if err != nil {
		return err
	}
	if err := stream.Send(&mediapb.ReadMediaResponse{Media: facts(f)}); err != nil || req.GetOffset() >= f.Size {
		return err
	}
	return r.media.sendObject(stream.Context(), f.ObjectID, req.GetOffset(), 0, f.Size, func(chunk []byte) error {
		return stream.Send(&mediapb.ReadMediaResponse{Chunk: chunk})
	})
}

// ImportMedia implements mediapb.LibraryServiceServer.
func (r *server) ImportMedia(stream grpc.ClientStreamingServer[mediapb.ImportMediaRequest, mediapb.Media]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return ErrEmpty
	}
	if err != nil {
		return err
	}
	m, err := r.media.upload(stream.Context(), incoming{
		course: first.GetCourseId(), account: first.GetAccountId(), name: first.GetFilename(), sha256: strings.ToLower(first.GetSha256()),
		request: func(sum []byte) idempotentRequest {
			return &mediapb.ImportMediaRequest{
				CourseId: first.GetCourseId(), AccountId: first.GetAccountId(), Filename: first.GetFilename(), Sha256: hex.EncodeToString(sum),
			}
		},
	}, newChunks(stream, first))
	if err != nil {
		return err
	}
	return stream.SendAndClose(m)
}
