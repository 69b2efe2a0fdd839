package media_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stoa-lms/stoa/internal/bus"
	"github.com/stoa-lms/stoa/internal/service/courses/coursespb"
	"github.com/stoa-lms/stoa/internal/service/media"
	"github.com/stoa-lms/stoa/internal/service/media/mediapb"
)

// parts returns every address that a player finds from those of a video on.
func (f *fixture) parts(m *mediapb.Media) []string {
	f.t.Helper()
	list := []string{m.GetHlsUrl(), m.GetPosterUrl(), m.GetThumbnailsUrl()}
	for _, c := range m.GetCaptions() {
		list = append(list, c.GetUrl())
	}
	for i := 0; i < len(list); i++ {
		if strings.HasSuffix(list[i], ".m3u8") {
			list = append(list, refs(f.bytesOf(list[i]))...)
		}
	}
	return list
}

// TestPromoVideoIsOpen: anybody watches the promotional video of a published course,
// with all that a player asks for, and nobody any longer once it is not.
func TestPromoVideoIsOpen(t *testing.T) {
	t.Parallel()
	f := works(t, nil)
	m := f.mustUpload("promo.mp4", film(t, "5"))
	other := f.mustUpload("other.mp4", film(t, "1"))
	if _, err := f.processing.PutCaption(f.teacher, &mediapb.PutCaptionRequest{
		CourseId: f.course, MediaId: m.GetId(), Language: "de", Content: "WEBVTT\n\n00:01.000 --> 00:02.000\nHallo\n", Main: true,
	}); err != nil {
		t.Fatal(err)
	}
	m, other = f.settled(m), f.settled(other)
	published := func(sequence int64, promo string) bus.Event {
		return event(t, &coursespb.CoursePublished{CourseId: f.course, Sequence: sequence, PromoVideoMediaId: promo})
	}
	shown := func(m *mediapb.Media) *mediapb.Media {
		t.Helper()
		res, err := f.service.BatchGetMedia(t.Context(), &mediapb.BatchGetMediaRequest{
			CourseId: f.course, MediaIds: []string{m.GetId()}, Viewer: &mediapb.Viewer{Landing: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetItems()[0]
	}
	before := shown(m).GetHlsUrl()
	_, err := f.content(before)
	code(t, err, media.ErrLinkExpired)

	f.hear(published(1, m.GetId()))
	list := f.parts(shown(m))
	kinds := map[string]bool{}
	for _, address := range list {
		f.bytesOf(address)
		kinds[address[strings.LastIndex(address, ".")+1:]] = true
	}
	for _, kind := range []string{"m3u8", "m4s", "mp4", "jpg", "vtt"} {
		if !kinds[kind] {
			t.Errorf("no %s among %d parts", kind, len(list))
		}
	}
	if got := shown(m); got.GetUrl() != "" {
		t.Error("anybody gets the original")
	}
	refused := func(what string, want error, addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			if _, err := f.content(address); !errors.Is(err, want) {
				t.Errorf("%s: %s: %v", what, address, err)
			}
		}
	}
	refused("another video of the course", media.ErrLinkExpired, shown(other).GetHlsUrl())
	refused("another file by the same token", media.ErrNotFound, strings.Replace(list[0], m.GetId(), other.GetId(), 1))
	_, _, err = f.download(t.Context(), &mediapb.DownloadMediaRequest{MediaId: m.GetId()})
	code(t, err, media.ErrNotFound)

	// What ends it, and what comes late.
	f.hear(published(3, other.GetId()), published(2, m.GetId()))
	refused("another promotional video", media.ErrLinkExpired, list...)
	f.bytesOf(shown(other).GetHlsUrl())
	f.hear(published(4, m.GetId()))
	f.bytesOf(list[len(list)-1])
	f.hear(event(t, &coursespb.CourseUnpublished{CourseId: f.course, Sequence: 5}))
	refused("taken out", media.ErrLinkExpired, list...)
	f.hear(published(6, m.GetId()))
	f.clock.Add(40 * 60)
	refused("an address of before", media.ErrLinkExpired, list...)
	f.bytesOf(shown(m).GetHlsUrl())
}
