package assessment

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/stoa-lms/stoa/internal/service/assessment/assessmentpb"
)

// Bounds of an attempt's log.
const (
	maxOperations = 20_000
	maxClients    = 50
	maxGaps       = 100
	maxClientSeq  = 1_000_000_000
)

// serverClient is the name under which the server itself is in the log. No client
// can have it: it is too short.
const serverClient = "server"

// client is what of a device or tab is in the log: its highest number, and the
// ranges below that are missing, ascending.
type client struct {
	ID      string     `json:"id"`
	Last    int64      `json:"last"`
	Missing [][2]int64 `json:"missing,omitempty"`
	SeenAt  time.Time  `json:"seen_at"`
	Offset  int64      `json:"offset"` // of its clock, in milliseconds
}

// complete reports whether all before a number are in the log.
func (c *client) complete(seq int64) bool {
	return c.Last >= seq-1 && (len(c.Missing) == 0 || c.Missing[0][0] >= seq)
}

// take notes a number that comes into the log.
func (c *client) take(seq int64) {
	if seq > c.Last {
		if seq > c.Last+1 {
			c.Missing = append(c.Missing, [2]int64{c.Last + 1, seq - 1})
		}
		c.Last = seq
		return
	}
	i := slices.IndexFunc(c.Missing, func(r [2]int64) bool { return r[0] <= seq && seq <= r[1] })
	if i < 0 {
		return
	}
	r := c.Missing[i]
	var rest [][2]int64
	if r[0] < seq {
		rest = append(rest, [2]int64{r[0], seq - 1})
	}
	if seq < r[1] {
		rest = append(rest, [2]int64{seq + 1, r[1]})
	}
	c.Missing = slices.Replace(slices.Clone(c.Missing), i, i+1, rest...)
}

// lackingUpTo returns what is missing of the numbers up to one.
func (c *client) lackingUpTo(seq int64) [][2]int64 {
	var out [][2]int64
	for _, r := range c.Missing {
		if r[0] <= seq {
			out = append(out, [2]int64{r[0], min(r[1], seq)})
		}
	}
	if seq > c.Last {
		out = append(out, [2]int64{c.Last + 1, seq})
	}
	return out
}

func (c *client) message() *assessmentpb.AttemptClient {
	out := &assessmentpb.AttemptClient{ClientId: c.ID, Last: c.Last, ClockOffsetMs: c.Offset}
	if !c.SeenAt.IsZero() {
		out.SeenAt = timestamppb.New(c.SeenAt)
	}
	for _, r := range c.Missing {
		out.Missing = append(out.Missing, &assessmentpb.SequenceRange{First: r[0], Last: r[1]})
	}
	return out
}

// client returns what is known of a client, and its place; -1 for none.
func (a *attempt) client(id string) (client, int) {
	i := slices.IndexFunc(a.Clients, func(c client) bool { return c.ID == id })
	if i < 0 {
		return client{ID: id}, -1
	}
	return a.Clients[i], i
}
