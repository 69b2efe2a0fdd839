package media

import (
	"context"

	"github.com/stoa-lms/stoa/internal/pg"
)

// States of a file.
const (
	stateScanning   = "scanning"
	stateWaiting    = "waiting"
	stateProcessing = "processing"
	stateReady      = "ready"
	stateBroken     = "broken"
	stateRefused    = "refused"
)

// stored inserts a file whose bytes are in the bucket, in the state that it
// begins in. It is called once for each file, whatever way it came in.
func (s *Service) stored(ctx context.Context, tx *pg.Tx, f *file) error {
	f.State, f.Percent = stateReady, 100
	return insertFile(ctx, tx, *f)
}
